//! Deadlines of connections, kept together. Pure.
//!
//! All deadlines of a kind are equally far away when they are set, so that each kind is a queue in which the next one is
//! in front: setting one costs a push, and nothing is ever searched. None is taken back: whoever it is for says, when it
//! has come, whether it still means something.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The client is sent a ping.
    Ping,
    /// It has answered one, or is gone.
    Pong,
    /// It has connected, or is sent away.
    Connect,
    /// It has moved to its websocket, or stays where it is.
    Upgrade,
    /// It is looked whether it takes something.
    Write,
}

const KINDS: [Due; 5] = [Due::Ping, Due::Pong, Due::Connect, Due::Upgrade, Due::Write];

/// The queues. `T` is whom they are for.
#[derive(Debug)]
pub(super) struct Timers<T> {
    queues: [Queue<T>; KINDS.len()],
}

#[derive(Debug)]
struct Queue<T> {
    after: Duration,
    waiting: VecDeque<(Instant, T)>,
}

impl<T> Timers<T> {
    /// Says how far away each kind is.
    pub(super) fn new(after: impl Fn(Due) -> Duration) -> Timers<T> {
        Timers {
            queues: KINDS.map(|due| Queue {
                after: after(due),
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Sets a deadline. Answers whether it is the only one of its kind, so that nobody may be waiting for it yet.
    pub(super) fn set(&mut self, due: Due, whom: T, now: Instant) -> bool {
        let Some(queue) = self.queues.get_mut(due as usize) else {
            return false;
        };
        // Of two threads the later one may bring the earlier moment: it waits for no longer than the other.
        let at = now + queue.after;
        let at = queue.waiting.back().map_or(at, |(last, _)| at.max(*last));
        queue.waiting.push_back((at, whom));
        queue.waiting.len() == 1
    }

    /// Takes what is due.
    pub(super) fn take(&mut self, now: Instant, into: &mut Vec<(Due, T)>) {
        for (due, queue) in KINDS.into_iter().zip(&mut self.queues) {
            while queue.waiting.front().is_some_and(|(at, _)| *at <= now) {
                into.extend(queue.waiting.pop_front().map(|(_, whom)| (due, whom)));
            }
            // What a storm needed is given back when it is over.
            if queue.waiting.capacity() > 1024 && queue.waiting.len() < queue.waiting.capacity() / 4 {
                queue.waiting.shrink_to(queue.waiting.len() * 2);
            }
        }
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        let fronts = self.queues.iter().filter_map(|queue| queue.waiting.front());
        fronts.map(|(at, _)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_time_and_order() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::new(|due| Duration::from_secs(if due == Due::Pong { 2 } else { 5 }));
        assert_eq!(timers.next(), None);
        assert!(timers.set(Due::Ping, 'a', at(0)));
        assert!(!timers.set(Due::Ping, 'b', at(1)));
        assert!(timers.set(Due::Pong, 'c', at(2)));
        assert!(
            !timers.set(Due::Ping, 'd', at(0)),
            "it comes late, and waits with the one before it"
        );
        assert_eq!(timers.next(), Some(at(4)));
        for (now, expect, next) in [
            (3, vec![], Some(at(4))),
            (4, vec![(Due::Pong, 'c')], Some(at(5))),
            (5, vec![(Due::Ping, 'a')], Some(at(6))),
            (9, vec![(Due::Ping, 'b'), (Due::Ping, 'd')], None),
        ] {
            let mut due = Vec::new();
            timers.take(at(now), &mut due);
            assert_eq!((due, timers.next()), (expect, next));
        }
    }
}
