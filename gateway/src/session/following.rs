//! The rooms that policy and claims give a client follow both of them while it is connected.

use std::sync::Arc;

use adapter_redis::RoomName;
use serde_json::Value;

use super::{Common, Session, State, rooms::Wish};
use crate::{engine::Keep, joining::Entry, policy::Trail, refusal::Refusal, rules::InForce};

/// The rooms that a client is in without having asked. What a backend put it into is not among them, and what a backend
/// took from it stays among them: it is not given again as long as policy and claims go on giving it.
#[derive(Debug)]
pub(super) struct Given {
    rooms: Vec<RoomName>,
    /// Another one each time that something was decided: who opened rooms meanwhile has to look again.
    generation: u32,
}

/// What a session has to do after the policy became another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// It has left what it may no longer be in, so many rooms; these it may enter now, if nothing else is decided before.
    Rooms {
        left: usize,
        enter: Vec<RoomName>,
        generation: u32,
    },
    /// It would be somebody else, or nobody: it has to connect anew.
    Reconnect,
}

/// What another token comes to.
pub(super) struct Decided {
    pub(super) by: Arc<InForce>,
    pub(super) generation: u32,
    pub(super) granted: Vec<RoomName>,
    /// Those that it was not given before.
    pub(super) opened: Vec<(RoomName, Keep)>,
}

impl Session {
    /// Leaves what the policy in force no longer gives. What no policy gave was given by a backend, and
    /// stays.
    pub(crate) fn follow(&self) -> Follow {
        let mut state = self.state();
        let (rules, now) = (self.common.rules.now(), self.common.expiry.wall());
        let (claims, query, trail) = (self.claims(), self.query(), &mut Trail::counting());
        let policy = &rules.loaded().policy;
        if policy.identify(&claims, now, trail).as_ref() != Ok(&*self.identity) {
            return Follow::Reconnect;
        }
        let granted = policy.rooms(&claims, &query, &self.identity, now, trail);
        let left = self.leave_lost(&state.given, &claims, &granted);
        let inside = self.common.sockets.rooms_of(self.socket);
        let (has, enter) = granted.into_iter().partition(|room| {
            // What it was given and is not in was taken from it by a backend, and stays taken.
            state.given.has(room) || inside.iter().any(|r| **r == *room.as_str())
        });
        state.given.exchange(has);
        Follow::Rooms {
            left,
            enter,
            generation: state.given.generation,
        }
    }

    /// Enters a room of [`Follow`]; `false` when something else was decided meanwhile, or the client is in it or gone.
    pub(crate) fn enter_given(&self, generation: u32, room: RoomName, keep: Keep) -> bool {
        let mut state = self.state();
        if !state.given.is_of(generation) {
            return false;
        }
        let joined = self.join(&room, keep);
        state.given.rooms.push(room);
        joined
    }

    /// As another token gives them: leaves what it does not give, and enters what was opened.
    pub(super) fn move_rooms(&self, state: &mut State, claims: &Value, decided: Decided) {
        self.leave_lost(&state.given, claims, &decided.granted);
        for (room, keep) in decided.opened {
            self.join(&room, keep);
        }
        state.given.exchange(decided.granted);
    }

    /// Leaves what it was given and what it asked for, as far as neither is so any more. Answers how many rooms.
    fn leave_lost(&self, given: &Given, claims: &Value, granted: &[RoomName]) -> usize {
        let (wishes, by_backend) = self.ongoing().subscribed.all();
        let stays = |wish: &Wish| self.may_stay(claims, &wish.event, &wish.argument, &wish.room);
        let (kept, lost): (Vec<_>, Vec<_>) = wishes.into_iter().partition(stays);
        let is_allowed = |room: &RoomName| {
            granted.contains(room) || by_backend.contains(room) || kept.iter().any(|w| w.room == *room)
        };
        let mut lost: Vec<RoomName> = lost.into_iter().map(|wish| wish.room).collect();
        lost.extend(given.rooms.iter().cloned());
        lost.retain(|room| !is_allowed(room));
        lost.sort_unstable();
        lost.dedup();
        lost.iter().filter(|room| self.leave(room)).count()
    }
}

impl Common {
    /// Opens a room, before somebody enters it who is owed it.
    ///
    /// # Errors
    /// [`Refusal::ServerUnavailable`], which is logged.
    pub(crate) async fn open(&self, room: &RoomName) -> Result<Keep, Refusal> {
        let opened = match self.doors.enter(room) {
            Entry::Now(keep) => Ok(keep),
            Entry::Later(opening) => opening.await,
        };
        opened.map_err(|error| {
            tracing::error!(%room, %error, "a client cannot be let into a room");
            Refusal::ServerUnavailable
        })
    }
}

impl Given {
    pub(super) fn new(rooms: Vec<RoomName>) -> Given {
        Given { rooms, generation: 0 }
    }

    /// Those that it was not given yet, and the number of what was decided last.
    pub(super) fn missing(&self, granted: &[RoomName]) -> (u32, Vec<RoomName>) {
        let missing = granted.iter().filter(|room| !self.has(room)).cloned();
        (self.generation, missing.collect())
    }

    /// Whether that was decided last.
    pub(super) fn is_of(&self, generation: u32) -> bool {
        self.generation == generation
    }

    fn has(&self, room: &RoomName) -> bool {
        self.rooms.contains(room)
    }

    fn exchange(&mut self, rooms: Vec<RoomName>) {
        self.rooms = rooms;
        self.generation = self.generation.wrapping_add(1);
    }
}
