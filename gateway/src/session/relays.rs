//! Events of this client for others: `[[relay]]` of the policy.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use adapter_redis::{Args, Ending, EventName, Phase, Relay as Message, RoomName};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Session, binary, now, rates::Rates};
use crate::{
    engine::{AckId, Event},
    metrics::Dropped,
    policy::{Answer, Asking, Relay, Rule},
    refusal::Refusal,
    rules::Now,
};

/// The most things that one client may have begun and not ended. Nobody types in more conversations at once.
const MAX_BEGUN: usize = 64;
/// The longest argument, in bytes, of what has to be remembered until it ends.
const MAX_REMEMBERED: usize = 4096;

/// Each beginning on this node has a number of its own.
static KEYS: AtomicU64 = AtomicU64::new(1);

/// What a client has begun and not ended, and how fast it may go on.
#[derive(Debug, Default)]
pub(super) struct Relays {
    begun: Vec<Begun>,
    rates: Rates,
    /// The client is gone and begins nothing any more.
    over: bool,
}

/// Something that ends: by the client, by its time, with its room, or with the client.
#[derive(Debug)]
struct Begun {
    key: u64,
    /// The event that began it, which names the rule.
    event: Box<str>,
    room: RoomName,
    /// What the client sent: JSON text.
    argument: Box<str>,
    /// When it ends by itself.
    until: Option<Instant>,
}

impl Session {
    /// Tells the others. `is_start` or the stop of something.
    pub(super) fn relay(
        &self,
        event: &Event<'_>,
        rules: &Now<'_>,
        rule: &Relay,
        is_start: bool,
        ack: Option<AckId>,
    ) {
        let decided = self.try_relay(event, rules, rule, is_start);
        match (decided, ack) {
            (Ok(()), Some(ack)) => self.ack(ack, &json!({"ok": true})),
            (Ok(()), None) => {}
            (Err(refusal), ack) => {
                self.common.metrics.dropped(Dropped::RelayRefused, 1);
                tracing::debug!(socket.id = %self.socket, event = event.name(), code = refusal.code(), "refused");
                self.show_refusal(event.name(), refusal.code());
                // Without an ack it is only counted: clients do not wait for an answer to these.
                if let Some(ack) = ack {
                    self.refuse(ack, refusal);
                }
            }
        }
    }

    fn try_relay(
        &self,
        event: &Event<'_>,
        rules: &Now<'_>,
        rule: &Relay,
        is_start: bool,
    ) -> Result<(), Refusal> {
        let (argument, claims) = (event.first(), self.claims());
        let asking = self.asking(&claims, &argument);
        // Held until it is on its way: a client that goes meanwhile has then begun it or has not.
        let mut ongoing = self.ongoing();
        let relays = &mut ongoing.relays;
        if relays.over {
            return Err(Refusal::NotInRoom);
        }
        // Counted before it is looked at: looking is what costs.
        if is_start {
            let (event, rate) = (rule.event().as_str(), rule.rate_per_minute());
            relays.rates.take(event, rate, now())?;
        }
        let room = rules.relay_room(event.name(), rule, &asking)?;
        if !self.common.sockets.is_in(self.socket, room.as_str()) {
            return Err(Refusal::NotInRoom);
        }
        let emit = rule.emit(&asking).ok_or(Refusal::BadData)?;
        let phase = match (is_start, rule.has_end()) {
            (true, true) => Phase::Begins(Box::new(relays.begin(event, rule, &room, &asking)?)),
            (true, false) => Phase::Once,
            (false, _) => Phase::Ends {
                key: relays.end(rule, &room),
            },
        };
        let answer = if is_start {
            rule.begin(&asking)
        } else {
            rule.end(&asking)
        };
        let args = answer.and_then(|a| arguments(a, event)).ok_or(Refusal::BadData)?;
        self.send_to_others(event.name(), emit, room, args, phase);
        Ok(())
    }

    /// `name`: the client's event.
    fn send_to_others(&self, name: &str, event: EventName, room: RoomName, args: Args, phase: Phase) {
        let shown = self.common.tails.if_open().map(|_| (event.clone(), room.clone()));
        let relay = Message {
            rooms: vec![room],
            except: vec![self.socket.to_string()],
            namespace: "/".to_owned(),
            event,
            args,
        };
        let relayed = self.common.relaying.relay(relay, phase);
        if let Some((emit, room)) = shown {
            self.show_relay(name, &emit, &room, relayed);
        }
    }

    /// Ends what this client began in a room that it leaves, or everywhere.
    pub(super) fn end_relays(&self, room: Option<&RoomName>) {
        let over = {
            let relays = &mut self.ongoing().relays;
            relays.over |= room.is_none();
            relays.take_begun(|begun| room.is_none_or(|room| begun.room == *room))
        };
        if over.is_empty() {
            return;
        }
        let (rules, claims, now) = (self.common.rules.now(), self.claims(), SystemTime::now());
        for begun in over {
            // Without the rule it ends by its time.
            let Some(Rule::Relay(rule)) = rules.rule(&begun.event) else {
                continue;
            };
            let argument: Value = serde_json::from_str(&begun.argument).unwrap_or_default();
            let asking = Asking {
                claims: &claims,
                identity: &self.identity,
                argument: &argument,
                now,
            };
            let args = match rule.end(&asking) {
                Some(Answer::Json(value)) => Args::from_values(&[value]),
                Some(Answer::Echo) => Args::from_values(std::slice::from_ref(&argument)),
                Some(Answer::Nothing) | None => Args::none(),
            };
            // It was a name when it began, and is made of the same.
            if let Some(emit) = rule.emit(&asking) {
                let phase = Phase::Ends { key: begun.key };
                self.send_to_others(&begun.event, emit, begun.room, args, phase);
            }
        }
    }
}

impl Relays {
    /// Remembers what begins; again, when it is there already.
    fn begin(
        &mut self,
        event: &Event<'_>,
        rule: &Relay,
        room: &RoomName,
        asking: &Asking<'_>,
    ) -> Result<Ending, Refusal> {
        let argument = event.first_text().unwrap_or("null");
        // Bytes cannot be said again at the end.
        if argument.len() > MAX_REMEMBERED || !event.attachments().is_empty() {
            return Err(Refusal::BadData);
        }
        let (now, after) = (Instant::now(), rule.timeout());
        // The same thing stays, also when its time is over: should that not have been said yet, this prolongs it, and what is
        // late does not end what begins now.
        self.begun
            .retain(|begun| begun.is(rule, room) || begun.until.is_none_or(|until| until > now));
        let found = self.begun.iter().position(|b| b.is(rule, room));
        if found.is_none() && self.begun.len() >= MAX_BEGUN {
            return Err(Refusal::Busy);
        }
        // What is sent when nobody ends it: said now, for the time when that will be.
        let end = rule.end(&Asking {
            now: rule.ends_at(asking.now),
            ..*asking
        });
        let args = end.and_then(|a| arguments(a, event)).ok_or(Refusal::BadData)?;
        let key = match found {
            Some(index) => self.begun.swap_remove(index).key,
            None => KEYS.fetch_add(1, Ordering::Relaxed),
        };
        self.begun.push(Begun {
            key,
            event: rule.event().as_str().into(),
            room: room.clone(),
            argument: argument.into(),
            until: after.and_then(|after| now.checked_add(after)),
        });
        Ok(Ending { key, after, args })
    }

    /// Forgets what ends, also when its time is over and that may not have been said yet; a stop without a start gets a
    /// number that nothing has.
    fn end(&mut self, rule: &Relay, room: &RoomName) -> u64 {
        let found = self.begun.iter().position(|b| b.is(rule, room));
        let key = found.map(|index| self.begun.swap_remove(index).key);
        key.unwrap_or_else(|| KEYS.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes out what has not ended by itself meanwhile.
    fn take_begun(&mut self, which: impl Fn(&Begun) -> bool) -> Vec<Begun> {
        let now = Instant::now();
        let taken = self.begun.extract_if(.., |begun| which(begun));
        taken
            .filter(|begun| begun.until.is_none_or(|until| until > now))
            .collect()
    }
}

impl Begun {
    fn is(&self, rule: &Relay, room: &RoomName) -> bool {
        *self.event == *rule.event().as_str() && self.room == *room
    }
}

/// What was computed from a client's event, as arguments of an envelope. `None`: it holds markers of bytes that no
/// client writes, and that would break the connections of those who get them.
fn arguments(answer: Answer, event: &Event<'_>) -> Option<Args> {
    match answer {
        Answer::Nothing => Some(Args::none()),
        Answer::Echo => match event.first_text() {
            None => Some(Args::none()),
            // As it came, byte for byte.
            Some(text) if !binary::may_be_in(text) => Args::from_texts([text]).ok(),
            Some(_) => binary::embed(event.first(), event.attachments()).map(|v| Args::from_values(&[v])),
        },
        Answer::Json(value) => binary::embed(value, event.attachments()).map(|v| Args::from_values(&[v])),
    }
}
