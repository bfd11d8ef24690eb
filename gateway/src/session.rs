//! One client's life after it was admitted: events, rooms, the end. Knows neither bytes nor Redis.

mod meter;
mod waiting;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use adapter_redis::{Refused, RoomName};
use serde_json::{Value, json};

use self::{
    meter::{Meter, Over},
    waiting::Waiting,
};
use crate::{
    engine::{AckId, CloseReason, Event, Keep, Malformed, Member, Packet, SocketId, Sockets},
    joining::{Doors, Entry, Joining, Step},
    limits::{CurrentLimits, Limit},
    metrics::{Dropped, Metrics},
    policy::{Answer, Identity, Policy, Reply, Rule},
    population::Admission,
    refusal::Refusal,
};

/// A connected client.
pub struct Session {
    socket: SocketId,
    identity: Arc<Identity>,
    /// The claims as compact JSON: a tree of them would be most of what an idle session holds.
    claims: Box<str>,
    common: Arc<Common>,
    state: Mutex<State>,
}

/// What all sessions of a node have in common.
pub(crate) struct Common {
    pub(crate) policy: Arc<Policy>,
    pub(crate) sockets: Sockets,
    pub(crate) doors: Box<dyn Doors>,
    pub(crate) joining: Joining,
    pub(crate) metrics: Metrics,
    pub(crate) limits: CurrentLimits,
}

struct State {
    /// What was counted for this session, until it goes.
    admission: Option<Admission>,
    /// What came while a room is being entered. While it is there, nothing is handled but from there.
    waiting: Option<Box<Waiting>>,
    /// What it has used of its limits.
    meter: Meter,
}

impl Session {
    pub(crate) fn new(
        socket: SocketId,
        claims: &Value,
        common: Arc<Common>,
        admission: Admission,
    ) -> Session {
        let claims = claims.to_string().into_boxed_str();
        Session {
            socket,
            identity: admission.identity().clone(),
            claims,
            common,
            state: Mutex::new(State {
                admission: Some(admission),
                waiting: None,
                meter: Meter::default(),
            }),
        }
    }

    /// The room of a step is open, or refused.
    pub(crate) fn entered(&self, step: &Step, opened: Result<Keep, Refused>) {
        let decided = match opened {
            Ok(keep) => {
                self.join(&step.room, keep);
                Ok(&step.room)
            }
            Err(error) => {
                tracing::error!(socket.id = %self.socket, room = %step.room, %error, "cannot enter the room");
                Err(Refusal::RoomUnavailable)
            }
        };
        self.tell(&step.event, step.ack, decided);
    }

    /// Handles what waited, until something has to wait again.
    pub(crate) fn resume(&self) -> Option<Step> {
        loop {
            let (kept, ack) = {
                let mut state = self.state();
                let Some(next) = state.waiting.as_mut()?.next() else {
                    state.waiting = None;
                    return None;
                };
                next
            };
            if let Some(step) = self.handle(&kept.event(), ack) {
                return Some(step);
            }
        }
    }

    /// Handles an event; what has to wait for a room is given back.
    fn handle(&self, event: &Event<'_>, ack: Option<AckId>) -> Option<Step> {
        match self.common.policy.rule(event.name()) {
            Some(Rule::Reply(reply)) => self.reply(event, reply, ack),
            Some(rule) => return self.enter(event, rule, ack),
            None => {
                self.common.metrics.dropped(Dropped::UnknownEvent, 1);
                // Who asked for an answer waits for it, and a client with retries would stop sending at all.
                if let Some(ack) = ack {
                    self.refuse(ack, Refusal::UnknownEvent);
                }
            }
        }
        None
    }

    /// An event that came when too much waits already.
    fn turn_away(&self, event: &Event<'_>, ack: Option<AckId>) {
        self.common.metrics.dropped(Dropped::EventQueueFull, 1);
        let is_about_rooms = matches!(
            self.common.policy.rule(event.name()),
            Some(Rule::Subscribe(_) | Rule::Leave(_))
        );
        if ack.is_some() || is_about_rooms {
            self.tell(event.name(), ack, Err(Refusal::Busy));
        }
    }

    /// An event that is not looked at, because a limit says no.
    fn exceeded(&self, over: Over, event: &Event<'_>, ack: Option<AckId>, tells: bool) {
        let (limit, refusal) = (over.limit.as_str(), over.refusal);
        self.common.metrics.limited(over.limit);
        tracing::debug!(socket.id = %self.socket, limit, "over the limit");
        let (code, message) = (refusal.code(), refusal.message());
        match ack {
            Some(ack) => {
                let mut answer =
                    json!({"ok": false, "code": code, "message": message, "retry": refusal.retry()});
                if let (Some(wait), Some(answer)) = (over.wait, answer.as_object_mut()) {
                    answer.insert("retryAfter".to_owned(), milliseconds(wait).into());
                }
                self.ack(ack, &answer);
            }
            None if tells => {
                let event = shortened(event.name());
                let notice = json!({"limit": limit, "event": event, "code": code, "message": message});
                self.emit("limit:exceeded", &notice);
            }
            None => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> Value {
        // Written by us a moment ago, so it can be read.
        serde_json::from_str(&self.claims).unwrap_or(Value::Null)
    }

    fn enter(&self, event: &Event<'_>, rule: Rule<'_>, ack: Option<AckId>) -> Option<Step> {
        let now = SystemTime::now();
        let (argument, claims) = (event.first(), self.claims());
        let decided = match rule {
            Rule::Subscribe(rule) => match rule.enter(&argument, &claims, &self.identity, now) {
                Ok(room) if self.is_in_enough(&room) => Err(Refusal::TooManyRooms),
                Ok(room) => match self.common.doors.enter(&room) {
                    Entry::Now(keep) => {
                        self.join(&room, keep);
                        Ok(room)
                    }
                    Entry::Later(opening) => {
                        return Some(Step {
                            event: event.name().to_owned(),
                            ack,
                            room,
                            opening,
                        });
                    }
                },
                Err(refusal) => Err(refusal),
            },
            Rule::Leave(rule) => rule
                .leave(&argument, &claims, &self.identity, now)
                .inspect(|room| {
                    self.common.sockets.leave(self.socket, room.as_str());
                    tracing::debug!(socket.id = %self.socket, room = %room, "left");
                }),
            Rule::Reply(_) => Err(Refusal::UnknownEvent),
        };
        self.tell(event.name(), ack, decided.as_ref().map_err(|refusal| *refusal));
        None
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

    fn join(&self, room: &RoomName, keep: Keep) {
        self.common
            .sockets
            .join(self.socket, &Arc::from(room.as_str()), keep);
        tracing::debug!(socket.id = %self.socket, room = %room, "joined");
    }

    /// Tells the client what became of its wish to enter or to leave a room.
    fn tell(&self, event: &str, ack: Option<AckId>, decided: Result<&RoomName, Refusal>) {
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

    fn reply(&self, event: &Event<'_>, reply: &Reply, ack: Option<AckId>) {
        let now = SystemTime::now();
        let (argument, claims) = if reply.needs_values() {
            (event.first(), self.claims())
        } else {
            (Value::Null, Value::Null)
        };
        if let Some(name) = reply.emit() {
            match reply
                .data(&argument, &claims, &self.identity, now)
                .map(|a| arguments(a, event))
            {
                Some((text, attachments)) => {
                    let separator = if text.is_empty() { "" } else { "," };
                    let text = format!("[{}{separator}{text}]", Value::from(name.as_str()));
                    self.send(Packet { text, attachments });
                }
                None => self.common.metrics.dropped(Dropped::ReplyFailed, 1),
            }
        }
        let Some(ack) = ack else { return };
        match reply
            .ack(&argument, &claims, &self.identity, now)
            .map(|a| arguments(a, event))
        {
            Some((text, attachments)) => {
                self.answer(
                    ack,
                    Packet {
                        text: format!("[{text}]"),
                        attachments,
                    },
                );
            }
            None => {
                self.common.metrics.dropped(Dropped::ReplyFailed, 1);
                self.refuse(ack, Refusal::BadData);
            }
        }
    }

    fn refuse(&self, ack: AckId, refusal: Refusal) {
        self.ack(
            ack,
            &json!({"ok": false, "code": refusal.code(), "message": refusal.message()}),
        );
    }

    fn ack(&self, ack: AckId, value: &Value) {
        self.answer(
            ack,
            Packet {
                text: format!("[{value}]"),
                attachments: Vec::new(),
            },
        );
    }

    fn answer(&self, ack: AckId, packet: Packet) {
        if !self.common.sockets.ack(self.socket, ack, packet) {
            self.common.metrics.dropped(Dropped::SocketGone, 1);
        }
    }

    fn emit(&self, event: &str, value: &Value) {
        self.send(Packet {
            text: format!("[{},{value}]", Value::from(event)),
            attachments: Vec::new(),
        });
    }

    fn send(&self, packet: Packet) {
        let size = packet.size();
        if self.common.sockets.emit(self.socket, packet) {
            self.common.metrics.events_out.increment(1);
            self.common.metrics.bytes_out.increment(size as u64);
        } else {
            self.common.metrics.dropped(Dropped::SocketGone, 1);
        }
    }
}

impl Member for Session {
    fn event(self: &Arc<Self>, event: Event<'_>, ack: Option<AckId>) {
        self.common.metrics.events_in.increment(1);
        // Held while the event is handled: two requests of one polling client must not pass one another.
        let mut state = self.state();
        let size = event.name().len() + event.size();
        let (limits, now) = (self.common.limits.get(), now());
        if let Err(over) = state.meter.count(size, &limits, now) {
            let tells = ack.is_none() && state.meter.tells(over.limit, now);
            drop(state);
            return self.exceeded(over, &event, ack, tells);
        }
        drop(limits);
        if let Some(waiting) = &mut state.waiting {
            let refused = waiting.push(event, ack);
            drop(state);
            if let Err((event, ack)) = refused {
                self.turn_away(&event, ack);
            }
            return;
        }
        let Some(step) = self.handle(&event, ack) else {
            return;
        };
        if state.admission.is_none() {
            return; // It went meanwhile, and joins nothing.
        }
        match self.common.joining.wait(self.clone(), step) {
            Ok(here) => state.waiting = Some(Box::new(Waiting::new(here))),
            Err(step) => {
                drop(state);
                self.common.metrics.dropped(Dropped::JoiningQueueFull, 1);
                self.tell(&step.event, step.ack, Err(Refusal::RoomUnavailable));
            }
        }
    }

    fn malformed(&self, _: Malformed) {
        self.common.metrics.events_in.increment(1);
        self.common.metrics.dropped(Dropped::MalformedEvent, 1);
        // It is refused as it is; but it counts.
        let _ = self.state().meter.count(0, &self.common.limits.get(), now());
    }

    fn gone(&self, reason: CloseReason) {
        let (admission, waiting) = {
            let mut state = self.state();
            (state.admission.take(), state.waiting.take())
        };
        drop(admission);
        // With it ends the wait for a room.
        if let Some(waiting) = waiting {
            self.common.metrics.dropped(Dropped::SocketGone, waiting.len());
        }
        self.common.metrics.disconnected(reason);
        tracing::info!(
            socket.id = %self.socket,
            user = &*self.identity.user,
            reason = reason.as_str(),
            "disconnected"
        );
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.socket).finish()
    }
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Common")
    }
}

/// The clock of the runtime, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Rounded up, so that who waits that long has waited long enough.
fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// An event's name for an answer: as long as names may be, and no longer.
fn shortened(name: &str) -> &str {
    const MOST: usize = 256;
    name.get(..name.floor_char_boundary(MOST)).unwrap_or_default()
}

/// The text between the brackets of an argument list, and its attachments.
fn arguments(answer: Answer, event: &Event<'_>) -> (String, Vec<bytes::Bytes>) {
    match answer {
        Answer::Nothing => (String::new(), Vec::new()),
        Answer::Json(value) => (value.to_string(), Vec::new()),
        Answer::Echo => (
            event.first_text().unwrap_or_default().to_owned(),
            event.first_attachments(),
        ),
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
