//! What a client gets back by itself: answers of the policy's replies, acks, and events for it alone.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Session, meter::Over};
use crate::{
    engine::{AckId, Event, Packet},
    metrics::Dropped,
    policy::{Answer, Reply},
    refusal::Refusal,
    tail::Kind,
};

impl Session {
    pub(super) fn reply(&self, event: &Event<'_>, reply: &Reply, ack: Option<AckId>) {
        let (argument, claims) = if reply.needs_values() {
            (event.first(), self.claims())
        } else {
            (Value::Null, Value::Null)
        };
        let asking = self.asking(&claims, &argument);
        self.show(Kind::Reply, |sight| sight.event = Some(event.name()));
        if let Some(name) = reply.emit(&asking) {
            match name.zip(reply.data(&asking).map(|a| arguments(a, event))) {
                Some((name, (text, attachments))) => {
                    let separator = if text.is_empty() { "" } else { "," };
                    let text = format!("[{}{separator}{text}]", Value::from(name.as_str()));
                    self.send(Packet { text, attachments });
                }
                None => self.common.metrics.dropped(Dropped::ReplyFailed, 1),
            }
        }
        let Some(ack) = ack else { return };
        match reply.ack(&asking).map(|a| arguments(a, event)) {
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

    /// An event that is not looked at, because a limit says no.
    pub(super) fn exceeded(&self, over: Over, event: &Event<'_>, ack: Option<AckId>, tells: bool) {
        let (limit, refusal) = (over.limit.as_str(), over.refusal);
        self.common.metrics.limited(over.limit);
        self.show_refusal(event.name(), refusal.code());
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

    pub(super) fn refuse(&self, ack: AckId, refusal: Refusal) {
        self.ack(
            ack,
            &json!({"ok": false, "code": refusal.code(), "message": refusal.message()}),
        );
    }

    pub(super) fn ack(&self, ack: AckId, value: &Value) {
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

    pub(super) fn emit(&self, event: &str, value: &Value) {
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

/// Rounded up, so that who waits that long has waited long enough.
pub(super) fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// An event's name for an answer: as long as names may be, and no longer.
pub(super) fn shortened(name: &str) -> &str {
    const MOST: usize = 256;
    name.get(..name.floor_char_boundary(MOST)).unwrap_or_default()
}

/// The text between the brackets of an argument list, and its attachments.
pub(super) fn arguments(answer: Answer, event: &Event<'_>) -> (String, Vec<bytes::Bytes>) {
    match answer {
        Answer::Nothing => (String::new(), Vec::new()),
        Answer::Json(value) => (value.to_string(), Vec::new()),
        Answer::Echo => (
            event.first_text().unwrap_or_default().to_owned(),
            event.first_attachments(),
        ),
    }
}
