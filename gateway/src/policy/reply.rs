//! Events that the gateway answers by itself: with an event, an ack, or both.

use std::time::SystemTime;

use adapter_redis::EventName;
use serde_json::Value;

use super::{
    condition::Expression,
    scope::{Identity, Root, Scope},
    template::Shape,
};

/// One `[[reply]]` rule.
#[derive(Debug)]
pub struct Reply {
    pub(super) event: EventName,
    pub(super) emit: Option<EventName>,
    pub(super) data: Option<Body>,
    pub(super) ack: Option<Body>,
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
    /// Whether the answer depends on claims or on what is inside the argument. An echo does not, and then
    /// neither has to be read.
    pub fn needs_values(&self) -> bool {
        [&self.data, &self.ack]
            .into_iter()
            .flatten()
            .any(|body| !body.is_echo())
    }

    /// The event to send back, if any.
    pub fn emit(&self) -> Option<&EventName> {
        self.emit.as_ref()
    }

    /// The argument of the event to send back; `None` = it could not be computed from what was sent.
    pub fn data(
        &self,
        argument: &Value,
        claims: &Value,
        identity: &Identity,
        now: SystemTime,
    ) -> Option<Answer> {
        answer(self.data.as_ref(), argument, claims, identity, now)
    }

    /// The ack; `None` = it could not be computed from what was sent.
    pub fn ack(
        &self,
        argument: &Value,
        claims: &Value,
        identity: &Identity,
        now: SystemTime,
    ) -> Option<Answer> {
        answer(self.ack.as_ref(), argument, claims, identity, now)
    }
}

impl Body {
    fn is_echo(&self) -> bool {
        matches!(self, Body::Expression(e) if matches!(e.bare_root(), Some(Root::Data | Root::Arg)))
    }
}

fn answer(
    body: Option<&Body>,
    argument: &Value,
    claims: &Value,
    identity: &Identity,
    now: SystemTime,
) -> Option<Answer> {
    let scope = Scope::connect(claims, &Value::Null, now)
        .of(identity)
        .with_argument(argument);
    match body {
        None => Some(Answer::Nothing),
        // The commonest answer by far must not cost an evaluation, nor touch the payload.
        Some(body) if body.is_echo() => Some(Answer::Echo),
        Some(Body::Expression(e)) => e.evaluate(&scope).ok().map(Answer::Json),
        Some(Body::Shape(shape)) => shape.value(&scope).map(Answer::Json),
    }
}
