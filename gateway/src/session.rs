//! One client's life after it was admitted: events, rooms, the end. Knows neither bytes nor Redis.

mod answers;
mod binary;
mod following;
mod forwards;
mod lifetime;
mod meter;
mod pace;
mod rates;
mod refresh;
mod relays;
mod rooms;
mod showing;
mod standing;
mod waiting;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use adapter_redis::RoomName;
use arc_swap::ArcSwap;
use serde_json::Value;

pub(crate) use self::{following::Follow, refresh::EVENT as REFRESH};
use self::{
    following::Given, forwards::Forwards, lifetime::Lifetime, meter::Meter, pace::Pace, relays::Relays,
    rooms::Subscribed, standing::Standing, waiting::Waiting,
};
use crate::{
    auth::{Claims, Verifier},
    engine::{AckId, CloseReason, Event, Malformed, Member, SocketId, Sockets},
    expiry::Expiry,
    forwarding::Forwarding,
    hooks::Hooks,
    joining::{Doors, Joining, Step},
    limits::CurrentLimits,
    metrics::{Dropped, Metrics},
    policy::{Asking, Identity, Rule},
    population::{Admission, Population},
    refusal::Refusal,
    relaying::Relaying,
    revocation::Revocations,
    roster::Roster,
    rules::Rules,
    tail::{Kind, Tails},
};

/// A connected client.
pub struct Session {
    socket: SocketId,
    identity: Arc<Identity>,
    /// Locked last.
    standing: Mutex<Standing>,
    /// What the client put into the handshake's query, likewise; mostly nothing.
    query: Option<Box<str>>,
    common: Arc<Common>,
    state: Mutex<State>,
    ongoing: Mutex<Ongoing>,
}

/// What all sessions of a node have in common.
pub(crate) struct Common {
    pub(crate) verifier: ArcSwap<Verifier>,
    pub(crate) rules: Rules,
    pub(crate) sockets: Sockets,
    pub(crate) population: Arc<Population>,
    pub(crate) doors: Box<dyn Doors>,
    pub(crate) joining: Joining,
    pub(crate) relaying: Box<dyn Relaying>,
    pub(crate) forwarding: Forwarding,
    pub(crate) hooks: Hooks,
    pub(crate) metrics: Metrics,
    pub(crate) tails: Tails,
    pub(crate) limits: CurrentLimits,
    pub(crate) roster: Arc<Roster>,
    pub(crate) revocations: Revocations,
    pub(crate) expiry: Expiry,
}

struct State {
    /// What was counted for this session, until it goes.
    admission: Option<Admission>,
    /// What came while a room is being entered. While it is there, nothing is handled but from there.
    waiting: Option<Box<Waiting>>,
    /// What it has used of its limits.
    meter: Meter,
    given: Given,
    /// Until its token ends, or until it goes.
    lifetime: Option<Lifetime>,
    /// Why it is being sent away, where the engine cannot know.
    ending: Option<&'static str>,
}

/// What the client did and what still matters of it. Locked after `state`, never before.
#[derive(Default)]
struct Ongoing {
    subscribed: Subscribed,
    relays: Relays,
    forwards: Forwards,
    pace: Pace,
}

impl Session {
    pub(crate) fn new(
        socket: SocketId,
        claims: &Claims,
        query: &Value,
        common: Arc<Common>,
        admission: Admission,
        given: Vec<RoomName>,
        by_backend: Vec<RoomName>,
    ) -> Session {
        let query = query
            .as_object()
            .filter(|q| !q.is_empty())
            .map(|_| query.to_string().into());
        Session {
            socket,
            identity: admission.identity().clone(),
            standing: Mutex::new(Standing::new(claims)),
            query,
            common,
            state: Mutex::new(State {
                admission: Some(admission),
                waiting: None,
                meter: Meter::default(),
                given: Given::new(given),
                lifetime: None,
                ending: None,
            }),
            ongoing: Mutex::new(Ongoing {
                subscribed: Subscribed::with(by_backend),
                ..Ongoing::default()
            }),
        }
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.socket
    }

    pub(crate) fn user(&self) -> &str {
        &self.identity.user
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

    /// Handles an event; what has to wait for something is given back.
    fn handle(&self, event: &Event<'_>, ack: Option<AckId>) -> Option<Step> {
        if event.name() == REFRESH {
            return self.refresh(event, ack);
        }
        let rules = self.common.rules.now();
        match rules.rule(event.name()) {
            Some(Rule::Subscribe(rule)) => return self.subscribe(event, &rules, rule, ack),
            Some(Rule::Leave(rule)) => self.unsubscribe(event, rule, ack),
            Some(Rule::Relay(rule)) => self.relay(event, &rules, rule, true, ack),
            Some(Rule::Stop(rule)) => self.relay(event, &rules, rule, false, ack),
            Some(Rule::Reply(reply)) => self.reply(event, reply, ack),
            Some(Rule::Forward(rule)) => self.forward(event, &rules, rule, ack),
            None => {
                self.common.metrics.dropped(Dropped::UnknownEvent, 1);
                self.show_refusal(event.name(), Refusal::UnknownEvent.code());
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
            self.common.rules.now().rule(event.name()),
            Some(Rule::Subscribe(_) | Rule::Leave(_))
        );
        if ack.is_some() || is_about_rooms {
            self.tell(event.name(), ack, Err(Refusal::Busy));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this client asks for now.
    fn asking<'a>(&'a self, claims: &'a Value, argument: &'a Value) -> Asking<'a> {
        Asking {
            claims,
            identity: &self.identity,
            argument,
            now: SystemTime::now(),
        }
    }

    fn query(&self) -> Value {
        let text = self.query.as_deref().unwrap_or("{}");
        serde_json::from_str(text).unwrap_or(Value::Null)
    }

    fn ongoing(&self) -> MutexGuard<'_, Ongoing> {
        self.ongoing.lock().unwrap_or_else(PoisonError::into_inner)
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
                match step {
                    Step::Subscribe(step) => self.tell(&step.event, step.ack, Err(Refusal::RoomUnavailable)),
                    Step::Refresh(step) => self.tell_refreshed(step.ack, Err(Refusal::ServerUnavailable)),
                }
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
        let (admission, waiting, lifetime, ending) = {
            let mut state = self.state();
            (
                state.admission.take(),
                state.waiting.take(),
                state.lifetime.take(),
                state.ending,
            )
        };
        // The engine sees that it was sent away; why, only the session knows.
        let reason = match ending {
            Some(ending) if reason == CloseReason::ServerDisconnect => ending,
            _ => reason.as_str(),
        };
        if let Some(admission) = admission {
            admission.ends(reason);
        }
        if let Some(lifetime) = lifetime {
            self.common.expiry.remove(lifetime.ticket);
        }
        self.end_relays(None);
        self.end_forwards();
        self.common.roster.remove(self.socket, self);
        // With it ends the wait for a room.
        if let Some(waiting) = waiting {
            self.common.metrics.dropped(Dropped::SocketGone, waiting.len());
        }
        self.common.metrics.disconnected(reason);
        self.show(Kind::Disconnect, |sight| sight.reason = Some(reason));
        tracing::info!(
            socket.id = %self.socket,
            user = &*self.identity.user,
            reason,
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

#[cfg(test)]
mod tests;
