//! From the policy file's text to a compiled policy, with every error and not only the first.

use std::collections::HashMap;

use adapter_redis::EventName;
use serde_json::{Map, Value};

use super::{
    Join, Place, Policy, PolicyError, Subscription,
    condition::Expression,
    reply::{Body, Reply},
    scope::Root,
    template::{Shape, Template},
};

const SECTIONS: &[&str] = &["identity", "join", "subscribe", "reply"];
/// Part of the public interface, not built yet: refused rather than ignored.
const PLANNED: &[&str] = &["relay", "forward", "ingest", "room"];

pub(super) fn parse(text: &str) -> Result<Policy, Vec<PolicyError>> {
    let root: Map<String, Value> = toml::from_str(text).map_err(|e| {
        let line = e
            .span()
            .map(|s| text.bytes().take(s.start).filter(|b| *b == b'\n').count() + 1);
        let at = line.map(|l| format!("line {l}: ")).unwrap_or_default();
        vec![PolicyError(format!("{at}not valid TOML: {}", e.message()))]
    })?;
    let mut file = File { errors: Vec::new() };
    for name in root.keys().filter(|n| !SECTIONS.contains(&n.as_str())) {
        file.error(if PLANNED.contains(&name.as_str()) {
            format!("{name}: not supported by this version yet; remove the section")
        } else {
            format!("{name}: unknown section; known are {}", SECTIONS.join(", "))
        });
    }
    let (user, tenant) = file.identity(root.get("identity"));
    let joins = file.tables(&root, "join", File::join);
    let subscriptions = file.tables(&root, "subscribe", File::subscription);
    let replies = file.tables(&root, "reply", File::reply);
    let events = file.events(&subscriptions, &replies);
    match user {
        Some(user) if file.errors.is_empty() => Ok(Policy {
            user,
            tenant,
            joins,
            events,
            subscriptions,
            replies,
        }),
        _ => Err(file.errors),
    }
}

struct File {
    errors: Vec<PolicyError>,
}

impl File {
    fn error(&mut self, text: String) {
        self.errors.push(PolicyError(text));
    }

    fn identity(&mut self, section: Option<&Value>) -> (Option<Expression>, Option<Expression>) {
        let Some(Value::Object(table)) = section else {
            self.error("identity: missing; it needs `user`, such as user = \"claims.sub\"".to_owned());
            return (None, None);
        };
        let mut fields = Fields::new("identity".to_owned(), table, self);
        let user = fields.expression("user", Root::IDENTITY);
        if user.is_none() && !table.contains_key("user") {
            fields.missing("user");
        }
        let tenant = fields.expression("tenant", Root::IDENTITY);
        fields.finish(&["user", "tenant"]);
        (user, tenant)
    }

    fn tables<T>(
        &mut self,
        root: &Map<String, Value>,
        name: &str,
        read: fn(&mut Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let tables = match root.get(name) {
            None => return Vec::new(),
            Some(Value::Array(tables)) => tables,
            Some(_) => {
                self.error(format!("{name}: write it as [[{name}]], once for each rule"));
                return Vec::new();
            }
        };
        let mut rules = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let place = format!("{name}[{}]", index + 1);
            match table {
                Value::Object(table) => rules.extend(read(&mut Fields::new(place, table, self))),
                _ => self.error(format!("{place}: expected a table")),
            }
        }
        rules
    }

    fn join(fields: &mut Fields<'_>) -> Option<Join> {
        let each = fields.expression("each", Root::JOIN);
        let roots = if fields.has("each") {
            Root::EACH
        } else {
            Root::JOIN
        };
        let when = fields.expression("when", roots);
        let room = fields.template("room", roots);
        fields.finish(&["room", "each", "when"]);
        Some(Join {
            room: room?,
            each,
            when,
        })
    }

    fn subscription(fields: &mut Fields<'_>) -> Option<Subscription> {
        let event = fields.event("event");
        if !fields.has("event") {
            fields.missing("event");
        }
        let leave = fields.event("leave");
        let room = fields.template("room", Root::SUBSCRIBE);
        let allow = fields.expression("allow", Root::SUBSCRIBE);
        if !fields.has("allow") {
            fields.missing("allow"); // deny by default: who may is never left open
        }
        fields.finish(&["event", "leave", "room", "allow"]);
        Some(Subscription {
            event: event?,
            leave,
            room: room?,
            allow: allow?,
        })
    }

    fn reply(fields: &mut Fields<'_>) -> Option<Reply> {
        let event = fields.event("event");
        if !fields.has("event") {
            fields.missing("event");
        }
        let emit = fields.event("emit");
        let data = fields.body("data");
        let ack = fields.body("ack");
        if !fields.has("emit") && !fields.has("ack") {
            fields.error("needs `emit`, `ack` or both");
        }
        if fields.has("data") && !fields.has("emit") {
            fields.error("`data` belongs to `emit`; without it there is no event to send");
        }
        fields.finish(&["event", "emit", "data", "ack"]);
        Some(Reply {
            event: event?,
            emit,
            data,
            ack,
        })
    }

    fn events(&mut self, subscriptions: &[Subscription], replies: &[Reply]) -> HashMap<String, Place> {
        let mut events = HashMap::new();
        let named = subscriptions
            .iter()
            .enumerate()
            .flat_map(|(i, s)| {
                let leave = s.leave.as_ref().map(|l| (l, Place::Leave(i)));
                std::iter::once((&s.event, Place::Subscribe(i))).chain(leave)
            })
            .chain(
                replies
                    .iter()
                    .enumerate()
                    .map(|(i, r)| (&r.event, Place::Reply(i))),
            );
        for (event, rule) in named {
            if events.insert(event.as_str().to_owned(), rule).is_some() {
                self.error(format!("event {:?} is used twice", event.as_str()));
            }
        }
        events
    }
}

/// The fields of one table, with its place for messages.
struct Fields<'a> {
    place: String,
    table: &'a Map<String, Value>,
    file: &'a mut File,
}

impl<'a> Fields<'a> {
    fn new(place: String, table: &'a Map<String, Value>, file: &'a mut File) -> Self {
        Fields { place, table, file }
    }

    fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    fn error(&mut self, text: &str) {
        let text = format!("{}: {text}", self.place);
        self.file.error(text);
    }

    fn missing(&mut self, name: &str) {
        self.error(&format!("`{name}` is missing"));
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.table.get(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.error(&format!("`{name}` must be a text, not {value}"));
        }
        text
    }

    fn checked<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|e| self.error(&format!("`{name}`: {e}"))).ok()
    }

    fn expression(&mut self, name: &str, roots: &[Root]) -> Option<Expression> {
        let text = self.text(name)?;
        self.checked(name, Expression::parse(text, roots))
    }

    fn template(&mut self, name: &str, roots: &[Root]) -> Option<Template> {
        if !self.has(name) {
            self.missing(name);
        }
        let text = self.text(name)?;
        self.checked(name, Template::parse(text, roots))
    }

    fn event(&mut self, name: &str) -> Option<EventName> {
        let text = self.text(name)?;
        self.checked(name, EventName::new(text).map_err(|e| e.to_string()))
    }

    fn body(&mut self, name: &str) -> Option<Body> {
        match self.table.get(name)? {
            Value::String(text) => {
                let text = text.clone();
                self.checked(name, Expression::parse(&text, Root::REPLY))
                    .map(Body::Expression)
            }
            table => {
                let table = table.clone();
                self.checked(name, Shape::parse(&table, Root::REPLY))
                    .map(Body::Shape)
            }
        }
    }

    fn finish(&mut self, known: &[&str]) {
        let unknown: Vec<_> = self
            .table
            .keys()
            .filter(|k| !known.contains(&k.as_str()))
            .cloned()
            .collect();
        for name in unknown {
            self.error(&format!("`{name}` is unknown; known are {}", known.join(", ")));
        }
    }
}
