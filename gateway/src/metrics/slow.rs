//! What is counted of clients that read more slowly than they are sent to.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::engine::Lost;

/// Handles.
#[derive(Debug, Clone)]
pub(super) struct Slow {
    disconnect: Counter,
    drop_oldest: Counter,
    latest: Counter,
    volatile: Counter,
    waiting: Gauge,
}

impl Slow {
    pub(super) fn register() -> Slow {
        describe_counter!(
            "roomcast_slow_consumers_total",
            "What was done about sockets that read more slowly than they are sent to, by action: sockets that were closed, events that they did not get."
        );
        describe_gauge!(
            "roomcast_outbound_bytes",
            Unit::Bytes,
            "What waits to be written to this node's sockets."
        );
        let action = |action| counter!("roomcast_slow_consumers_total", "action" => action);
        Slow {
            disconnect: action("disconnect"),
            drop_oldest: action("drop_oldest"),
            latest: action("latest"),
            volatile: action("volatile"),
            waiting: gauge!("roomcast_outbound_bytes"),
        }
    }

    /// Counts a socket that was closed.
    pub(super) fn disconnected(&self) {
        self.disconnect.increment(1);
    }

    /// Counts events that sockets did not get.
    pub(super) fn lost(&self, lost: Lost) {
        self.drop_oldest.increment(lost.dropped as u64);
        self.latest.increment(lost.superseded as u64);
        self.volatile.increment(lost.volatile as u64);
    }

    pub(super) fn set_waiting(&self, bytes: usize) {
        self.waiting.set(bytes as f64);
    }
}
