//! Events of a client for the other members of a room: `[[relay]]`.

use std::time::{Duration, SystemTime};

use adapter_redis::{EventName, RoomName};
use serde_json::Value;

use super::{
    condition::Expression,
    emit::Emit,
    file::Fields,
    reply::{Answer, Body},
    scope::{Asking, Root},
    template::{Shape, Template},
    trail::Trail,
};
use crate::refusal::Refusal;

/// One `[[relay]]` rule. That the sender is in the room is for the caller to see to: a policy does not know rooms.
#[derive(Debug)]
pub struct Relay {
    pub(super) place: String,
    pub(super) event: EventName,
    pub(super) stop: Option<EventName>,
    pub(super) room: Template,
    allow: Option<Expression>,
    emit: Emit,
    data: Option<Body>,
    on: Option<Shape>,
    off: Option<Shape>,
    timeout: Option<Duration>,
    rate: Option<u32>,
}

impl Relay {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Relay> {
        let event = fields.event("event");
        let stop = fields.optional_event("stop");
        let room = fields.template("room", Root::SUBSCRIBE);
        let allow = fields.expression("allow", Root::SUBSCRIBE);
        if !fields.has("emit") {
            fields.missing("emit");
        }
        let emit = Emit::read(fields);
        let data = fields.body("data");
        let on = fields.table("on");
        let off = fields.table("off");
        let timeout = fields.duration("timeout");
        let rate = fields.rate("rate");
        if (on.is_some() || off.is_some()) && matches!(data, Some(Body::Expression(_))) {
            fields.error("`on` and `off` are merged into `data`, which must be a table then");
        }
        if fields.has("off") && !fields.has("stop") && !fields.has("timeout") {
            fields.error("`off` is sent at the end, which needs `stop`, `timeout` or both");
        }
        fields.finish(&[
            "event", "stop", "room", "allow", "emit", "data", "on", "off", "timeout", "rate",
        ]);
        Some(Relay {
            place: fields.place().to_owned(),
            event: event?,
            stop,
            room: room?,
            allow,
            emit: emit?,
            data,
            on,
            off,
            timeout,
            rate,
        })
    }

    /// The room that it is for, if the policy lets the client send there.
    ///
    /// # Errors
    /// [`Refusal::BadArgument`] or [`Refusal::NotAllowed`].
    pub fn room<'a>(&'a self, asking: &Asking<'_>, trail: &mut Trail<'a>) -> Result<RoomName, Refusal> {
        trail.enter(&self.place);
        let scope = asking.scope();
        let room = self.room.room(&scope, trail).ok_or(Refusal::BadArgument)?;
        match &self.allow {
            Some(allow) if !allow.holds("allow", &scope, trail) => Err(Refusal::NotAllowed),
            _ => Ok(room),
        }
    }

    /// The event that begins it.
    pub fn event(&self) -> &EventName {
        &self.event
    }

    /// The event that the others get; `None` = what comes out is no name of an event.
    pub fn emit(&self, asking: &Asking<'_>) -> Option<EventName> {
        self.emit.name(asking)
    }

    /// Its argument at the beginning; `None` = it cannot be computed from what was sent.
    pub fn begin(&self, asking: &Asking<'_>) -> Option<Answer> {
        self.body(self.on.as_ref(), asking)
    }

    /// Its argument at the end.
    pub fn end(&self, asking: &Asking<'_>) -> Option<Answer> {
        self.body(self.off.as_ref(), asking)
    }

    /// Whether it begins something that has to end: with the event `stop`, after a time, when the client leaves the
    /// room or goes away.
    pub fn has_end(&self) -> bool {
        self.stop.is_some() || self.timeout.is_some()
    }

    /// After which time it ends by itself.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How many of these each socket may send in a minute.
    pub fn rate_per_minute(&self) -> Option<u32> {
        self.rate
    }

    /// When the time of one that begins now is over; now, where there is no time.
    pub fn ends_at(&self, now: SystemTime) -> SystemTime {
        self.timeout.and_then(|t| now.checked_add(t)).unwrap_or(now)
    }

    /// Why [`Relay::begin`] gives nothing.
    pub(super) fn why_no_begin(&self, asking: &Asking<'_>) -> Option<String> {
        let scope = asking.scope();
        let why = |key: &str, why: String| format!("`{key}` of {}: {why}", self.place);
        let data = self.data.as_ref().and_then(|body| body.why_none(&scope));
        let on = || self.on.as_ref().and_then(|shape| shape.why_none(&scope));
        data.map(|text| why("data", text))
            .or_else(|| on().map(|text| why("on", text)))
    }

    fn body(&self, merged: Option<&Shape>, asking: &Asking<'_>) -> Option<Answer> {
        let scope = asking.scope();
        let base = match &self.data {
            None => None,
            Some(body) if body.is_echo() => return Some(Answer::Echo),
            Some(body) => Some(body.value(&scope)?),
        };
        let Some(merged) = merged else {
            return Some(base.map_or(Answer::Nothing, Answer::Json));
        };
        let mut map = match base {
            Some(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        if let Value::Object(more) = merged.value(&scope)? {
            map.extend(more);
        }
        Some(Answer::Json(Value::Object(map)))
    }
}
