//! How long to wait before what failed is tried again. Pure: chance is a parameter.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that double from 100 ms to 5 s.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Pauses {
        Pauses { next: SHORTEST }
    }

    /// The next pause: of its full length a half to all, by `chance`, so that the nodes that lost something at the same
    /// moment do not all come back at the same moment.
    pub(super) fn next(&mut self, chance: u32) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST);
        full.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
    }

    /// As [`Pauses::next`], by chance.
    pub(super) fn next_random(&mut self) -> Duration {
        // Without chance all nodes wait for the same time.
        self.next(getrandom::u32().unwrap_or(u32::MAX))
    }

    /// Something went well.
    pub(super) fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let mut pauses = Pauses::new();
        for full in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(pauses.next(u32::MAX), ms(full));
        }
        pauses.reset();
        assert_eq!(pauses.next(0), ms(50));
        assert_eq!(pauses.next(u32::MAX), ms(200));
    }
}
