//! When a backend is left alone: a circuit breaker. Pure; the time is a parameter.

use std::time::{Duration, Instant};

/// Counts failures in a row, and closes the way for a while when there are too many. Then one request is let through:
/// what becomes of it decides about the others.
#[derive(Debug)]
pub(super) struct Breaker {
    /// So many failures in a row; 0 = it never opens.
    most: u32,
    pause: Duration,
    state: State,
    /// The state's number: what was let through in an earlier one says nothing of this one.
    generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// The one request is on its way.
    Probing,
}

/// A request that was let through.
#[derive(Debug)]
pub(super) struct Pass {
    generation: u64,
}

/// What is known of the backend after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It answers.
    Alive,
    /// It does not, or says that it failed.
    Failed,
    /// Nobody waited for the answer.
    Nothing,
}

impl Breaker {
    pub(super) fn new(most: u32, pause: Duration) -> Breaker {
        Breaker {
            most,
            pause,
            state: State::Closed { failures: 0 },
            generation: 0,
        }
    }

    /// Whether requests are held back, but for the one that tries.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// Whether a request would be let through now.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= until,
            State::Probing => false,
        }
    }

    /// Lets a request through, or not.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Pass> {
        if !self.would_admit(now) {
            return None;
        }
        if matches!(self.state, State::Open { .. }) {
            self.become_(State::Probing);
        }
        Some(Pass {
            generation: self.generation,
        })
    }

    /// What became of a request that was let through.
    pub(super) fn hear(&mut self, pass: Pass, heard: Heard, now: Instant) {
        if pass.generation != self.generation {
            return;
        }
        match (self.state, heard) {
            (State::Closed { .. }, Heard::Alive) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Heard::Failed) => {
                let failures = failures.saturating_add(1);
                if self.most > 0 && failures >= self.most {
                    self.open(now);
                } else {
                    self.state = State::Closed { failures };
                }
            }
            (State::Probing, Heard::Alive) => self.become_(State::Closed { failures: 0 }),
            (State::Probing, Heard::Failed) => self.open(now),
            // The next one tries, at once.
            (State::Probing, Heard::Nothing) => self.become_(State::Open { until: now }),
            (State::Closed { .. } | State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.become_(State::Open {
            until: now.checked_add(self.pause).unwrap_or(now),
        });
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Heard::*, *};

    const PAUSE: Duration = Duration::from_secs(10);

    fn hear(breaker: &mut Breaker, heard: Heard, now: Instant) -> bool {
        let pass = breaker.admit(now);
        let is_admitted = pass.is_some();
        if let Some(pass) = pass {
            breaker.hear(pass, heard, now);
        }
        is_admitted
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_decides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::new(3, PAUSE);
        // (time, what is heard; None = not let through)
        for (step, (seconds, heard, is_admitted, is_open)) in [
            (0, Failed, true, false),
            (0, Failed, true, false),
            (0, Alive, true, false), // not in a row
            (0, Failed, true, false),
            (0, Nothing, true, false), // says nothing
            (0, Failed, true, false),
            (0, Failed, true, true),
            (0, Alive, false, true),
            (9, Alive, false, true),
            (10, Failed, true, true), // the probe fails
            (10, Alive, false, true),
            (19, Alive, false, true),
            (20, Nothing, true, true), // the probe is abandoned: the next one is
            (20, Alive, true, false),
            (20, Failed, true, false), // counted from the start
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(hear(&mut breaker, heard, at(seconds)), is_admitted, "step {step}");
            assert_eq!(breaker.is_open(), is_open, "step {step}");
        }
    }

    #[test]
    fn one_probe_and_no_more() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        assert!(hear(&mut breaker, Failed, start));
        let probe = breaker.admit(start + PAUSE).unwrap();
        assert!(breaker.admit(start + PAUSE).is_none());
        assert!(!breaker.would_admit(start + 5 * PAUSE));
        breaker.hear(probe, Alive, start + PAUSE);
        assert!(breaker.admit(start + PAUSE).is_some());
    }

    #[test]
    fn what_began_before_it_opened_says_nothing_afterwards() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        let (slow, late) = (breaker.admit(start).unwrap(), breaker.admit(start).unwrap());
        assert!(hear(&mut breaker, Failed, start));
        breaker.hear(slow, Alive, start);
        assert!(breaker.is_open());
        let probe = breaker.admit(start + PAUSE).unwrap();
        breaker.hear(late, Failed, start + PAUSE);
        breaker.hear(probe, Alive, start + PAUSE);
        assert!(!breaker.is_open());
    }

    #[test]
    fn none_that_never_opens() {
        let mut breaker = Breaker::new(0, PAUSE);
        for _ in 0..100 {
            assert!(hear(&mut breaker, Failed, Instant::now()));
        }
        assert!(!breaker.is_open());
    }

    proptest! {
        /// Whatever happens: it is never open for longer than the pause without letting one through, no more than one
        /// is on its way while it is open, and a backend that answers again is asked again.
        #[test]
        fn it_never_stays_shut(
            most in 1_u32..4,
            steps in proptest::collection::vec((0_u64..15, prop_oneof![Just(Alive), Just(Failed), Just(Nothing)], any::<bool>()), 0..60),
        ) {
            let mut breaker = Breaker::new(most, PAUSE);
            let mut now = Instant::now();
            let mut on_their_way: Vec<(Pass, Heard)> = Vec::new();
            for (seconds, heard, is_slow) in steps {
                now += Duration::from_secs(seconds);
                let was_open = breaker.is_open();
                match breaker.admit(now) {
                    Some(pass) if is_slow => {
                        if was_open {
                            prop_assert!(breaker.admit(now).is_none());
                        }
                        on_their_way.push((pass, heard));
                    }
                    Some(pass) => breaker.hear(pass, heard, now),
                    None => prop_assert!(was_open),
                }
                if on_their_way.len() > 2 {
                    let (pass, heard) = on_their_way.remove(0);
                    breaker.hear(pass, heard, now);
                }
            }
            for (pass, _) in on_their_way {
                breaker.hear(pass, Nothing, now);
            }
            now += PAUSE;
            prop_assert!(hear(&mut breaker, Alive, now));
            prop_assert!(!breaker.is_open());
        }
    }
}
