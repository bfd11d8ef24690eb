//! The rooms that a client asks for.

use std::sync::Arc;

use adapter_redis::RoomName;
use serde_json::{Value, json};

use super::Session;
use crate::{
    engine::{AckId, Event, Keep},
    hooks::{No, Who},
    joining::{Entry, Granting, NotEntered, Step, Subscribing},
    limits::Limit,
    policy::{Rule, Subscription, Trail},
    refusal::Refusal,
    rules::Now,
    tail::Kind,
};

/// The rooms that a client asked for and got, with what it asked: whether it may stay is asked again when the policy
/// is another one, or the token.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    wishes: Vec<Wish>,
    /// The rooms that the backend gave it: the policy does not take them away.
    by_backend: Vec<RoomName>,
}

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
        let (decided, is_given) = match rules.enter(event.name(), rule, &asking) {
            Err(Refusal::NotAllowed) if rule.asks() => (rule.leave(&asking, &mut Trail::counting()), true),
            decided => (decided, false),
        };
        let room = match decided {
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
        let step = |opening, room| Subscribing {
            event: event.name().to_owned(),
            argument: event.first_text().unwrap_or("null").into(),
            ack,
            room,
            opening,
            is_given,
            decided_by: rules.loaded().clone(),
        };
        if is_given {
            let granting = self.ask_for(event.name(), &room, &argument);
            return Some(Step::Subscribe(step(granting, room)));
        }
        match self.common.doors.enter(&room) {
            Entry::Now(keep) => {
                let step = step(Box::pin(std::future::pending()), room);
                self.entered(&step, Ok(keep));
                None
            }
            Entry::Later(opening) => {
                let opening = Box::pin(async move { opening.await.map_err(NotEntered::Refused) });
                Some(Step::Subscribe(step(opening, room)))
            }
        }
    }

    /// Asks the backend for the room, and then the bus.
    fn ask_for(&self, event: &str, room: &RoomName, argument: &Value) -> Granting {
        let who = Who {
            identity: &self.identity,
            socket: self.socket,
            claims: &self.claims_text(),
        };
        let question = self.common.hooks.question(&who, event, room, argument);
        let (common, room) = (self.common.clone(), room.clone());
        Box::pin(async move {
            common.hooks.may_enter(question).await.map_err(NotEntered::No)?;
            match common.doors.enter(&room) {
                Entry::Now(keep) => Ok(keep),
                Entry::Later(opening) => opening.await.map_err(NotEntered::Refused),
            }
        })
    }

    /// The room of a step is open, or refused.
    pub(crate) fn entered(&self, step: &Subscribing, opened: Result<Keep, NotEntered>) {
        let decided = match opened {
            Ok(keep) => {
                self.ongoing().subscribed.add(step);
                self.join(&step.room, keep);
                if step.is_given
                    || self.common.rules.is_in_force(&step.decided_by)
                    || self.may_stay(&self.claims(), &step.event, &step.argument, &step.room)
                {
                    self.show_room(Kind::Subscribe, &step.event, &step.room);
                    Ok(&step.room)
                } else {
                    self.leave(&step.room);
                    Err(Refusal::NotAllowed)
                }
            }
            Err(NotEntered::Refused(error)) => {
                tracing::error!(socket.id = %self.socket, room = %step.room, %error, "cannot enter the room");
                Err(Refusal::RoomUnavailable)
            }
            Err(NotEntered::No(No::Silence)) => Err(Refusal::BackendUnavailable),
            Err(NotEntered::No(No::Denied(words))) => {
                let otherwise = Refusal::NotAllowed;
                let code = words.code.as_deref().unwrap_or(otherwise.code());
                let message = words.message.as_deref().unwrap_or(otherwise.message());
                return self.tell_no(&step.event, step.ack, code, message);
            }
        };
        self.tell(&step.event, step.ack, decided);
    }

    pub(super) fn unsubscribe(&self, event: &Event<'_>, rule: &Subscription, ack: Option<AckId>) {
        let (argument, claims) = (event.first(), self.claims());
        let asking = self.asking(&claims, &argument);
        let decided = rule.leave(&asking, &mut Trail::counting()).inspect(|room| {
            self.leave(room);
            self.show_room(Kind::Leave, event.name(), room);
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
            (Err(refusal), ack) => self.tell_no(event, ack, refusal.code(), refusal.message()),
        }
    }

    fn tell_no(&self, event: &str, ack: Option<AckId>, code: &str, message: &str) {
        tracing::debug!(socket.id = %self.socket, event, code, "refused");
        self.show_refusal(event, code);
        match ack {
            Some(ack) => self.ack(ack, &json!({"ok": false, "code": code, "message": message})),
            None => self.emit(
                "subscribe:error",
                &json!({"event": event, "code": code, "message": message}),
            ),
        }
    }
}

impl Subscribed {
    pub(super) fn with(by_backend: Vec<RoomName>) -> Subscribed {
        Subscribed {
            wishes: Vec::new(),
            by_backend,
        }
    }

    /// What it asked for and the policy gave, and what the backend gave.
    pub(super) fn all(&self) -> (Vec<Wish>, Vec<RoomName>) {
        (self.wishes.clone(), self.by_backend.clone())
    }

    fn add(&mut self, step: &Subscribing) {
        if step.is_given {
            if !self.by_backend.contains(&step.room) {
                self.by_backend.push(step.room.clone());
            }
            return;
        }
        let wish = Wish {
            event: step.event.as_str().into(),
            argument: step.argument.clone(),
            room: step.room.clone(),
        };
        if !self.wishes.contains(&wish) {
            self.wishes.push(wish);
        }
    }

    fn remove(&mut self, room: &RoomName) {
        self.wishes.retain(|wish| wish.room != *room);
        self.by_backend.retain(|given| given != room);
    }
}
