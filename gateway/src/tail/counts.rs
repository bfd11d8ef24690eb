//! What is counted about those who look.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// Handles to these metrics.
#[derive(Clone)]
pub struct Counts {
    pub(super) open: Gauge,
    pub(super) missed: Counter,
}

impl Counts {
    /// Registers everything with the current recorder.
    pub(crate) fn register() -> Counts {
        describe_gauge!("roomcast_tails", "Those who look at what passes this node.");
        describe_counter!(
            "roomcast_tail_missed_lines_total",
            "Lines that were not shown to somebody who looks, because too many waited for that one. No event is lost with \
             them."
        );
        Counts {
            open: gauge!("roomcast_tails"),
            missed: counter!("roomcast_tail_missed_lines_total"),
        }
    }

    /// Handles that record nothing.
    pub(super) fn noop() -> Counts {
        Counts {
            open: Gauge::noop(),
            missed: Counter::noop(),
        }
    }
}
