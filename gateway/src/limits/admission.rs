//! How many new sessions a node can take over from others. Pure but for the lock.
//!
//! What it can take is its limit, or what it is good for where there is none, without those who come anyway. These are
//! averaged over half a minute: when another node is being stopped its clients are counted here, too, and what this node
//! says must not go up and down with what it gets because of that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::CurrentLimits;

/// New sessions each second for each core, where there is no limit. One costs 0.2 ms of a core with HS256 and without TLS, so
/// that this is a twentieth of what a core could do, and leaves most of it to those who are connected.
const PER_CORE: u64 = 250;

/// What is averaged over, in seconds.
const AVERAGED: f64 = 30.0;

/// What a node admits, and could. Clones are the same.
#[derive(Debug, Clone)]
pub struct Admissions {
    limits: CurrentLimits,
    cores: u64,
    recent: Arc<Mutex<Recent>>,
}

/// How many came each second lately.
#[derive(Debug, Default)]
struct Recent {
    per_second: f64,
    at: Option<Instant>,
}

impl Admissions {
    /// Nobody has come yet.
    pub fn new(limits: CurrentLimits) -> Admissions {
        Admissions {
            limits,
            cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            recent: Arc::default(),
        }
    }

    /// A session has begun.
    pub fn count(&self, now: Instant) {
        let mut recent = self.recent();
        recent.forget(now);
        recent.per_second += 1.0 / AVERAGED;
    }

    /// New sessions each second that the node can take at all.
    pub fn budget(&self) -> u64 {
        match u64::from(self.limits.get().handshakes_per_second) {
            0 => self.cores * PER_CORE,
            limit => limit,
        }
    }

    /// Those that it can take beside those who come anyway. A quarter is always left to others: who came in a wave before
    /// may be all there is to come.
    pub fn spare(&self, now: Instant) -> u64 {
        let mut recent = self.recent();
        recent.forget(now);
        let budget = self.budget();
        budget
            .saturating_sub(recent.per_second.round() as u64)
            .max(budget / 4)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn forget(&mut self, now: Instant) {
        let passed = self
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.per_second *= (-passed / AVERAGED).exp();
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::Limits, *};

    fn admissions(handshakes_per_second: u32) -> Admissions {
        let limits = Limits {
            handshakes_per_second,
            ..Limits::default()
        };
        let admissions = Admissions::new(CurrentLimits::new(limits));
        Admissions {
            cores: 4,
            ..admissions
        }
    }

    /// So many come each second for so long.
    fn come(admissions: &Admissions, from: Instant, each_second: u32, seconds: u32) -> Instant {
        let interval = Duration::from_secs(1) / each_second;
        for n in 1..=each_second * seconds {
            admissions.count(from + interval * n);
        }
        from + Duration::from_secs(seconds.into())
    }

    #[test]
    fn the_limit_without_those_who_come_anyway() {
        let start = Instant::now();
        let node = admissions(200);
        assert_eq!((node.budget(), node.spare(start)), (200, 200));
        let now = come(&node, start, 50, 300);
        assert_eq!(node.spare(now), 150);
        let now = come(&node, now, 1000, 300);
        assert_eq!(node.spare(now), 50, "a quarter is left");
        assert_eq!(node.spare(now + Duration::from_secs(300)), 200, "it passes");
        assert_eq!(node.spare(start), 200, "back in time nothing breaks");
        node.limits.set(Limits::default());
        assert_eq!(node.budget(), 1000, "what four cores are good for");
    }

    #[test]
    fn a_wave_from_a_node_that_stops_does_not_turn_the_figure_over() {
        let node = admissions(100);
        let mut now = Instant::now();
        for second in 1..=15 {
            now = come(&node, now, 80, 1);
            assert!(node.spare(now) >= 68, "after {second} s: {}", node.spare(now));
        }
    }
}
