//! How often a client may show another token: verifying one is the dearest thing that an event can ask for. Pure.

use std::time::{Duration, Instant};

/// Between two, for a client that goes on and on.
const INTERVAL: Duration = Duration::from_secs(1);
/// So many may come at once.
const AT_ONCE: u32 = 5;

/// What a client has used of it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next one would come if they came one by one.
    next: Option<Instant>,
}

impl Pace {
    /// Takes one.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let next = self.next.map_or(now, |next| next.max(now));
        let ahead = next.saturating_duration_since(now);
        let too_far = ahead.saturating_sub(INTERVAL * (AT_ONCE - 1));
        if !too_far.is_zero() {
            return Err(too_far);
        }
        self.next = next.checked_add(INTERVAL);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_at_once_then_one_each_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for (at, expected) in [
            (0, 5),
            (999, 0),
            (1000, 1),
            (1000, 0),
            (3500, 2),
            (4000, 1),
            (100, 0), // back in time nothing comes
            (60_000, 5),
        ] {
            let now = start + Duration::from_millis(at);
            let got = (0..9).filter(|_| pace.take(now).is_ok()).count();
            assert_eq!(got, expected, "at {at} ms");
        }
        let wait = Duration::from_millis(750);
        let now = start + Duration::from_millis(60_250);
        assert_eq!(pace.take(now), Err(wait));
        assert_eq!(pace.take(now + wait), Ok(()));
    }
}
