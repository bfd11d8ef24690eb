//! When a connection was used last. Pure: the time is a parameter.
//!
//! An event costs a relaxed store and nothing else: one for its room, however many are in it, or one for its sender. What
//! a socket got is found out when somebody asks, by looking at its rooms. Heartbeats and answers are not counted.

use std::sync::atomic::{AtomicU32, Ordering};

/// Whole seconds since the engine began. More would say no more about who is idle.
pub(super) type Seconds = u32;

/// A moment that only moves on.
#[derive(Debug, Default)]
pub(super) struct Latest(AtomicU32);

impl Latest {
    pub(super) fn at(now: Seconds) -> Latest {
        Latest(AtomicU32::new(now))
    }

    /// Something happened. Of two threads the later one may lose against a second before: nobody notices.
    pub(super) fn note(&self, now: Seconds) {
        self.0.store(now, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Seconds {
        self.0.load(Ordering::Relaxed)
    }
}

/// How recently a connection was used. What is less has been idle for longer: what it last got or sent counts, and among
/// those who got the same, what it last sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activity {
    any: Seconds,
    own: Seconds,
}

impl Activity {
    /// Of a socket that did something itself at `own`, in rooms that last got something at `rooms`.
    pub(super) fn of(own: Seconds, rooms: impl Iterator<Item = Seconds>) -> Activity {
        Activity {
            any: rooms.fold(own, Seconds::max),
            own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_got_and_sent_nothing_for_longest_comes_first() {
        let of = |own: Seconds, rooms: &[Seconds]| Activity::of(own, rooms.iter().copied());
        let mut all = [
            ("talks and hears", of(9, &[3, 9])),
            ("hears", of(2, &[3, 9])),
            ("hears, and talked later", of(4, &[9])),
            ("silent", of(5, &[])),
            ("silent for longer", of(1, &[4])),
        ];
        all.sort_by_key(|(_, activity)| *activity);
        assert_eq!(
            all.map(|(name, _)| name),
            [
                "silent for longer",
                "silent",
                "hears",
                "hears, and talked later",
                "talks and hears"
            ]
        );
    }
}
