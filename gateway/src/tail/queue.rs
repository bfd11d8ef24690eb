//! Lines that wait for somebody who looks. Pure.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Lines that may wait.
pub(super) const MAX_LINES: usize = 1024;
/// Their bytes; one line always fits.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// As much is sent at once, and the rest of a line.
const CHUNK: usize = 64 * 1024;

/// Full: the newest are lost, and all that follow, until what waits was taken. Behind it is said how many. So what is
/// shown is everything up to some point, then that number, then everything from a later point on.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: VecDeque<Bytes>,
    bytes: usize,
    missed: u64,
}

/// What was waiting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) lines: Bytes,
    /// How many were lost behind these lines.
    pub(super) missed: u64,
}

impl Queue {
    /// Whether one more would be taken: to be asked before it is made. It is counted if not.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.missed == 0 && self.lines.len() < MAX_LINES && self.bytes < MAX_BYTES;
        self.missed += u64::from(!has_room);
        has_room
    }

    pub(super) fn push(&mut self, line: Bytes) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// Some of what waits; `None` when nothing does.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let mut lines = BytesMut::new();
        while lines.len() < CHUNK
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= line.len();
            lines.extend_from_slice(&line);
        }
        let missed = if self.lines.is_empty() {
            std::mem::take(&mut self.missed)
        } else {
            0
        };
        (!lines.is_empty() || missed > 0).then(|| Taken {
            lines: lines.freeze(),
            missed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &mut Queue, line: &'static [u8]) -> bool {
        let has_room = queue.has_room();
        if has_room {
            queue.push(Bytes::from_static(line));
        }
        has_room
    }

    #[test]
    fn what_waits_stays_and_the_newest_are_counted() {
        let mut queue = Queue::default();
        assert_eq!(queue.take(), None);
        for _ in 0..MAX_LINES {
            assert!(put(&mut queue, b"x\n"));
        }
        for _ in 0..3 {
            assert!(!put(&mut queue, b"lost\n"));
        }
        let taken = queue.take().unwrap();
        assert_eq!((taken.lines.len(), taken.missed), (MAX_LINES * 2, 3));
        assert_eq!(queue.take(), None);
        assert!(put(&mut queue, b"y\n"), "it goes on");
        assert_eq!(queue.take().unwrap().missed, 0);
    }

    #[test]
    fn nothing_is_taken_until_it_is_said_what_was_lost() {
        static LONG: [u8; CHUNK] = [b'x'; CHUNK];
        let mut queue = Queue::default();
        while put(&mut queue, &LONG) {}
        assert_eq!(queue.lines.len(), MAX_BYTES / CHUNK);
        let taken = queue.take().unwrap();
        assert_eq!(
            (taken.lines.len(), taken.missed),
            (CHUNK, 0),
            "others are before it"
        );
        assert!(!put(&mut queue, b"y\n"), "though there would be room");
        let rest: Vec<Taken> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(rest.last().unwrap().missed, 2);
        assert!(rest.iter().rev().skip(1).all(|taken| taken.missed == 0));
        assert_eq!((queue.bytes, queue.missed), (0, 0));
    }

    #[test]
    fn one_line_always_fits() {
        static LONG: [u8; MAX_BYTES + 1] = [b'x'; MAX_BYTES + 1];
        let mut queue = Queue::default();
        assert!(put(&mut queue, &LONG) && !put(&mut queue, b"y\n"));
    }
}
