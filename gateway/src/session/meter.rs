//! What one client may send: how fast, and how much at a time. Pure.
//!
//! Nothing is kept for a client that never sent an event, nor while no limit was ever hit or counted.

use std::time::{Duration, Instant};

use crate::{
    limits::{Bucket, Limit, Limits, Rate},
    refusal::Refusal,
};

/// Between two events that tell a client of the same limit: a flood is not answered by a flood.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// What a client has used.
#[derive(Debug, Default)]
pub(super) struct Meter(Option<Box<Used>>);

#[derive(Debug, Default)]
struct Used {
    bucket: Option<Bucket>,
    told: [Option<Instant>; 2],
}

/// An event that is not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) limit: Limit,
    pub(super) refusal: Refusal,
    /// After how much time it can be sent again.
    pub(super) wait: Option<Duration>,
}

impl Meter {
    /// Counts an event of so many bytes.
    ///
    /// # Errors
    /// Which limit says no.
    pub(super) fn count(&mut self, size: usize, limits: &Limits, now: Instant) -> Result<(), Over> {
        if limits.events_per_second > 0 {
            let rate = Rate::per_second(limits.events_per_second);
            let used = self.0.get_or_insert_default();
            let bucket = used.bucket.get_or_insert_with(|| Bucket::full(rate, now));
            if let Err(wait) = bucket.take(rate, now) {
                return Err(Over {
                    limit: Limit::EventsPerSecond,
                    refusal: Refusal::RateLimited,
                    wait: Some(wait),
                });
            }
        }
        if limits.max_event_bytes > 0 && size > limits.max_event_bytes {
            return Err(Over {
                limit: Limit::MaxEventBytes,
                refusal: Refusal::EventTooLarge,
                wait: None,
            });
        }
        Ok(())
    }

    /// Whether the client is to be told of a limit without having asked; it was told then.
    pub(super) fn tells(&mut self, limit: Limit, now: Instant) -> bool {
        let [rate, size] = &mut self.0.get_or_insert_default().told;
        let told = if limit == Limit::MaxEventBytes { size } else { rate };
        let is_due = told.is_none_or(|at| now.saturating_duration_since(at) >= NOTICE_INTERVAL);
        if is_due {
            *told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(events_per_second: u32, max_event_bytes: usize) -> Limits {
        Limits {
            events_per_second,
            max_event_bytes,
            ..Limits::default()
        }
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let (mut meter, now) = (Meter::default(), Instant::now());
        assert_eq!(meter.count(usize::MAX, &limits(0, 0), now), Ok(()));
        assert_eq!(meter.count(10, &limits(0, 10), now), Ok(()));
        assert!(meter.0.is_none());
    }

    #[test]
    fn too_fast_and_too_large_and_what_is_news() {
        let (mut meter, start, limits) = (Meter::default(), Instant::now(), limits(2, 10));
        let outcome = |meter: &mut Meter, size, ms| {
            let now = start + Duration::from_millis(ms);
            let over = meter.count(size, &limits, now).err()?;
            let is_news = meter.tells(over.limit, now);
            let wait = over.wait.map(|wait| wait.as_millis());
            Some((over.limit.as_str(), over.refusal.number(), wait, is_news))
        };
        let (rate, size) = ("events_per_second", "max_event_bytes");
        for (at, bytes, expected) in [
            (0, 10, None),
            (0, 11, Some((size, 2008, None, true))),
            (0, 1, Some((rate, 2007, Some(500), true))),
            (1, 99, Some((rate, 2007, Some(499), false))),
            (500, 99, Some((size, 2008, None, false))),
            (999, 1, Some((rate, 2007, Some(1), false))),
            (1000, 99, Some((size, 2008, None, true))),
            (1000, 1, Some((rate, 2007, Some(500), true))),
            (1500, 1, None),
        ] {
            assert_eq!(
                outcome(&mut meter, bytes, at),
                expected,
                "{bytes} bytes at {at} ms"
            );
        }
    }
}
