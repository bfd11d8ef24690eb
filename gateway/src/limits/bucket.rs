//! A token bucket. Pure; whole numbers, so that nothing drifts.

use std::time::{Duration, Instant};

/// One token: so many billions that half a token each minute is a whole number each nanosecond.
const TOKEN: u64 = 120_000_000_000;

/// How fast a bucket fills. It holds what comes in a second, and one token at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_nanosecond: u64,
}

impl Rate {
    /// So many tokens each second; not 0, which would be no limit but an end.
    pub fn per_second(tokens: u32) -> Rate {
        Rate {
            per_nanosecond: u64::from(tokens.max(1)) * 120,
        }
    }

    /// So many tokens each minute, likewise.
    pub fn per_minute(tokens: u32) -> Rate {
        Rate {
            per_nanosecond: u64::from(tokens.max(1)) * 2,
        }
    }

    /// Half of it.
    #[must_use]
    pub fn half(self) -> Rate {
        Rate {
            per_nanosecond: (self.per_nanosecond / 2).max(1),
        }
    }

    fn capacity(self) -> u64 {
        self.per_nanosecond.saturating_mul(1_000_000_000).max(TOKEN)
    }
}

/// Tokens that are taken faster or slower than they come.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    level: u64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket {
            level: rate.capacity(),
            at: now,
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_above(rate, now, 0)
    }

    /// Takes a token out of the upper half, and leaves the lower one to others. A bucket of one token gives it when it
    /// is full.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take_upper(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let capacity = rate.capacity();
        self.take_above(rate, now, (capacity / 2).min(capacity - TOKEN))
    }

    /// Whether it is full: then it says no more than a new one.
    pub fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.level >= rate.capacity()
    }

    fn take_above(&mut self, rate: Rate, now: Instant, floor: u64) -> Result<(), Duration> {
        self.refill(rate, now);
        let needed = floor.saturating_add(TOKEN);
        match needed.checked_sub(self.level) {
            None | Some(0) => {
                self.level -= TOKEN;
                Ok(())
            }
            Some(missing) => Err(Duration::from_nanos(missing.div_ceil(rate.per_nanosecond))),
        }
    }

    /// A time before the last one counts as the last one.
    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let came = passed.saturating_mul(u128::from(rate.per_nanosecond));
        let level = u128::from(self.level).saturating_add(came);
        // A lower rate holds less.
        self.level = u64::try_from(level).unwrap_or(u64::MAX).min(rate.capacity());
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_second_at_once_then_by_and_by() {
        let (start, rate) = (Instant::now(), Rate::per_second(10));
        let mut bucket = Bucket::full(rate, start);
        for (at, expected) in [
            (0, 10),    // a second's worth
            (99, 0),    // not yet
            (100, 1),   // one
            (100, 0),   // once
            (350, 2),   // and a half is kept
            (400, 1),   // the other half
            (300, 0),   // back in time nothing comes
            (400, 0),   // and nothing twice
            (9999, 10), // never more than a second's worth
        ] {
            let now = start + ms(at);
            let mut got = 0;
            while bucket.take(rate, now).is_ok() {
                got += 1;
            }
            assert_eq!(got, expected, "at {at} ms");
        }
        assert_eq!(bucket.take(rate, start + ms(9999)), Err(ms(100)));
        assert_eq!(bucket.take(rate, start + ms(10_039)), Err(ms(60)));
    }

    #[test]
    fn a_bucket_of_one_or_half_a_token_each_second_still_holds_one() {
        let start = Instant::now();
        for (rate, wait) in [
            (Rate::per_second(1), ms(1000)),
            (Rate::per_second(1).half(), ms(2000)),
        ] {
            let mut bucket = Bucket::full(rate, start);
            assert_eq!(bucket.take(rate, start), Ok(()));
            assert_eq!(bucket.take(rate, start), Err(wait));
            assert!(!bucket.is_full(rate, start + wait - ms(1)));
            assert!(bucket.is_full(rate, start + wait));
            assert_eq!(bucket.take_upper(rate, start + wait), Ok(()));
        }
    }

    #[test]
    fn the_upper_half_leaves_the_lower_one() {
        let (start, rate) = (Instant::now(), Rate::per_second(10));
        let mut bucket = Bucket::full(rate, start);
        let upper = (0..20).filter(|_| bucket.take_upper(rate, start).is_ok()).count();
        let lower = (0..20).filter(|_| bucket.take(rate, start).is_ok()).count();
        assert_eq!((upper, lower), (5, 5));
        assert_eq!(bucket.take_upper(rate, start), Err(ms(600)));
    }

    #[test]
    fn another_rate_holds_at_once() {
        let (start, fast, slow) = (Instant::now(), Rate::per_second(100), Rate::per_second(2));
        let mut bucket = Bucket::full(fast, start);
        assert_eq!((0..9).filter(|_| bucket.take(slow, start).is_ok()).count(), 2);
        let later = start + ms(1000);
        assert_eq!((0..999).filter(|_| bucket.take(fast, later).is_ok()).count(), 100);
        let top = Rate::per_second(u32::MAX);
        assert_eq!(
            Bucket::full(top, start).take_upper(top, later),
            Ok(()),
            "no overflow"
        );
    }

    proptest! {
        /// However it is asked, no window of any length lets more through than its time's worth and one second's.
        #[test]
        fn no_window_lets_too_much_through(
            tokens in 1_u32..50,
            is_half in any::<bool>(),
            steps in prop::collection::vec((0_u64..400_000_000, 0_usize..20), 1..60),
        ) {
            let rate = if is_half { Rate::per_second(tokens).half() } else { Rate::per_second(tokens) };
            let start = Instant::now();
            let mut bucket = Bucket::full(rate, start);
            let mut passed = Vec::new();
            let mut elapsed = 0;
            for (wait, asked) in steps {
                elapsed += wait;
                for _ in 0..asked {
                    if bucket.take(rate, start + Duration::from_nanos(elapsed)).is_ok() {
                        passed.push(elapsed);
                    }
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let allowed = u128::from(rate.capacity())
                        + u128::from(to - from) * u128::from(rate.per_nanosecond);
                    prop_assert!((last - first + 1) as u128 * u128::from(TOKEN) <= allowed);
                }
            }
        }

        /// What was told to wait is let through then, and not a nanosecond before; and a pause fills it again.
        #[test]
        fn the_wait_is_exact_and_it_fills_again(tokens in 1_u32..1000, spent in 0_u32..2000, pause in 0_u64..2_000_000_000) {
            let (start, rate) = (Instant::now(), Rate::per_second(tokens));
            let mut bucket = Bucket::full(rate, start);
            for _ in 0..spent {
                let _ = bucket.take(rate, start);
            }
            let now = start + Duration::from_nanos(pause);
            if let Err(wait) = bucket.clone().take(rate, now) {
                prop_assert!(bucket.clone().take(rate, now + wait - Duration::from_nanos(1)).is_err());
                prop_assert!(bucket.clone().take(rate, now + wait).is_ok());
            }
            let later = now + Duration::from_secs(1);
            prop_assert!(bucket.is_full(rate, later));
            let got = (0..tokens + 5).filter(|_| bucket.take(rate, later).is_ok()).count();
            prop_assert_eq!(got, tokens as usize);
        }
    }
}
