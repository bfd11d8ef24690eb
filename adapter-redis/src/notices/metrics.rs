//! What is counted of notices.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const NOTICES: &str = "roomcast_notices_total";
const WAITING: &str = "roomcast_notices_waiting";
const DROPPED: &str = "roomcast_dropped_total";

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody connected.
    Connect,
    /// Somebody disconnected.
    Disconnect,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the stream.
    Written,
    /// The webhook took it.
    Delivered,
    /// The webhook will never take it.
    Refused,
}

/// The handles. Clones are the same.
#[derive(Debug, Clone)]
pub struct NoticeMetrics {
    notices: [[Counter; Outcome::ALL.len()]; Kind::ALL.len()],
    dropped: Counter,
    trimmed: Counter,
    waiting: Gauge,
}

impl NoticeMetrics {
    /// Registers everything with the current recorder of the `metrics` crate, with its description, at zero.
    #[must_use]
    pub fn register() -> Self {
        describe_counter!(
            NOTICES,
            "Notices of sessions to backends, by type and outcome. Each is counted by the node that wrote it to the \
             stream, ends of a dead node's sessions by the one that reported them; and by the one that sent it to the \
             webhook, once for each notice and not for each attempt."
        );
        describe_gauge!(
            WAITING,
            "Sessions of this node of which a connect or a disconnect waits to be written."
        );
        Self {
            notices: Kind::ALL.map(|kind| {
                Outcome::ALL
                    .map(|outcome| counter!(NOTICES, "type" => kind.as_str(), "outcome" => outcome.label()))
            }),
            // Described with the other reasons.
            dropped: counter!(DROPPED, "reason" => "notice_queue_full"),
            trimmed: counter!(DROPPED, "reason" => "notice_trimmed"),
            waiting: gauge!(WAITING),
        }
    }

    /// Handles that record nothing.
    #[must_use]
    pub fn noop() -> Self {
        Self {
            notices: Kind::ALL.map(|_| Outcome::ALL.map(|_| Counter::noop())),
            dropped: Counter::noop(),
            trimmed: Counter::noop(),
            waiting: Gauge::noop(),
        }
    }

    /// Counts what became of notices.
    pub fn count(&self, kind: Kind, outcome: Outcome, count: u64) {
        let counter = self.notices.get(kind as usize);
        if let Some(counter) = counter.and_then(|counters| counters.get(outcome as usize)) {
            counter.increment(count);
        }
    }

    /// Counts notices that will never be written, because too many wait.
    pub(crate) fn dropped(&self, count: u64) {
        self.dropped.increment(count);
    }

    /// Counts notices that were cut off the end of the stream before the webhook took them.
    pub(crate) fn trimmed(&self, count: u64) {
        self.trimmed.increment(count);
    }

    pub(crate) fn waiting(&self, sessions: usize) {
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        self.waiting.set(sessions as f64);
    }
}

impl Kind {
    // In the order of the enum: the position is the index of the handle.
    const ALL: [Self; 2] = [Self::Connect, Self::Disconnect];

    /// As notices say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
        }
    }
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Written, Self::Delivered, Self::Refused];

    fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
        }
    }
}
