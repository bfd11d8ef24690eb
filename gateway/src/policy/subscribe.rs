//! Rooms on request: `[[subscribe]]`.

use adapter_redis::{EventName, RoomName};

use super::{
    condition::Expression,
    file::Fields,
    forward::Destination,
    scope::{Asking, Root, Scope},
    template::Template,
    trail::Trail,
};
use crate::refusal::Refusal;

/// One `[[subscribe]]` rule.
#[derive(Debug)]
pub struct Subscription {
    pub(super) place: String,
    pub(super) event: EventName,
    pub(super) leave: Option<EventName>,
    pub(super) room: Template,
    allow: Option<Expression>,
    asks: bool,
}

impl Subscription {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Subscription> {
        let event = fields.event("event");
        let leave = fields.optional_event("leave");
        let room = fields.template("room", Root::SUBSCRIBE);
        let allow = fields.expression("allow", Root::SUBSCRIBE);
        let ask = fields
            .has("ask")
            .then(|| fields.choice("ask", &[(Destination::Webhook.as_str(), ())]));
        if !fields.has("allow") && ask.is_none() {
            fields.missing("allow"); // deny by default: who may is never left open
        }
        fields.finish(&["event", "leave", "room", "allow", "ask"]);
        Some(Subscription {
            place: fields.place().to_owned(),
            event: event?,
            leave,
            room: room?,
            allow,
            asks: ask.is_some(),
        })
    }

    /// The room that the argument stands for, if the client may enter it.
    ///
    /// # Errors
    /// [`Refusal::BadArgument`] or [`Refusal::NotAllowed`].
    pub fn enter<'a>(&'a self, asking: &Asking<'_>, trail: &mut Trail<'a>) -> Result<RoomName, Refusal> {
        trail.enter(&self.place);
        let scope = asking.scope();
        // The argument is looked at first: a hostile one must not reach the condition.
        let room = self.name(&scope, trail)?;
        match &self.allow {
            Some(allow) if allow.holds("allow", &scope, trail) => Ok(room),
            _ => Err(Refusal::NotAllowed),
        }
    }

    /// Whether the backend is asked where the policy does not say yes.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// The room that the argument stands for; leaving needs no permission.
    ///
    /// # Errors
    /// [`Refusal::BadArgument`].
    pub fn leave<'a>(&'a self, asking: &Asking<'_>, trail: &mut Trail<'a>) -> Result<RoomName, Refusal> {
        trail.enter(&self.place);
        self.name(&asking.scope(), trail)
    }

    fn name(&self, scope: &Scope<'_>, trail: &mut Trail<'_>) -> Result<RoomName, Refusal> {
        self.room.room(scope, trail).ok_or(Refusal::BadArgument)
    }
}
