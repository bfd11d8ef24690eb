//! Messages of other shapes, from channels, streams and queues of backends: `[[ingest]]`.

mod source;

use std::{borrow::Cow, collections::HashMap, time::SystemTime};

use adapter_redis::{EventName, RoomName};
use serde_json::{Value, value::RawValue};

pub use self::source::IngestSource;
use super::{
    condition::Expression,
    file::Fields,
    scope::{Path, Root, Scope},
    template::Template,
};

/// One `[[ingest]]` rule.
#[derive(Debug)]
pub(super) struct Ingest {
    sources: Vec<IngestSource>,
    when: Option<Expression>,
    room: Template,
    event: Template,
    data: Option<Expression>,
    id: Option<Template>,
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
    /// What the rule says of the idempotency key.
    pub id: Option<String>,
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
        let sources = fields.texts("source").map(|texts| Self::sources(fields, &texts));
        let when = fields.expression("when", Root::INGEST);
        let room = fields.template("room", Root::INGEST);
        let event = fields.template("event", Root::INGEST);
        let data = fields.expression("data", Root::INGEST);
        let id = fields.optional_template("id", Root::INGEST);
        fields.finish(&["source", "when", "room", "event", "data", "id"]);
        if id.is_some()
            && let Some(Some(sources)) = &sources
            && sources.iter().all(IngestSource::is_channel)
        {
            fields.error("`id`: what comes by a channel is not looked at twice; remove it, or name a stream or a queue");
        }
        Some(Ingest {
            sources: sources??,
            when,
            room: room?,
            event: event?,
            data,
            id,
        })
    }

    pub(super) fn from(&self) -> &[IngestSource] {
        &self.sources
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
            // A message without one has the key that it would have without the rule.
            id: self.id.as_ref().and_then(|id| id.text(scope)),
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

    fn sources(fields: &mut Fields<'_>, texts: &[&str]) -> Option<Vec<IngestSource>> {
        let mut sources = Vec::with_capacity(texts.len());
        let mut is_fine = true;
        for text in texts {
            match IngestSource::parse(text) {
                Ok(source) if sources.contains(&source) => {
                    fields.error(&format!("`source`: {text:?} is there twice"));
                    is_fine = false;
                }
                Ok(source) => sources.push(source),
                Err(error) => {
                    fields.error(&format!("`source`: {error}"));
                    is_fine = false;
                }
            }
        }
        is_fine.then_some(sources)
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
