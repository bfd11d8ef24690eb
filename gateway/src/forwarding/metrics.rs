//! What becomes of clients' events for the backend.

use std::collections::HashMap;

use metrics::{Counter, counter};

use crate::policy::Destination;

/// Every outcome: the label in metrics.
const OUTCOMES: [&str; 8] = [
    "answered",
    "accepted",
    "refused",
    "unavailable",
    "timeout",
    "failed",
    "queue_full",
    "gone",
];

/// The handles. Clones are the same.
#[derive(Debug, Clone)]
pub struct Counters(HashMap<(Destination, &'static str), Counter>);

impl Counters {
    /// Registers them with the recorder that is current.
    pub fn register() -> Counters {
        metrics::describe_counter!(
            "roomcast_forwarded_total",
            "Events of clients for the backend, by the way they went and what became of them."
        );
        let all = Destination::ALL
            .into_iter()
            .flat_map(|to| OUTCOMES.map(|outcome| (to, outcome)));
        let counters = all.map(|(to, outcome)| {
            let counter = counter!("roomcast_forwarded_total", "to" => to.as_str(), "outcome" => outcome);
            ((to, outcome), counter)
        });
        Counters(counters.collect())
    }

    pub(super) fn count(&self, to: Destination, outcome: &'static str) {
        if let Some(counter) = self.0.get(&(to, outcome)) {
            counter.increment(1);
        }
    }
}
