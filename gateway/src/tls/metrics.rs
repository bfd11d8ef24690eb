//! What is counted of TLS.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use super::{OPERATIONS, PUBLIC};
use crate::engine::TlsHandshake;

const OUTCOMES: [(TlsHandshake, &str); 4] = [
    (TlsHandshake::Accepted, "accepted"),
    (TlsHandshake::Failed, "failed"),
    (TlsHandshake::TimedOut, "timeout"),
    (TlsHandshake::Refused, "refused"),
];

/// Handles to it. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Handles>);

struct Handles {
    handshakes: HashMap<TlsHandshake, Counter>,
    expiries: HashMap<&'static str, Gauge>,
}

impl Metrics {
    /// Registers everything on the recorder of the moment.
    pub fn register() -> Metrics {
        describe_counter!(
            "roomcast_tls_handshakes_total",
            "TLS handshakes on both listeners; `failed` counts peers that speak something else or went away, too."
        );
        describe_gauge!(
            "roomcast_tls_certificate_expiry_timestamp_seconds",
            "Until when the listener's own certificate is valid, in seconds since 1970; NaN while it has none."
        );
        Metrics(Arc::new(Handles {
            handshakes: OUTCOMES
                .map(|(outcome, name)| {
                    (
                        outcome,
                        counter!("roomcast_tls_handshakes_total", "outcome" => name),
                    )
                })
                .into(),
            expiries: [PUBLIC, OPERATIONS]
                .map(|files| {
                    let name = "roomcast_tls_certificate_expiry_timestamp_seconds";
                    (files.listener, gauge!(name, "listener" => files.listener))
                })
                .into(),
        }))
    }

    /// Counts a handshake.
    pub(super) fn handshake(&self, outcome: TlsHandshake) {
        if let Some(counter) = self.0.handshakes.get(&outcome) {
            counter.increment(1);
        }
    }

    /// Says until when a listener's certificate is valid. Nothing can be said of a plain one, and 0 would be an alarm.
    pub(super) fn expires(&self, listener: &str, at: Option<SystemTime>) {
        let seconds = at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        if let Some(gauge) = self.0.expiries.get(listener) {
            gauge.set(seconds.unwrap_or(f64::NAN));
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
