//! Events of a client for the backend: `[[forward]]`.

use std::time::Duration;

use adapter_redis::EventName;

use super::{
    condition::Expression,
    file::Fields,
    reply::{Answer, Body},
    scope::{Asking, Root},
    trail::Trail,
};
use crate::refusal::Refusal;

/// One `[[forward]]` rule.
#[derive(Debug)]
pub struct Forward {
    pub(super) place: String,
    pub(super) event: EventName,
    to: Destination,
    allow: Option<Expression>,
    data: Option<Body>,
    timeout: Option<Duration>,
    rate: Option<u32>,
    idempotent: bool,
    answer: bool,
}

/// By which way the backend gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The stream in Redis.
    Stream,
    /// The webhook.
    Webhook,
}

impl Destination {
    /// All of them.
    pub const ALL: [Destination; 2] = [Destination::Stream, Destination::Webhook];

    /// The word of the policy file, and the label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Destination::Stream => "stream",
            Destination::Webhook => "webhook",
        }
    }
}

impl Forward {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Forward> {
        let event = fields.event("event");
        let to = fields.choice("to", &Destination::ALL.map(|to| (to.as_str(), to)));
        let allow = fields.expression("allow", Root::SUBSCRIBE);
        let data = fields.body("data");
        let timeout = fields.duration("timeout");
        let rate = fields.rate("rate");
        let idempotent = fields.boolean("idempotent");
        let answer = fields.boolean("answer");
        if to == Some(Destination::Stream) && idempotent.is_some() {
            fields.error("`idempotent` is for `to = \"webhook\"`: what is in the stream is never sent twice");
        }
        if to == Some(Destination::Webhook) && answer.is_some() {
            fields.error("`answer` is for `to = \"stream\"`: a webhook always answers");
        }
        fields.finish(&[
            "event",
            "to",
            "allow",
            "data",
            "timeout",
            "rate",
            "idempotent",
            "answer",
        ]);
        Some(Forward {
            place: fields.place().to_owned(),
            event: event?,
            to: to?,
            allow,
            data,
            timeout,
            rate,
            idempotent: idempotent.unwrap_or(false),
            answer: answer.unwrap_or(true),
        })
    }

    /// Whether the client may send it.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`].
    pub fn allow<'a>(&'a self, asking: &Asking<'_>, trail: &mut Trail<'a>) -> Result<(), Refusal> {
        trail.enter(&self.place);
        match &self.allow {
            Some(allow) if !allow.holds("allow", &asking.scope(), trail) => Err(Refusal::NotAllowed),
            _ => Ok(()),
        }
    }

    /// What the backend gets in place of the client's arguments; `None` = these, as they are. Inside of it, `None` = it
    /// cannot be computed from what was sent.
    pub fn data(&self, asking: &Asking<'_>) -> Option<Option<Answer>> {
        let body = self.data.as_ref()?;
        if body.is_echo() {
            return Some(Some(Answer::Echo));
        }
        Some(body.value(&asking.scope()).map(Answer::Json))
    }

    /// Whether deciding about it looks at claims or into the argument.
    pub fn needs_values(&self) -> bool {
        self.allow.is_some() || self.data.as_ref().is_some_and(|body| !body.is_echo())
    }

    /// Why [`Forward::data`] cannot be computed.
    pub(super) fn why_none(&self, asking: &Asking<'_>) -> Option<String> {
        let why = self.data.as_ref()?.why_none(&asking.scope())?;
        Some(format!("`data` of {}: {why}", self.place))
    }

    /// The event.
    pub fn event(&self) -> &EventName {
        &self.event
    }

    /// Where it goes.
    pub fn to(&self) -> Destination {
        self.to
    }

    /// How long the answer is waited for, where the rule says so.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How many of these each socket may send in a minute.
    pub fn rate_per_minute(&self) -> Option<u32> {
        self.rate
    }

    /// Whether the webhook may be asked twice.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Whether the client is told what the backend answers, rather than that it is on its way.
    pub fn is_answered(&self) -> bool {
        self.answer
    }
}
