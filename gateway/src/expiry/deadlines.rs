//! When a client is warned and when it is sent away. Pure. Times are milliseconds since 1970.

use std::time::Duration;

/// The longest time between the warning and the token's end.
const MOST_AHEAD: u64 = 60_000;

/// The two times of one token on one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// A minute before the token's end, or a quarter of what is left of it.
    pub(crate) warning: u64,
    /// The token's end with leeway: from then on it would not be accepted any more.
    pub(crate) end: u64,
}

impl Deadlines {
    /// Those of a token that is shown now. `expires_at` is its `exp` in seconds; of the leeway whole seconds count, as
    /// where tokens are verified.
    pub(crate) fn new(expires_at: u64, leeway: Duration, now: u64) -> Deadlines {
        let expiry = milliseconds(expires_at);
        let ahead = (expiry.saturating_sub(now) / 4).min(MOST_AHEAD);
        Deadlines {
            warning: expiry.saturating_sub(ahead),
            end: milliseconds(expires_at.saturating_add(leeway.as_secs())),
        }
    }
}

/// What clients are told: seconds are milliseconds to them.
pub(crate) fn milliseconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_or_a_quarter_of_what_is_left() {
        const NOW: u64 = 1_800_000_000;
        // Seconds of life left, leeway in ms; milliseconds from now until the warning and the end.
        for (left, leeway, warning, end) in [
            (3600, 5000, 3_540_000, 3_605_000),
            (240, 5000, 180_000, 245_000),
            (239, 5000, 179_250, 244_000),
            (100, 0, 75_000, 100_000),
            (4, 1999, 3000, 5000),
            (2, 5000, 1500, 7000),
            (1, 0, 750, 1000),
            (0, 5000, 0, 5000),
            (-3, 5000, -3000, 2000),
        ] {
            let expires_at = NOW.strict_add_signed(left);
            let now = NOW * 1000;
            let expected = Deadlines {
                warning: now.strict_add_signed(warning),
                end: now.strict_add_signed(end),
            };
            let leeway = Duration::from_millis(leeway);
            assert_eq!(Deadlines::new(expires_at, leeway, now), expected, "{left} s left");
        }
    }

    #[test]
    fn what_is_shown_within_a_second_counts_in_milliseconds() {
        let deadlines = Deadlines::new(10, Duration::ZERO, 9_500);
        assert_eq!((deadlines.warning, deadlines.end), (9_875, 10_000));
    }

    #[test]
    fn no_time_is_too_far() {
        let (most, leeway) = (u64::MAX, Duration::from_secs(u64::MAX));
        for (expires_at, now) in [(most, 0), (most, most), (most / 1000 + 1, 1), (0, most)] {
            let deadlines = Deadlines::new(expires_at, leeway, now);
            assert!(deadlines.warning <= deadlines.end, "{expires_at} at {now}");
        }
    }
}
