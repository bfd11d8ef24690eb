//! When the next connection is to be closed. Pure: time and chance are parameters.
//!
//! Time is cut into slots, as long as the rate says, and each slot has one connection, at a moment that chance chooses. So
//! nodes that began together do not close in step, and no more are closed in any time than there are slots in it, and two.

use std::time::{Duration, Instant};

/// What was missed is made up for as far as this. Who was kept from closing for longer goes on from there, and
/// does not close all of it at once.
const ARREARS: Duration = Duration::from_millis(100);

/// Part of the time until the deadline that is planned with: what happens late must not be too late.
const PLANNED: f64 = 0.95;

/// A slot at most.
const LONGEST: Duration = Duration::from_secs(60);

/// The slots.
#[derive(Debug)]
pub(super) struct Pacing {
    /// When the next one begins.
    slot: Instant,
}

/// How fast, and whether only because there is no more time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Closes each second.
    pub(super) per_second: f64,
    pub(super) is_forced: bool,
}

impl Pacing {
    /// The first slot begins now.
    pub(super) fn new(now: Instant) -> Pacing {
        Pacing { slot: now }
    }

    /// When the next one is to be closed. It may be in the past.
    pub(super) fn next(&mut self, rate: Rate, now: Instant, chance: u32) -> Instant {
        let length = Duration::try_from_secs_f64(1.0 / rate.per_second)
            .unwrap_or(LONGEST)
            .min(LONGEST);
        let begin = self.slot.max(now.checked_sub(ARREARS).unwrap_or(now));
        self.slot = begin.checked_add(length).unwrap_or(begin);
        begin
            .checked_add(length.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
            .unwrap_or(begin)
    }
}

impl Rate {
    /// The wanted rate, or a faster one when `left` connections would not be closed within `remaining`.
    pub(super) fn of(wanted: f64, left: usize, remaining: Duration) -> Rate {
        let needed = left as f64 / (remaining.as_secs_f64() * PLANNED);
        Rate {
            per_second: wanted.max(needed),
            is_forced: needed > wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Closes `count` at this wanted rate within this time, and says after how many seconds each. `late` is how long each
    /// wait takes in addition.
    fn close(
        count: usize,
        wanted: f64,
        within: Duration,
        late: Duration,
        mut chance: impl FnMut() -> u32,
    ) -> Vec<f64> {
        let start = Instant::now();
        let (mut now, mut pacing) = (start, Pacing::new(start));
        let deadline = start + within;
        (0..count)
            .map(|closed| {
                let rate = Rate::of(wanted, count - closed, deadline.saturating_duration_since(now));
                now = now.max(pacing.next(rate, now, chance())) + late;
                (now - start).as_secs_f64()
            })
            .collect()
    }

    #[test]
    fn one_in_each_slot() {
        let quiet = |count, wanted, within, chance| {
            close(count, wanted, Duration::from_secs(within), Duration::ZERO, || {
                chance
            })
        };
        assert_eq!(quiet(4, 10.0, 60, 0), [0.0, 0.1, 0.2, 0.3]);
        let late = quiet(4, 10.0, 60, u32::MAX);
        assert!(
            late.iter()
                .zip([0.1, 0.2, 0.3, 0.4])
                .all(|(got, want)| (got - want).abs() < 1e-6),
            "{late:?}"
        );
        // 95 within 10 s are ten each second, whatever was wanted.
        let forced = quiet(95, 2.0, 10, u32::MAX);
        assert!((9.4..10.0).contains(&forced[94]), "{forced:?}");
        assert!(
            (forced[46] - 4.7).abs() < 0.2,
            "evenly, and not all at the end: {}",
            forced[46]
        );
    }

    #[test]
    fn the_deadline_counts_more_than_the_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(
            Rate::of(10.0, 9, second),
            Rate {
                per_second: 10.0,
                is_forced: false
            }
        );
        assert_eq!(
            Rate::of(10.0, 95, second),
            Rate {
                per_second: 100.0,
                is_forced: true
            }
        );
        let over = Rate::of(10.0, 1, Duration::ZERO);
        let now = Instant::now();
        assert_eq!(
            Pacing::new(now).next(over, now, u32::MAX),
            now,
            "the rest at once"
        );
        let none = Rate::of(1.0, 0, Duration::ZERO);
        assert!(
            Pacing::new(now).next(none, now, 7) >= now,
            "no number that is none"
        );
    }

    #[test]
    fn who_was_kept_from_closing_does_not_close_all_of_it_at_once() {
        let start = Instant::now();
        let rate = Rate {
            per_second: 100.0,
            is_forced: false,
        };
        let mut pacing = Pacing::new(start);
        let later = start + Duration::from_secs(5);
        let at_once = (0..500)
            .take_while(|_| pacing.next(rate, later, 0) <= later)
            .count();
        assert_eq!(
            at_once, 11,
            "a tenth of a second's worth, and the one that is due"
        );
    }

    proptest! {
        /// Whatever chance does, in no time more are closed than the rate says, and two, unless the deadline asks for it;
        /// and each is in its own slot.
        #[test]
        fn never_faster_than_the_rate(wanted in 1_u32..200, chances in prop::collection::vec(any::<u32>(), 1..100)) {
            let (wanted, mut next) = (f64::from(wanted), chances.iter().copied());
            let hour = Duration::from_secs(3600);
            let times = close(chances.len(), wanted, hour, Duration::ZERO, || next.next().unwrap());
            for (n, at) in times.iter().enumerate() {
                let slot = n as f64 / wanted;
                prop_assert!((slot - 1e-6..slot + 1.0 / wanted + 1e-6).contains(at), "{n} at {at}");
                for (m, until) in times.iter().enumerate().skip(n) {
                    prop_assert!((m - n) as f64 <= (until - at) * wanted + 1.0 + 1e-6);
                }
            }
        }

        /// However many there are and however little was wanted: all are closed by the deadline, also when every wait takes
        /// a millisecond more than it should.
        #[test]
        fn all_are_closed_by_the_deadline(
            count in 1_usize..400, wanted in 1_u32..50, within in 1_000_u64..20_000, chance in any::<u32>(), late in 0_u64..2,
        ) {
            let times = close(
                count, f64::from(wanted), Duration::from_millis(within), Duration::from_millis(late), || chance,
            );
            prop_assert!(times.last().unwrap() * 1000.0 <= within as f64 + 1.0, "{:?}", times.last());
        }
    }
}
