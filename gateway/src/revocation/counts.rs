//! What is counted about revocations.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// Handles to these metrics.
#[derive(Clone)]
pub struct Counts {
    pub(super) held: Gauge,
    pub(super) ended: Counter,
    pub(super) full: Counter,
    looks: [Counter; Look::ALL.len()],
}

/// What came of a look at the revocations that all nodes keep together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As many as here: nothing was read.
    Same,
    /// All of it was read, and what it lacked was written.
    Read,
    /// The bus did not answer, or refused.
    Failed,
}

impl Look {
    // In the order of the enum: the position is the index of the handle.
    const ALL: [Look; 3] = [Look::Same, Look::Read, Look::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Look::Same => "same",
            Look::Read => "read",
            Look::Failed => "failed",
        }
    }
}

impl Counts {
    /// Registers everything with the current recorder.
    pub(crate) fn register() -> Counts {
        describe_gauge!("roomcast_revocations", "Revocations that this node holds.");
        describe_counter!(
            "roomcast_revoked_total",
            "Sockets of this node that were sent away because their token was revoked. Not counted: handshakes and \
             refreshes that were refused with such a token."
        );
        describe_counter!(
            "roomcast_revocations_full_total",
            "Revocations that this node could not take, because it holds as many as it may: from the API, which says so, \
             from other nodes, and from Redis, with each look."
        );
        describe_counter!(
            "roomcast_revocation_looks_total",
            "Looks at the revocations that the nodes keep together, by outcome."
        );
        Counts {
            held: gauge!("roomcast_revocations"),
            ended: counter!("roomcast_revoked_total"),
            full: counter!("roomcast_revocations_full_total"),
            looks: Look::ALL
                .map(|look| counter!("roomcast_revocation_looks_total", "outcome" => look.as_str())),
        }
    }

    /// Handles that record nothing.
    pub(super) fn noop() -> Counts {
        Counts {
            held: Gauge::noop(),
            ended: Counter::noop(),
            full: Counter::noop(),
            looks: Look::ALL.map(|_| Counter::noop()),
        }
    }

    pub(super) fn looked(&self, look: Look) {
        if let Some(counter) = self.looks.get(look as usize) {
            counter.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The array of handles is indexed by the enum.
    #[test]
    fn handles_are_in_the_order_of_their_enum() {
        for (at, look) in Look::ALL.into_iter().enumerate() {
            assert_eq!(look as usize, at);
        }
    }
}
