//! The clock that all times of a run are read from, and how it is noticed that somebody set it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::mark::micros;

/// Microseconds since 1970: what marks carry. Other processes of the machine would read the same.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, micros)
}

/// Compares the wall clock with one that is never set.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Instant,
    wall: u64,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
            wall: now(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// By how many milliseconds the wall clock was set since then; negative is backwards.
    pub(crate) fn moved_ms(&self) -> f64 {
        moved_ms(self.wall, now(), self.began.elapsed())
    }
}

fn moved_ms(from: u64, to: u64, elapsed: Duration) -> f64 {
    (to as f64 - from as f64) / 1e3 - elapsed.as_secs_f64() * 1e3
}

/// The processor time that this process has used, all threads together. Zero where there is no `/proc`.
pub(crate) fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    used(&stat)
}

/// `utime` and `stime` of `proc(5)`: the 14th and 15th field, in hundredths of a second on all that Linux runs on.
fn used(stat: &str) -> Duration {
    // The name, in parentheses, may have blanks.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks.saturating_mul(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let second = Duration::from_secs(1);
        assert_eq!(moved_ms(5_000_000, 6_000_000, second), 0.0);
        assert_eq!(moved_ms(5_000_000, 5_900_000, second), -100.0);
        assert_eq!(moved_ms(5_000_000, 4_000_000, second), -2000.0);
        assert_eq!(moved_ms(5_000_000, 7_000_000, second), 1000.0);
    }

    #[test]
    fn processor_time_is_the_sum_of_both_kinds() {
        let stat = "42 (a name) of) R 1 2 3 4 5 6 7 8 9 10 250 50 1 1 20 0 9";
        assert_eq!(used(stat), Duration::from_secs(3));
        assert_eq!(used(""), Duration::ZERO);
    }
}
