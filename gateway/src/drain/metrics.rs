//! What is counted of stopping.

use std::fmt;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use super::End;

/// Handles to it. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    closed: [(End, Counter); 3],
    /// Closes each second at this moment.
    pub rate: Gauge,
}

impl Metrics {
    /// Registers everything on the recorder of the moment.
    pub fn register() -> Metrics {
        describe_counter!(
            "roomcast_drain_closed_total",
            "Sockets that were closed because this node is being stopped: at the pace, at the deadline, or at once. Those that went by themselves are not counted."
        );
        describe_gauge!(
            "roomcast_drain_rate",
            "Sockets that this node closes each second because it is being stopped; 0 before and afterwards."
        );
        Metrics {
            closed: End::ALL.map(|end| {
                let counter = counter!("roomcast_drain_closed_total", "reason" => end.as_str());
                (end, counter)
            }),
            rate: gauge!("roomcast_drain_rate"),
        }
    }

    pub(super) fn closed(&self, end: End, count: usize) {
        for (_, counter) in self.closed.iter().filter(|(each, _)| *each == end) {
            counter.increment(count as u64);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
