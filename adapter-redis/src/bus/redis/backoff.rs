//! How long to wait before the next attempt.
//!
//! Pure: chance is a parameter.

use std::time::Duration;

/// Pauses that double from the shortest to the longest.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next pause: of its full length a half to all, by `chance`, so that the nodes that lost Redis at the same
    /// moment do not all come back at the same moment.
    pub(super) fn pause(&mut self, chance: u32) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        full.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
    }

    /// Begins anew with the shortest pause.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        for full in [100, 200, 400, 500, 500] {
            assert_eq!(backoff.pause(u32::MAX), ms(full));
        }
        backoff.reset();
        assert_eq!(backoff.pause(0), ms(50));
        assert_eq!(backoff.pause(u32::MAX), ms(200));
    }

    #[test]
    fn nothing_overflows() {
        let mut backoff = Backoff::new(Duration::MAX / 2, Duration::MAX / 2);
        for chance in [0, 1, u32::MAX / 2] {
            backoff.pause(chance);
        }
    }
}
