//! The rooms that a client asks for, and those that it has to leave because the policy became another one.

use std::{sync::Arc, time::SystemTime};

use adapter_redis::{Refused, RoomName};
use serde_json::{Value, json};

use super::Session;
use crate::{
    engine::{AckId, Event, Keep},
    joining::{Entry, Step},
    limits::Limit,
    policy::{Rule, Subscription, Trail},
    refusal::Refusal,
    rules::{InForce, Now},
};

/// The rooms that a client asked for and got, with what it asked: whether it may stay is asked again when the policy
/// is another one.
#[derive(Debug, Default)]
pub(super) struct Subscribed(Vec<Wish>);

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    event: Box<str>,
    /// JSON text.
    argument: Box<str>,
    room: RoomName,
}

/// What a session has to do after the policy became another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// It has left what it may no longer be in, so many rooms; these it may enter now.
    Rooms { left: usize, enter: Vec<RoomName> },
    /// It would be somebody else, or nobody: it has to connect anew.
    Reconnect,
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
        let step = |opening| Step {
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
            Entry::Later(opening) => Some(step(opening)),
        }
    }

    /// The room of a step is open, or refused.
    pub(crate) fn entered(&self, step: &Step, opened: Result<Keep, Refused>) {
        let decided = match opened {
            Ok(keep) => {
                self.ongoing().subscribed.add(step);
                self.join(&step.room, keep);
                if self.common.rules.is_in_force(&step.decided_by)
                    || self.may_stay(&step.event, &step.argument, &step.room)
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

    /// Leaves what the policy in force no longer gives. `before` is the one that this session followed until now: what
    /// neither of them gave was given by a backend, and stays.
    pub(crate) fn follow(&self, before: &InForce) -> Follow {
        let (rules, now) = (self.common.rules.now(), SystemTime::now());
        let (claims, query) = (self.claims(), self.query());
        let policy = &rules.loaded().policy;
        if policy.identify(&claims, now, &mut Trail::counting()).as_ref() != Ok(&*self.identity) {
            return Follow::Reconnect;
        }
        let rooms = |loaded: &InForce| {
            let trail = &mut Trail::counting();
            loaded.policy.rooms(&claims, &query, &self.identity, now, trail)
        };
        let (granted, was_granted) = (rooms(rules.loaded()), rooms(before));
        let wishes = self.ongoing().subscribed.0.clone();
        let stays = |wish: &Wish| self.may_stay(&wish.event, &wish.argument, &wish.room);
        let (kept, lost): (Vec<_>, Vec<_>) = wishes.into_iter().partition(stays);
        let is_allowed = |room: &RoomName| granted.contains(room) || kept.iter().any(|w| w.room == *room);
        let mut lost: Vec<RoomName> = lost
            .into_iter()
            .map(|w| w.room)
            .chain(was_granted.iter().cloned())
            .collect();
        lost.retain(|room| !is_allowed(room));
        lost.sort_unstable();
        lost.dedup();
        let left = lost.iter().filter(|room| self.leave(room)).count();
        // What both of them give and it is not in was taken from it by a backend, and stays taken.
        let inside = self.common.sockets.rooms_of(self.socket);
        let enter = granted
            .into_iter()
            .filter(|room| !was_granted.contains(room) && !inside.iter().any(|r| **r == *room.as_str()))
            .collect();
        Follow::Rooms { left, enter }
    }

    /// Whether the policy in force gives this room for this wish.
    fn may_stay(&self, event: &str, argument: &str, room: &RoomName) -> bool {
        let rules = self.common.rules.now();
        let Some(Rule::Subscribe(rule)) = rules.rule(event) else {
            return false;
        };
        let argument: Value = serde_json::from_str(argument).unwrap_or_default();
        let claims = self.claims();
        let asking = self.asking(&claims, &argument);
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
        let room = Arc::from(room.as_str());
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
    fn add(&mut self, step: &Step) {
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
