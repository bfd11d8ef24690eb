//! Rooms on request: `[[subscribe]]`.

use adapter_redis::{EventName, RoomName};

use super::{
    condition::Expression,
    file::Fields,
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
    allow: Expression,
}

impl Subscription {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Subscription> {
        let event = fields.event("event");
        let leave = fields.optional_event("leave");
        let room = fields.template("room", Root::SUBSCRIBE);
        let allow = fields.expression("allow", Root::SUBSCRIBE);
        if !fields.has("allow") {
            fields.missing("allow"); // deny by default: who may is never left open
        }
        fields.finish(&["event", "leave", "room", "allow"]);
        Some(Subscription {
            place: fields.place().to_owned(),
            event: event?,
            leave,
            room: room?,
            allow: allow?,
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
        if self.allow.holds("allow", &scope, trail) {
            Ok(room)
        } else {
            Err(Refusal::NotAllowed)
        }
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
