//! One client's life after it was admitted: events, rooms, the end. Knows neither bytes nor Redis.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::{
    engine::{AckId, CloseReason, Event, Malformed, Member, Packet, SocketId, Sockets},
    metrics::{Dropped, Metrics},
    policy::{Answer, Identity, Policy, Reply, Rule},
    refusal::Refusal,
    sessions::Admission,
};

/// A connected client.
#[derive(Debug)]
pub struct Session {
    socket: SocketId,
    identity: Identity,
    /// The claims as compact JSON: a tree of them would be most of what an idle session holds.
    claims: Box<str>,
    policy: Arc<Policy>,
    sockets: Sockets,
    metrics: Metrics,
    /// What was counted for this session, until it goes.
    admission: Mutex<Option<Admission>>,
}

impl Session {
    pub(crate) fn new(
        socket: SocketId,
        identity: Identity,
        claims: &Value,
        policy: Arc<Policy>,
        sockets: Sockets,
        metrics: Metrics,
        admission: Admission,
    ) -> Session {
        let claims = claims.to_string().into_boxed_str();
        Session {
            socket,
            identity,
            claims,
            policy,
            sockets,
            metrics,
            admission: Mutex::new(Some(admission)),
        }
    }

    fn claims(&self) -> Value {
        // Written by us a moment ago, so it can be read.
        serde_json::from_str(&self.claims).unwrap_or(Value::Null)
    }

    fn enter(&self, event: &Event<'_>, rule: Rule<'_>, ack: Option<AckId>) {
        let now = SystemTime::now();
        let (argument, claims) = (event.first(), self.claims());
        let decided = match rule {
            Rule::Subscribe(rule) => rule
                .enter(&argument, &claims, &self.identity, now)
                .inspect(|room| {
                    self.sockets.join(self.socket, &Arc::from(room.as_str()));
                    tracing::debug!(socket.id = %self.socket, room = %room, "joined");
                }),
            Rule::Leave(rule) => rule
                .leave(&argument, &claims, &self.identity, now)
                .inspect(|room| {
                    self.sockets.leave(self.socket, room.as_str());
                    tracing::debug!(socket.id = %self.socket, room = %room, "left");
                }),
            Rule::Reply(_) => Err(Refusal::UnknownEvent),
        };
        match (decided, ack) {
            (Ok(room), Some(ack)) => self.ack(ack, &json!({"ok": true, "room": room.as_str()})),
            (Ok(_), None) => {}
            (Err(refusal), ack) => {
                tracing::debug!(socket.id = %self.socket, event = event.name(), code = refusal.code(), "refused");
                match ack {
                    Some(ack) => self.refuse(ack, refusal),
                    None => self.emit(
                        "subscribe:error",
                        &json!({"event": event.name(), "code": refusal.code(), "message": refusal.message()}),
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
                None => self.metrics.dropped(Dropped::ReplyFailed, 1),
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
                self.metrics.dropped(Dropped::ReplyFailed, 1);
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
        if !self.sockets.ack(self.socket, ack, packet) {
            self.metrics.dropped(Dropped::SocketGone, 1);
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
        if self.sockets.emit(self.socket, packet) {
            self.metrics.events_out.increment(1);
            self.metrics.bytes_out.increment(size as u64);
        } else {
            self.metrics.dropped(Dropped::SocketGone, 1);
        }
    }
}

impl Member for Session {
    fn event(&self, event: Event<'_>, ack: Option<AckId>) {
        self.metrics.events_in.increment(1);
        match self.policy.rule(event.name()) {
            Some(Rule::Reply(reply)) => self.reply(&event, reply, ack),
            Some(rule) => self.enter(&event, rule, ack),
            None => {
                self.metrics.dropped(Dropped::UnknownEvent, 1);
                // Who asked for an answer waits for it, and a client with retries would stop sending at all.
                if let Some(ack) = ack {
                    self.refuse(ack, Refusal::UnknownEvent);
                }
            }
        }
    }

    fn malformed(&self, _: Malformed) {
        self.metrics.events_in.increment(1);
        self.metrics.dropped(Dropped::MalformedEvent, 1);
    }

    fn gone(&self, reason: CloseReason) {
        drop(
            self.admission
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.metrics.disconnected(reason);
        tracing::info!(
            socket.id = %self.socket,
            user = self.identity.user,
            reason = reason.as_str(),
            "disconnected"
        );
    }
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
