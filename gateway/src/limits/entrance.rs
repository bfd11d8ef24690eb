//! Before a session begins: whether there is a seat, and whether it is not too soon. Asked by `http.rs`.
//!
//! A refusal costs a look at two tables and a short answer. It is logged at `debug`, and once a second in a sentence for
//! all.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode};

use super::{
    Admissions, ClientAddress, CurrentLimits, Limit, Seat,
    handshakes::{Began, Handshakes, TooFast},
    seats::Seats,
};
use crate::metrics::{Dropped, Metrics};

/// When to come back for a seat: nobody knows when one is free, and to ask costs little.
const SEAT_WAIT: Duration = Duration::from_secs(5);

/// Between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// The entrance of a node.
#[derive(Debug)]
pub struct Entrance {
    limits: CurrentLimits,
    metrics: Metrics,
    admissions: Admissions,
    seats: Seats,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    handshakes: Handshakes,
    refused: u64,
    warned: Option<Instant>,
}

/// A session was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    /// By which limit.
    pub limit: Limit,
    /// After how much time another attempt may succeed.
    pub wait: Duration,
}

impl Entrance {
    /// Everybody is outside.
    pub fn new(limits: CurrentLimits, metrics: Metrics, admissions: Admissions) -> Entrance {
        Entrance {
            limits,
            metrics,
            admissions,
            seats: Seats::default(),
            pace: Mutex::default(),
        }
    }

    /// Lets a session begin. The seat is to be kept for as long as it lives.
    ///
    /// # Errors
    /// Which limit says no; it was counted.
    pub fn admit(&self, peer: SocketAddr, headers: &HeaderMap, now: Instant) -> Result<Seat, Turned> {
        let limits = self.limits.get();
        let address = limits.trusted_proxies.client(peer, headers);
        let seat = self.seats.take(address, &limits).map_err(|limit| Turned {
            limit,
            wait: SEAT_WAIT,
        });
        let begun = seat.and_then(|seat| {
            self.begin(address, limits.handshakes_per_second, now)
                .map(|()| seat)
        });
        begun
            .inspect(|_| self.admissions.count(now))
            .inspect_err(|turned| self.note(address, *turned, now))
    }

    fn begin(&self, address: ClientAddress, per_second: u32, now: Instant) -> Result<(), Turned> {
        if per_second == 0 {
            self.pace().handshakes.clear();
            return Ok(());
        }
        let began = self.pace().handshakes.take(address.network(), per_second, now);
        match began {
            Ok(Began::Counted) => Ok(()),
            Ok(Began::Unknown) => {
                self.metrics.dropped(Dropped::AddressTableFull, 1);
                Ok(())
            }
            Err(TooFast { limit, wait }) => Err(Turned { limit, wait }),
        }
    }

    fn note(&self, address: ClientAddress, turned: Turned, now: Instant) {
        self.metrics.limited(turned.limit);
        let limit = turned.limit.as_str();
        tracing::debug!(peer = %address, limit, "turned away");
        let mut pace = self.pace();
        pace.refused += 1;
        let is_due = pace
            .warned
            .is_none_or(|at| now.saturating_duration_since(at) >= WARNING_INTERVAL);
        if is_due {
            pace.warned = Some(now);
            let count = std::mem::take(&mut pace.refused);
            drop(pace);
            tracing::warn!(count, limit, peer = %address, "new sessions are turned away; limit and peer of the last one");
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turned {
    /// The status of the answer: whether this client is too much, or all of them are.
    pub fn status(&self) -> StatusCode {
        match self.limit {
            Limit::MaxConnectionsPerIp | Limit::HandshakesPerSecondAddress => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What `Retry-After` says: whole seconds.
    pub fn retry_after(&self) -> u64 {
        let seconds = self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0);
        seconds.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Limits, *};

    #[test]
    fn who_is_turned_away_keeps_nothing_and_is_counted() {
        let (metrics, now) = (Metrics::new().unwrap(), Instant::now());
        let limits = CurrentLimits::new(Limits {
            max_connections: 3,
            max_connections_per_ip: 2,
            handshakes_per_second: 4,
            ..Limits::default()
        });
        let entrance = Entrance::new(limits.clone(), metrics.clone(), Admissions::new(limits.clone()));
        let admit = |peer: &str, now: Instant| entrance.admit(peer.parse().unwrap(), &HeaderMap::new(), now);
        let turned = |peer: &str, now: Instant| {
            let turned = admit(peer, now).unwrap_err();
            (turned.limit, turned.status().as_u16(), turned.retry_after())
        };
        let _one = admit("1.1.1.1:1", now).unwrap();
        let two = admit("1.1.1.1:2", now).unwrap();
        assert_eq!(turned("1.1.1.1:3", now), (Limit::MaxConnectionsPerIp, 429, 5));
        let three = admit("2.2.2.2:1", now).unwrap();
        assert_eq!(turned("3.3.3.3:1", now), (Limit::MaxConnections, 503, 5));
        drop(two);
        assert_eq!(
            turned("1.1.1.1:3", now),
            (Limit::HandshakesPerSecondAddress, 429, 1)
        );
        drop(three);
        drop(admit("2.2.2.2:1", now).unwrap());
        assert_eq!(turned("4.4.4.4:1", now), (Limit::HandshakesPerSecond, 503, 1));
        let later = now + Duration::from_secs(1);
        let back = [admit("1.1.1.1:3", later), admit("4.4.4.4:1", later)];
        assert!(back.iter().all(Result::is_ok), "no seat was lost");
        limits.set(Limits::default());
        assert!((0..99).all(|_| admit("1.1.1.1:3", later).is_ok()), "off");
        let text = metrics.render();
        for limit in [
            "max_connections",
            "max_connections_per_ip",
            "handshakes_per_second",
            "handshakes_per_second_address",
        ] {
            let line = format!("roomcast_limited_total{{limit=\"{limit}\"}} 1\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
