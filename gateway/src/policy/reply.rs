//! Events that the gateway answers by itself: with an event, an ack, or both.

use adapter_redis::EventName;
use serde_json::Value;

use super::{
    condition::Expression,
    emit::Emit,
    file::Fields,
    scope::{Asking, Root, Scope},
    template::Shape,
};

/// One `[[reply]]` rule.
#[derive(Debug)]
pub struct Reply {
    pub(super) place: String,
    pub(super) event: EventName,
    emit: Option<Emit>,
    data: Option<Body>,
    ack: Option<Body>,
}

/// What an answer consists of.
#[derive(Debug)]
pub(super) enum Body {
    Expression(Expression),
    Shape(Shape),
}

/// What to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The client's own first argument, byte for byte, attachments included.
    Echo,
    /// This value.
    Json(Value),
    /// No argument at all.
    Nothing,
}

impl Reply {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Reply> {
        let event = fields.event("event");
        let emit = Emit::read(fields);
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
            place: fields.place().to_owned(),
            event: event?,
            emit,
            data,
            ack,
        })
    }

    /// Whether the answer depends on claims or on what is inside the argument. An echo does not, and then
    /// neither has to be read.
    pub fn needs_values(&self) -> bool {
        let mut bodies = [&self.data, &self.ack].into_iter().flatten();
        bodies.any(|body| !body.is_echo()) || matches!(self.emit, Some(Emit::Made(_)))
    }

    /// The event to send back, if any; `Some(None)` = what comes out is no name of an event.
    pub fn emit(&self, asking: &Asking<'_>) -> Option<Option<EventName>> {
        Some(self.emit.as_ref()?.name(asking))
    }

    /// The argument of the event to send back; `None` = it could not be computed from what was sent.
    pub fn data(&self, asking: &Asking<'_>) -> Option<Answer> {
        answer(self.data.as_ref(), asking)
    }

    /// The ack; `None` = it could not be computed from what was sent.
    pub fn ack(&self, asking: &Asking<'_>) -> Option<Answer> {
        answer(self.ack.as_ref(), asking)
    }

    /// Why one of the two above gives nothing.
    pub(super) fn why_none(&self, asking: &Asking<'_>) -> Option<String> {
        let scope = asking.scope();
        let bodies = [("data", &self.data), ("ack", &self.ack)];
        bodies.into_iter().find_map(|(key, body)| {
            let why = body.as_ref()?.why_none(&scope)?;
            Some(format!("`{key}` of {}: {why}", self.place))
        })
    }
}

impl Body {
    /// It hands on what was sent as it is.
    pub(super) fn is_echo(&self) -> bool {
        matches!(self, Body::Expression(e) if e.as_path().is_some_and(|p| {
            p.names.is_empty() && matches!(p.root, Root::Data | Root::Arg)
        }))
    }

    pub(super) fn value(&self, scope: &Scope<'_>) -> Option<Value> {
        match self {
            Body::Expression(expression) => expression.evaluate(scope).ok(),
            Body::Shape(shape) => shape.value(scope),
        }
    }

    /// Why there is no value.
    pub(super) fn why_none(&self, scope: &Scope<'_>) -> Option<String> {
        match self {
            Body::Expression(expression) => expression.evaluate(scope).err().map(|e| e.to_string()),
            Body::Shape(shape) => shape.why_none(scope),
        }
    }
}

fn answer(body: Option<&Body>, asking: &Asking<'_>) -> Option<Answer> {
    match body {
        None => Some(Answer::Nothing),
        // The commonest answer by far must not cost an evaluation, nor touch the payload.
        Some(body) if body.is_echo() => Some(Answer::Echo),
        Some(body) => body.value(&asking.scope()).map(Answer::Json),
    }
}
