//! The keys of stopping, and how the time is divided.

use std::time::Duration;

use crate::settings::{Key, Kind, Reader};

const TIMEOUT: &str = "drain.timeout";
const WAIT: &str = "drain.wait";
const RATE: &str = "drain.rate";

/// What is left of the timeout for telling other nodes, backends and Redis, at most.
const FAREWELL: Duration = Duration::from_secs(3);

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: TIMEOUT,
        kind: Kind::Duration,
        default: "25s",
        doc: "How long stopping may take altogether. What kills the process has to wait for longer.",
    },
    Key {
        path: WAIT,
        kind: Kind::Duration,
        default: "5s",
        doc: "How long a node that is being stopped serves on before it closes connections, so that load balancers see that it is not ready; at most half of `drain.timeout`. `0s` where none is in front of it.",
    },
    Key {
        path: RATE,
        kind: Kind::Number,
        default: "0",
        doc: "Connections that are then closed each second; 0 = as many as the other nodes say that they can admit. More, where `drain.timeout` leaves no time for that.",
    },
];

/// How a node is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long it may take altogether.
    pub timeout: Duration,
    /// How long load balancers are given.
    pub wait: Duration,
    /// Closes each second; 0 = automatic.
    pub rate: u32,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        Config {
            timeout: reader.duration(TIMEOUT),
            wait: reader.duration(WAIT),
            rate: reader.number(RATE),
        }
    }

    /// How long load balancers are given, with something left for clients.
    pub(super) fn patience(&self) -> Duration {
        self.wait.min(self.timeout / 2)
    }

    /// After how much time all connections have to be closed.
    pub(super) fn for_clients(&self) -> Duration {
        self.timeout - (self.timeout / 5).min(FAREWELL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_divided() {
        let ms = Duration::from_millis;
        for (timeout, wait, patience, for_clients) in [
            (25_000, 5_000, 5_000, 22_000),
            (25_000, 0, 0, 22_000),
            (5_000, 5_000, 2_500, 4_000),
            (0, 5_000, 0, 0),
        ] {
            let config = Config {
                timeout: ms(timeout),
                wait: ms(wait),
                rate: 0,
            };
            let divided = (config.patience(), config.for_clients());
            assert_eq!(divided, (ms(patience), ms(for_clients)), "{config:?}");
        }
    }
}
