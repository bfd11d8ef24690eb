//! What is counted of requests to the backend.

use std::collections::HashMap;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client's event.
    Event,
    /// Whether a client may connect.
    Connect,
    /// Whether a client may enter a room.
    Subscribe,
    /// Something that happened.
    Notice,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Event, Kind::Connect, Kind::Subscribe, Kind::Notice];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Event => "event",
            Kind::Connect => "connect",
            Kind::Subscribe => "subscribe",
            Kind::Notice => "notice",
        }
    }
}

const OUTCOMES: [&str; 10] = [
    "ok",
    "refused",
    "overloaded",
    "circuit_open",
    "unreachable",
    "timeout",
    "broken",
    "too_long",
    "bad_status",
    "abandoned",
];

/// The handles. Clones are the same.
#[derive(Debug, Clone)]
pub struct Counters {
    requests: HashMap<(Kind, &'static str), Counter>,
    pub(super) duration: Histogram,
    pub(super) circuit_open: Gauge,
}

impl Counters {
    /// Registers them with the recorder that is current.
    pub fn register() -> Counters {
        use metrics::{describe_counter, describe_gauge, describe_histogram};
        describe_counter!(
            "roomcast_webhook_requests_total",
            "Requests to the backend's webhook, by what they are about and what became of them; repetitions and those that were not sent included."
        );
        describe_histogram!(
            "roomcast_webhook_duration_seconds",
            Unit::Seconds,
            "From a request to the backend's webhook to its answer, or to giving it up."
        );
        describe_gauge!(
            "roomcast_webhook_circuit_open",
            "1 while the backend's webhook is left alone because it failed again and again."
        );
        let all = Kind::ALL
            .into_iter()
            .flat_map(|kind| OUTCOMES.map(|outcome| (kind, outcome)));
        let requests = all.map(|(kind, outcome)| {
            let counter = counter!(
                "roomcast_webhook_requests_total", "kind" => kind.as_str(), "outcome" => outcome
            );
            ((kind, outcome), counter)
        });
        Counters {
            requests: requests.collect(),
            duration: histogram!("roomcast_webhook_duration_seconds"),
            circuit_open: gauge!("roomcast_webhook_circuit_open"),
        }
    }

    pub(super) fn request(&self, kind: Kind, outcome: &'static str) {
        if let Some(counter) = self.requests.get(&(kind, outcome)) {
            counter.increment(1);
        }
    }
}
