//! How long to wait before the same request is sent again. Pure; chance is a parameter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The pause after so many repetitions: it doubles, and half of it is left to chance, so that many who failed together do
/// not come back together.
pub(super) fn pause(repetitions: u32, chance: u32) -> Duration {
    let most = FIRST
        .saturating_mul(2_u32.saturating_pow(repetitions))
        .min(LONGEST);
    let half = most / 2;
    half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_and_half_of_it_is_chance() {
        for (repetitions, least, most) in [
            (0, 50, 100),
            (1, 100, 200),
            (5, 1600, 3200),
            (6, 2500, 5000),
            (u32::MAX, 2500, 5000),
        ] {
            assert_eq!(pause(repetitions, 0), Duration::from_millis(least));
            assert_eq!(pause(repetitions, u32::MAX), Duration::from_millis(most));
        }
    }
}
