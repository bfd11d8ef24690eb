//! The rooms that a client asks for.

use std::sync::Arc;

use adapter_redis::{Refused, RoomName};
use serde_json::{Value, json};

use super::Session;
use crate::{
    engine::{AckId, Event, Keep},
    joining::{Entry, Step, Subscribing},
    limits::Limit,
    policy::{Rule, Subscription, Trail},
    refusal::Refusal,
    rules::Now,
};

/// The rooms that a client asked for and got, with what it asked: whether it may stay is asked again when the policy
/// is another one, or the token.
#[derive(Debug, Default)]
pub(super) struct Subscribed(Vec<Wish>);

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) event: Box<str>,
    /// JSON text.
    pub(super) argument: Box<str>,
    pub(super) room: RoomName,
}

impl Session {
    pub(super) fn subscribe(
        &self,
        event: &Event<'_>,
        rules: &Now<'_>,
        rule: &Subscription,
        ack: Option<AckId>,
    ) -> Option<Step> {
        let (argument, claims) = (event.first(), self.claims());
        let asking = self.asking(&claims, &argument);
        let room = match rules.enter(event.name(), rule, &asking) {
            Ok(room) if self.is_in_enough(&room) => {
                self.tell(event.name(), ack, Err(Refusal::TooManyRooms));
                return None;
            }
            Ok(room) => room,
            Err(refusal) => {
                self.tell(event.name(), ack, Err(refusal));
                return None;
            }
        };
        let opened = self.common.doors.enter(&room);
        let step = |opening| Subscribing {
            event: event.name().to_owned(),
            argument: event.first_text().unwrap_or("null").into(),
            ack,
            room,
            opening,
            decided_by: rules.loaded().clone(),
        };
        match opened {
            Entry::Now(keep) => {
                let step = step(Box::pin(std::future::pending()));
                self.entered(&step, Ok(keep));
                None
            }
            Entry::Later(opening) => Some(Step::Subscribe(step(opening))),
        }
    }

    /// The room of a step is open, or refused.
    pub(crate) fn entered(&self, step: &Subscribing, opened: Result<Keep, Refused>) {
        let decided = match opened {
            Ok(keep) => {
                self.ongoing().subscribed.add(step);
                self.join(&step.room, keep);
                if self.common.rules.is_in_force(&step.decided_by)
                    || self.may_stay(&self.claims(), &step.event, &step.argument, &step.room)
                {
                    Ok(&step.room)
                } else {
                    self.leave(&step.room);
                    Err(Refusal::NotAllowed)
                }
            }
            Err(error) => {
                tracing::error!(socket.id = %self.socket, room = %step.room, %error, "cannot enter the room");
                Err(Refusal::RoomUnavailable)
            }
        };
        self.tell(&step.event, step.ack, decided);
    }

    pub(super) fn unsubscribe(&self, event: &Event<'_>, rule: &Subscription, ack: Option<AckId>) {
        let (argument, claims) = (event.first(), self.claims());
        let asking = self.asking(&claims, &argument);
        let decided = rule.leave(&asking, &mut Trail::counting()).inspect(|room| {
            self.leave(room);
        });
        self.tell(event.name(), ack, decided.as_ref().map_err(|refusal| *refusal));
    }

    /// Whether the policy in force gives this room for this wish with these claims.
    pub(super) fn may_stay(&self, claims: &Value, event: &str, argument: &str, room: &RoomName) -> bool {
        let rules = self.common.rules.now();
        let Some(Rule::Subscribe(rule)) = rules.rule(event) else {
            return false;
        };
        let argument: Value = serde_json::from_str(argument).unwrap_or_default();
        let asking = self.asking(claims, &argument);
        rule.enter(&asking, &mut Trail::counting()).as_ref() == Ok(room)
    }

    /// Whether it may enter no more rooms; one that it is in is no other.
    fn is_in_enough(&self, room: &RoomName) -> bool {
        let most = self.common.limits.get().max_rooms_per_socket as usize;
        if most == 0 {
            return false;
        }
        let rooms = self.common.sockets.rooms_of(self.socket);
        let is_reached = rooms.len() >= most && !rooms.iter().any(|r| **r == *room.as_str());
        if is_reached {
            self.common.metrics.limited(Limit::MaxRoomsPerSocket);
        }
        is_reached
    }

    /// `false` when it was in it already, or is gone.
    pub(crate) fn join(&self, room: &RoomName, keep: Keep) -> bool {
        let room = Arc::from(room);
        let joined = self.common.sockets.join(self.socket, &room, keep);
        tracing::debug!(socket.id = %self.socket, room = %room, "joined");
        joined
    }

    /// `false` when it was not in it.
    pub(crate) fn leave(&self, room: &RoomName) -> bool {
        // The others in the room must not believe that it still types.
        self.end_relays(Some(room));
        self.ongoing().subscribed.remove(room);
        let left = self.common.sockets.leave(self.socket, room.as_str());
        tracing::debug!(socket.id = %self.socket, room = %room, "left");
        left
    }

    /// Tells the client what became of its wish to enter or to leave a room.
    pub(super) fn tell(&self, event: &str, ack: Option<AckId>, decided: Result<&RoomName, Refusal>) {
        match (decided, ack) {
            (Ok(room), Some(ack)) => self.ack(ack, &json!({"ok": true, "room": room.as_str()})),
            (Ok(_), None) => {}
            (Err(refusal), ack) => {
                tracing::debug!(socket.id = %self.socket, event, code = refusal.code(), "refused");
                match ack {
                    Some(ack) => self.refuse(ack, refusal),
                    None => self.emit(
                        "subscribe:error",
                        &json!({"event": event, "code": refusal.code(), "message": refusal.message()}),
                    ),
                }
            }
        }
    }
}

impl Subscribed {
    /// All of them.
    pub(super) fn all(&self) -> Vec<Wish> {
        self.0.clone()
    }

    fn add(&mut self, step: &Subscribing) {
        let wish = Wish {
            event: step.event.as_str().into(),
            argument: step.argument.clone(),
            room: step.room.clone(),
        };
        if !self.0.contains(&wish) {
            self.0.push(wish);
        }
    }

    fn remove(&mut self, room: &RoomName) {
        self.0.retain(|wish| wish.room != *room);
    }
}
