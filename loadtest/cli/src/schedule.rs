//! When what is due: fixed before the run begins, and never moved by how the run goes.
//!
//! A load that waits for answers before it goes on measures itself: while the server is slow it asks less, and the slow
//! moments are missing among the samples. Here the n-th event of a schedule is due at n/rate, whatever happens.

use std::time::Duration;

/// Events at a steady rate, from the beginning on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// Events in a second; above 0.
    pub(crate) rate: f64,
    /// None is due at this time or later.
    pub(crate) duration: Duration,
}

impl Schedule {
    /// When the n-th event is due, counted from 0, or nothing when the schedule is over by then.
    pub(crate) fn due(&self, n: u64) -> Option<Duration> {
        let due = Duration::try_from_secs_f64(n as f64 / self.rate).ok()?;
        (due < self.duration).then_some(due)
    }

    /// When those of one among `of` senders are due, who take turns.
    pub(crate) fn turns(self, who: u64, of: u64) -> impl Iterator<Item = Duration> {
        (0..).map_while(move |turn| self.due(who + turn * of.max(1)))
    }
}

/// Chooses by weight, always in the same order, with the rare spread among the frequent: an item of weight w comes w
/// times in as many turns as all weights sum up to.
#[derive(Clone, Debug)]
pub(crate) struct Mix(Vec<usize>);

impl Mix {
    /// Of weights; none of them all means that nothing is ever chosen.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let total: u32 = weights.iter().sum();
        // The k-th of w turns is best had at (k + 1/2)/w of the way.
        let mut turns: Vec<(u64, usize)> = Vec::with_capacity(total as usize);
        for (item, &weight) in weights.iter().enumerate() {
            for k in 0..weight {
                turns.push(((2 * u64::from(k) + 1) * 1_000_000 / u64::from(2 * weight), item));
            }
        }
        turns.sort_unstable();
        Self(turns.into_iter().map(|(_, item)| item).collect())
    }

    /// Whose turn the n-th is.
    pub(crate) fn choose(&self, n: u64) -> Option<usize> {
        let turn = n.checked_rem(self.0.len() as u64)?;
        self.0.get(usize::try_from(turn).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: f64, millis: u64) -> Schedule {
        Schedule {
            rate,
            duration: Duration::from_millis(millis),
        }
    }

    #[test]
    fn a_rate_and_a_duration_say_when_what_is_due() {
        for (rate, millis, dues) in [
            (2.0, 2000, vec![0, 500, 1000, 1500]),
            (2.0, 1999, vec![0, 500, 1000, 1500]),
            (2.0, 2001, vec![0, 500, 1000, 1500, 2000]),
            (0.5, 3000, vec![0, 2000]),
            (10.0, 50, vec![0]),
            (10.0, 0, vec![]),
        ] {
            let schedule = schedule(rate, millis);
            let expected: Vec<Duration> = dues.iter().map(|&d| Duration::from_millis(d)).collect();
            let found: Vec<Duration> = schedule.turns(0, 1).collect();
            assert_eq!(found, expected, "{schedule:?}");
        }
    }

    #[test]
    fn every_event_has_one_sender() {
        for (rate, millis, senders) in [(3.0, 1000, 2), (7.3, 4321, 5), (1000.0, 777, 3), (1.0, 1000, 4)] {
            let schedule = schedule(rate, millis);
            let sent: usize = (0..senders).map(|who| schedule.turns(who, senders).count()).sum();
            assert_eq!(sent, schedule.turns(0, 1).count(), "{schedule:?}");
        }
        let second: Vec<Duration> = schedule(4.0, 1500).turns(1, 3).collect();
        assert_eq!(second, [Duration::from_millis(250), Duration::from_millis(1000)]);
    }

    #[test]
    fn weights_are_kept_and_spread() {
        let mix = Mix::new(&[4, 0, 1, 2]);
        let turns: Vec<usize> = (0..7).filter_map(|n| mix.choose(n)).collect();
        assert_eq!(turns, [0, 3, 0, 2, 0, 3, 0]);
        assert_eq!(mix.choose(7), mix.choose(0));
        assert_eq!(Mix::new(&[]).choose(3), None);
        assert_eq!(Mix::new(&[0]).choose(0), None);
    }
}
