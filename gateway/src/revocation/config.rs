//! The keys of revocation, and for how long tokens stay revoked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::settings::{Key, Kind, Reader};

const KEEP: &str = "auth.revocations.keep";
const MAX: &str = "auth.revocations.max";
/// Of the module `auth`: for so long tokens are accepted beyond their end.
const LEEWAY: &str = "auth.jwt.leeway";

/// How far the clocks of nodes may differ without a token's being accepted again before it has expired everywhere.
const CLOCKS: Duration = Duration::from_secs(60);

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: KEEP,
        kind: Kind::Duration,
        default: "30d",
        doc: "For how long tokens stay revoked of which nobody says when they expire. Set it to the longest life of your tokens, or more.",
    },
    Key {
        path: MAX,
        kind: Kind::Number,
        default: "1000000",
        doc: "Revocations that a node holds, each of some 100 bytes. One more is refused with 503 `revocations_full`.",
    },
];

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[KEEP, MAX];

/// How many are held, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// For how long, where nobody says when the tokens expire.
    pub keep: Duration,
    /// How many.
    pub max: usize,
    /// For how long tokens are accepted beyond their end.
    pub leeway: Duration,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let config = Config {
            keep: reader.duration(KEEP),
            max: reader.number(MAX) as usize,
            leeway: reader.duration(LEEWAY),
        };
        if config.keep.is_zero() && reader.is_set(KEEP) {
            reader.problem(KEEP, "0s", "a duration above zero: the longest life of a token");
        }
        if config.max == 0 && reader.is_set(MAX) {
            reader.problem(MAX, "0", "a number of 1 or more");
        }
        config
    }

    /// Until when a token is revoked that expires at this time, in seconds since 1970: until no node accepts it any more.
    /// Of one that has expired already, long enough for its sockets to end.
    pub(super) fn until_expired(&self, expires_at: u64, now: SystemTime) -> u64 {
        let over = expires_at.saturating_add(self.leeway.as_secs());
        let over = over.saturating_mul(1_000).max(unix_ms(now));
        over.saturating_add(CLOCKS.as_millis() as u64)
    }

    /// Until when a token is revoked that was issued by now.
    pub(super) fn until_kept(&self, now: SystemTime) -> u64 {
        let keep = self.keep.saturating_add(self.leeway).saturating_add(CLOCKS);
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        unix_ms(now).saturating_add(keep)
    }
}

/// As if nothing were configured.
impl Default for Config {
    fn default() -> Config {
        Config {
            keep: Duration::from_secs(30 * 24 * 3600),
            max: 1_000_000,
            leeway: Duration::from_secs(5),
        }
    }
}

pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_when() {
        let config = Config {
            keep: Duration::from_secs(100),
            max: 1,
            leeway: Duration::from_secs(7),
        };
        let now = UNIX_EPOCH + Duration::from_millis(1_000_500);
        for (expires_at, until_ms) in [
            (2_000, 2_067_000),
            (1_000, 1_067_000),
            (993, 1_060_500),
            (0, 1_060_500),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(config.until_expired(expires_at, now), until_ms, "{expires_at}");
        }
        assert_eq!(config.until_kept(now), 1_167_500);
    }
}
