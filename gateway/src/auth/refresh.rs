//! When a key set is fetched, and who waits for that. Pure: it is told the time, what came of a fetch, and chance.

use std::time::{Duration, Instant};

/// How many handshakes may wait for one key set.
pub(super) const MOST_WAITING: usize = 8_192;

/// The shortest time that an answer's `max-age` can ask for.
const SHORTEST: Duration = Duration::from_secs(60);

/// The pause after the first failure; doubling from there.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Instead of a moment that no clock can tell.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// How often, how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two fetches, if the answer does not ask for a shorter time.
    pub refresh: Duration,
    /// How long one fetch may take, and so how long a handshake may wait.
    pub timeout: Duration,
    /// How long unknown keys are refused at once after a fetch that one of them asked for.
    pub cooldown: Duration,
    /// How old a set may become while it cannot be fetched; zero = as old as you like.
    pub max_stale: Duration,
}

impl Default for Timing {
    /// The defaults of the configuration.
    fn default() -> Timing {
        Timing {
            refresh: Duration::from_secs(5 * 60),
            timeout: Duration::from_secs(5),
            cooldown: Duration::from_secs(10),
            max_stale: Duration::ZERO,
        }
    }
}

/// What becomes of somebody whose key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A fetch is on its way, or due: it is waited for.
    Waits,
    /// The last one was a moment ago.
    CoolingDown,
    /// Too many wait already.
    Crowded,
}

/// The state of one key set.
#[derive(Debug)]
pub(super) struct Refresh {
    timing: Timing,
    /// When the next fetch is due; `None` = one is on its way.
    due: Option<Instant>,
    /// Whether somebody with an unknown key asked for the fetch that is due or on its way.
    is_asked_for: bool,
    cools_until: Option<Instant>,
    /// In a row.
    failures: u32,
    last_success: Option<Instant>,
    waiting: usize,
}

impl Refresh {
    /// The first fetch is due at once.
    pub(super) fn new(timing: Timing, now: Instant) -> Refresh {
        Refresh {
            timing,
            due: Some(now),
            is_asked_for: false,
            cools_until: None,
            failures: 0,
            last_success: None,
            waiting: 0,
        }
    }

    /// Another configuration. What is due later than it says is due earlier now.
    pub(super) fn retime(&mut self, timing: Timing) {
        self.timing = timing;
        if let (Some(due), Some(at)) = (&mut self.due, self.last_success) {
            *due = at.checked_add(timing.refresh).map_or(*due, |next| next.min(*due));
        }
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// When the next fetch is due; `None` = one is on its way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// One begins.
    pub(super) fn begin(&mut self) {
        self.due = None;
    }

    /// Somebody has a key that is not known, and waits for the fetch that is on its way; where there is none, one is due
    /// now. So all who come meanwhile wait for the same.
    pub(super) fn ask(&mut self, now: Instant) -> Asked {
        let joins = self.due.is_none() || self.is_asked_for;
        if !joins && self.cools_until.is_some_and(|until| now < until) {
            return Asked::CoolingDown;
        }
        if self.waiting >= MOST_WAITING {
            return Asked::Crowded;
        }
        self.waiting += 1;
        if !joins {
            self.due = Some(now);
            self.is_asked_for = true;
        }
        Asked::Waits
    }

    /// Somebody does not wait any more.
    pub(super) fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// The fetch brought a set. `max_age` is how long its sender says that it holds.
    pub(super) fn succeeded(&mut self, now: Instant, max_age: Option<Duration>) {
        let refresh = self.timing.refresh;
        let pause = max_age.map_or(refresh, |age| age.max(SHORTEST).min(refresh));
        self.failures = 0;
        self.last_success = Some(now);
        self.over(now, pause);
    }

    /// The fetch brought nothing. The pause is shortened by up to a half by chance, so that nodes do not come together.
    pub(super) fn failed(&mut self, now: Instant, chance: u8) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6));
        let pause = doubled.min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.over(now, pause - pause * u32::from(chance) / 512);
    }

    /// Whether the newest keys are not known: no fetch succeeded yet, or the last one failed.
    pub(super) fn is_failing(&self) -> bool {
        self.last_success.is_none() || self.failures > 0
    }

    fn over(&mut self, now: Instant, pause: Duration) {
        self.due = Some(after(now, pause));
        if std::mem::take(&mut self.is_asked_for) {
            self.cools_until = Some(after(now, self.timing.cooldown));
        }
    }
}

fn after(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now + FAR)
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
