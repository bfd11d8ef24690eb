//! From the policy file's text to a compiled policy, with every error and not only the first.

mod fields;

use std::collections::HashMap;

use adapter_redis::EventName;
use serde_json::{Map, Value};

pub(super) use self::fields::Fields;
use super::{
    Place, Policy, PolicyError, condition::Expression, forward::Forward, ingest::Ingest, join::Join, overlap,
    relay::Relay, reply::Reply, room::Room, scope::Root, subscribe::Subscription,
};

const SECTIONS: &[&str] = &[
    "identity",
    "join",
    "subscribe",
    "relay",
    "reply",
    "forward",
    "ingest",
    "room",
];
/// Events between the gateway itself and its clients, which no rule may name: clients could not tell who speaks.
const OURS: &[&str] = &["auth:refresh", "auth:expiring"];

/// What is said of such a name.
pub(super) const TAKEN: &str = "belongs to the gateway itself; choose another name";

/// Whether an event belongs to the gateway itself.
pub(super) fn is_ours(event: &str) -> bool {
    OURS.contains(&event)
}

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
        file.error(format!(
            "{name}: unknown section; known are {}",
            SECTIONS.join(", ")
        ));
    }
    let (user, tenant) = file.identity(root.get("identity"));
    let joins = file.tables(&root, "join", Join::read);
    let subscriptions = file.tables(&root, "subscribe", Subscription::read);
    let relays = file.tables(&root, "relay", Relay::read);
    let replies = file.tables(&root, "reply", Reply::read);
    let forwards = file.tables(&root, "forward", Forward::read);
    let ingests = file.tables(&root, "ingest", Ingest::read);
    let rooms = file.tables(&root, "room", Room::read);
    let events = file.events(named(&subscriptions, &relays, &replies, &forwards));
    let warnings = warnings(&joins, &subscriptions);
    match user {
        Some(user) if file.errors.is_empty() => Ok(Policy {
            user,
            tenant,
            joins,
            events,
            subscriptions,
            relays,
            replies,
            forwards,
            ingests,
            rooms,
            warnings,
        }),
        _ => Err(file.errors),
    }
}

fn named<'a>(
    subscriptions: &'a [Subscription],
    relays: &'a [Relay],
    replies: &'a [Reply],
    forwards: &'a [Forward],
) -> impl Iterator<Item = (&'a EventName, Place)> {
    let subscriptions = subscriptions.iter().enumerate().flat_map(|(i, s)| {
        let leave = s.leave.as_ref().map(|l| (l, Place::Leave(i)));
        std::iter::once((&s.event, Place::Subscribe(i))).chain(leave)
    });
    let relays = relays.iter().enumerate().flat_map(|(i, r)| {
        let stop = r.stop.as_ref().map(|s| (s, Place::Stop(i)));
        std::iter::once((&r.event, Place::Relay(i))).chain(stop)
    });
    let replies = replies
        .iter()
        .enumerate()
        .map(|(i, r)| (&r.event, Place::Reply(i)));
    let forwards = forwards
        .iter()
        .enumerate()
        .map(|(i, f)| (&f.event, Place::Forward(i)));
    subscriptions.chain(relays).chain(replies).chain(forwards)
}

fn warnings(joins: &[Join], subscriptions: &[Subscription]) -> Vec<String> {
    let subscribed = || subscriptions.iter().map(|s| (s.place.as_str(), &s.room));
    let joined = || joins.iter().map(|j| (j.place(), j.room()));
    let asked: Vec<_> = joined().chain(subscribed()).collect();
    overlap::warnings(&asked, &asked)
}

/// A file that is being read.
pub(super) struct File {
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

    /// Every event and its rule.
    fn events<'e>(&mut self, named: impl Iterator<Item = (&'e EventName, Place)>) -> HashMap<String, Place> {
        let mut events = HashMap::new();
        for (event, rule) in named {
            if is_ours(event.as_str()) {
                self.error(format!("event {:?} {TAKEN}", event.as_str()));
            }
            if events.insert(event.as_str().to_owned(), rule).is_some() {
                self.error(format!("event {:?} is used twice", event.as_str()));
            }
        }
        events
    }
}
