//! Messages of other shapes, from Redis channels of backends: `[[ingest]]`.

use std::{borrow::Cow, collections::HashMap, time::SystemTime};

use adapter_redis::{EventName, RoomName};
use serde_json::{Value, value::RawValue};

use super::{
    condition::Expression,
    file::Fields,
    scope::{Path, Root, Scope},
    template::Template,
};

const CHANNEL: &str = "channel:";

/// One `[[ingest]]` rule.
#[derive(Debug)]
pub(super) struct Ingest {
    channel: String,
    when: Option<Expression>,
    room: Template,
    event: Template,
    data: Option<Expression>,
}

/// What a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The room.
    pub room: RoomName,
    /// The event.
    pub event: EventName,
    /// The JSON text of its argument.
    pub data: String,
}

/// Why a message is for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotIngested {
    /// It is no JSON.
    NotJson,
    /// The condition of the rule could not be evaluated.
    Condition,
    /// What comes out is no room.
    Room,
    /// What comes out is no event.
    Event,
    /// There is no data.
    Data,
}

impl NotIngested {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            NotIngested::NotJson => "not_json",
            NotIngested::Condition => "condition",
            NotIngested::Room => "room",
            NotIngested::Event => "event",
            NotIngested::Data => "data",
        }
    }
}

impl Ingest {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Ingest> {
        let channel = Self::source(fields);
        let when = fields.expression("when", Root::INGEST);
        let room = fields.template("room", Root::INGEST);
        let event = fields.template("event", Root::INGEST);
        let data = fields.expression("data", Root::INGEST);
        fields.finish(&["source", "when", "room", "event", "data"]);
        Some(Ingest {
            channel: channel?,
            when,
            room: room?,
            event: event?,
            data,
        })
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// What becomes of a message; `None` = the rule is not for it.
    pub(super) fn take(
        &self,
        text: &str,
        value: &Value,
        now: SystemTime,
    ) -> Option<Result<Ingested, NotIngested>> {
        let scope = Scope::of_message(value, now);
        match self.when.as_ref().map(|w| w.evaluate(&scope)) {
            None | Some(Ok(Value::Bool(true))) => {}
            Some(Ok(Value::Bool(false))) => return None,
            Some(_) => return Some(Err(NotIngested::Condition)),
        }
        Some(self.convert(text, &scope))
    }

    fn convert(&self, text: &str, scope: &Scope<'_>) -> Result<Ingested, NotIngested> {
        let room = self.room.text(scope).ok_or(NotIngested::Room)?;
        let event = self.event.text(scope).ok_or(NotIngested::Event)?;
        Ok(Ingested {
            room: RoomName::new(&room).map_err(|_| NotIngested::Room)?,
            event: EventName::new(&event).map_err(|_| NotIngested::Event)?,
            data: self.data(text, scope).ok_or(NotIngested::Data)?,
        })
    }

    fn data(&self, text: &str, scope: &Scope<'_>) -> Option<String> {
        match &self.data {
            None => Some(text.to_owned()),
            // A part of the message travels as it came, with its large numbers and the order of its keys.
            Some(data) => match data.as_path() {
                Some(path) if path.root == Root::Message => verbatim(text, path).map(str::to_owned),
                _ => data.evaluate(scope).ok().map(|value| value.to_string()),
            },
        }
    }

    fn source(fields: &mut Fields<'_>) -> Option<String> {
        if !fields.has("source") {
            fields.missing("source");
        }
        let source = fields.text("source")?;
        let Some(channel) = source.strip_prefix(CHANNEL) else {
            fields.error(&if source.starts_with("stream:") || source.starts_with("amqp:") {
                format!("`source`: {source:?} is not supported by this version yet; channels are")
            } else {
                format!("`source`: {source:?} is unknown; write \"channel:\" and the name of a Redis channel")
            });
            return None;
        };
        if channel.is_empty() || channel.len() > 256 || channel.chars().any(char::is_control) {
            fields.error("`source`: a channel's name has 1 to 256 bytes, none of them a control character");
            return None;
        }
        Some(channel.to_owned())
    }
}

/// The message as a value. A number beyond all bounds makes only the member that holds it unreadable, which may travel as
/// it came all the same.
pub(super) fn message(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let members: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let members = members
        .into_iter()
        .map(|(name, value)| (name, serde_json::from_str(value.get()).unwrap_or_default()));
    Some(Value::Object(members.collect()))
}

/// The text at a path, as it stands in the message.
fn verbatim<'a>(text: &'a str, path: &Path) -> Option<&'a str> {
    path.names.iter().try_fold(text.trim(), |text, name| {
        let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
        members.get(name.as_str()).map(|value| value.get())
    })
}
