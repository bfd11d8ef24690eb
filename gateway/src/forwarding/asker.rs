//! Who asked: told exactly once what became of it, also when whoever works on it ends.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    engine::{AckId, Packet, SocketId, Sockets},
    metrics::{Dropped, Metrics},
    policy::Destination,
    refusal::Refusal,
    tail::{Kind, Sight, Tails, sight::ms},
};

/// The client.
pub(super) struct Asker {
    sockets: Sockets,
    socket: SocketId,
    /// What it waits for, if it does.
    ack: Option<AckId>,
    to: Destination,
    metrics: Metrics,
    watched: Option<Watched>,
    is_told: bool,
}

/// What those are shown in the end who looked when it began.
pub(super) struct Watched {
    pub(super) tails: Tails,
    pub(super) event: String,
    pub(super) user: Arc<str>,
    pub(super) since: Instant,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// The backend answered this.
    Answered(Packet),
    /// The backend has it, under this id; nobody waits for its answer, or it had none.
    Accepted(Option<String>),
    /// The backend said no, in its own words.
    Denied { code: String, message: String },
    /// It said no, failed, or did not answer.
    Failed(Refusal),
    /// Too much is on its way.
    QueueFull,
    /// The client is gone.
    Gone,
}

impl Asker {
    pub(super) fn new(
        sockets: &Sockets,
        socket: SocketId,
        ack: Option<AckId>,
        to: Destination,
        metrics: &Metrics,
        watched: Option<Watched>,
    ) -> Asker {
        Asker {
            sockets: sockets.clone(),
            socket,
            ack,
            to,
            metrics: metrics.clone(),
            watched,
            is_told: false,
        }
    }

    pub(super) fn tell(mut self, outcome: Outcome) {
        self.is_told = true;
        self.say(outcome);
    }

    fn say(&self, outcome: Outcome) {
        self.metrics.forwarded.count(self.to, outcome.label());
        tracing::debug!(socket.id = %self.socket, to = self.to.as_str(), outcome = outcome.label(), "forwarded");
        if let Some(watched) = &self.watched {
            watched.tails.show(|| Sight {
                kind: Kind::Forwarded,
                source: Some("client"),
                event: Some(&watched.event),
                user: Some(&watched.user),
                session: Some(self.socket),
                to: Some(self.to.as_str()),
                outcome: Some(outcome.label()),
                took_ms: Some(ms(watched.since.elapsed())),
                ..Sight::default()
            });
        }
        if self.ack.is_none() && outcome.is_failure() {
            self.metrics.dropped(Dropped::ForwardFailed, 1);
        }
        let (Some(ack), Some(packet)) = (self.ack, outcome.packet()) else {
            return;
        };
        if !self.sockets.ack(self.socket, ack, packet) {
            self.metrics.dropped(Dropped::SocketGone, 1);
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if !self.is_told {
            // Whoever worked on it has ended, and nobody knows how far it came.
            self.say(Outcome::Failed(Refusal::BackendTimeout));
        }
    }
}

impl Outcome {
    fn label(&self) -> &'static str {
        match self {
            Outcome::Answered(_) => "answered",
            Outcome::Accepted(_) => "accepted",
            Outcome::Denied { .. } | Outcome::Failed(Refusal::BackendRefused) => "refused",
            Outcome::Failed(Refusal::BackendUnavailable) => "unavailable",
            Outcome::Failed(Refusal::BackendTimeout) => "timeout",
            Outcome::Failed(_) => "failed",
            Outcome::QueueFull => "queue_full",
            Outcome::Gone => "gone",
        }
    }

    fn is_failure(&self) -> bool {
        !matches!(self, Outcome::Answered(_) | Outcome::Accepted(_) | Outcome::Gone)
    }

    fn packet(self) -> Option<Packet> {
        let refused = |code: &str, message: &str, retry: bool| json!({"ok": false, "code": code, "message": message, "retry": retry});
        let of = |refusal: Refusal| refused(refusal.code(), refusal.message(), refusal.retry());
        Some(match self {
            Outcome::Answered(packet) => packet,
            Outcome::Accepted(Some(id)) => packet(&json!({"ok": true, "id": id})),
            Outcome::Accepted(None) => packet(&json!({"ok": true})),
            // The backend says what its codes mean.
            Outcome::Denied { code, message } => {
                packet(&json!({"ok": false, "code": code, "message": message}))
            }
            Outcome::Failed(refusal) => packet(&of(refusal)),
            Outcome::QueueFull => packet(&of(Refusal::BackendUnavailable)),
            Outcome::Gone => return None,
        })
    }
}

fn packet(value: &Value) -> Packet {
    Packet {
        text: format!("[{value}]"),
        attachments: Vec::new(),
    }
}
