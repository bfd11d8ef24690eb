//! What waits for a connection: shared bytes, in order, bounded in bytes. Pure.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
};

use bytes::{Buf, Bytes};

/// Pieces that are written with one call.
const TOGETHER: usize = 32;

/// Bytes of memory that a piece takes, however short it is.
const PIECE: usize = 64;
/// So many pieces may wait under any bound of bytes.
const PIECES: usize = 1024;

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Without what was written of it; empty = nothing waits. Most of what is put down is the only one, and is written at
    /// once: it needs no list.
    first: Bytes,
    #[allow(
        clippy::box_collection,
        reason = "an idle connection pays for it with 8 bytes"
    )]
    more: Option<Box<VecDeque<Bytes>>>,
    bytes: usize,
}

/// What became of writing.
#[derive(Debug)]
pub(super) enum Written {
    /// Nothing is left.
    All,
    /// The peer takes no more at present. Whether it took anything.
    Blocked(bool),
    /// The connection is broken.
    Broken(io::Error),
}

impl Backlog {
    /// Adds bytes. Answers `false`, and adds nothing, when more than `max` would wait, unless nothing waits: what is
    /// allowed at all can always be sent. Of very short pieces fewer may wait: clients can ask for as many as they like.
    pub(super) fn push(&mut self, bytes: &Bytes, max: usize) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if self.first.is_empty() {
            self.first = bytes.clone();
            self.bytes = bytes.len();
            return true;
        }
        let pieces = self.more.as_ref().map_or(1, |more| 1 + more.len());
        let is_too_many = pieces >= (max / PIECE).max(PIECES);
        if is_too_many || self.bytes.saturating_add(bytes.len()) > max {
            return false;
        }
        self.bytes += bytes.len();
        self.more.get_or_insert_default().push_back(bytes.clone());
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes as much as `write` takes.
    pub(super) fn write(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> Written {
        let mut is_moving = false;
        while !self.first.is_empty() {
            let result = match &self.more {
                None => write(&[IoSlice::new(&self.first)]),
                Some(more) => {
                    let mut slices = [IoSlice::new(&[]); TOGETHER];
                    let mut count = 0;
                    for (slice, piece) in slices.iter_mut().zip([&self.first].into_iter().chain(&**more)) {
                        *slice = IoSlice::new(piece);
                        count += 1;
                    }
                    write(slices.get(..count).unwrap_or_default())
                }
            };
            match result {
                Ok(0) => return Written::Broken(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    is_moving = true;
                    self.advance(written);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Written::Blocked(is_moving),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Written::Broken(error),
            }
        }
        Written::All
    }

    /// Takes pieces for one answer to a poll: as many as fit into `max` bytes with a byte between two, and one at least.
    pub(super) fn take(&mut self, max: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut total = 0_usize;
        while !self.first.is_empty() {
            let more = self.first.len() + usize::from(!taken.is_empty());
            if !taken.is_empty() && total.saturating_add(more) > max {
                break;
            }
            total += more;
            self.bytes -= self.first.len();
            taken.push(self.pop());
        }
        taken
    }

    /// Turns everything that waits into something else.
    pub(super) fn convert(&mut self, convert: impl Fn(&Bytes) -> Bytes) {
        if self.first.is_empty() {
            return;
        }
        self.bytes = 0;
        for piece in [&mut self.first]
            .into_iter()
            .chain(self.more.iter_mut().flat_map(|m| m.iter_mut()))
        {
            *piece = convert(piece);
            self.bytes += piece.len();
        }
    }

    /// Takes the first piece out; the next one takes its place.
    fn pop(&mut self) -> Bytes {
        let next = self.more.as_mut().and_then(|more| more.pop_front());
        if next.is_none() {
            // An idle connection keeps no list.
            self.more = None;
        }
        std::mem::replace(&mut self.first, next.unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while !self.first.is_empty() {
            if written < self.first.len() {
                return self.first.advance(written);
            }
            written -= self.first.len();
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backlog(pieces: &[&'static str]) -> Backlog {
        let mut backlog = Backlog::default();
        for piece in pieces {
            assert!(backlog.push(&Bytes::from_static(piece.as_bytes()), usize::MAX));
        }
        backlog
    }

    #[test]
    fn what_is_too_much_is_refused_but_never_the_first() {
        let mut backlog = Backlog::default();
        assert!(
            backlog.push(&Bytes::from_static(b"123456"), 5),
            "it can always be sent"
        );
        assert!(!backlog.push(&Bytes::from_static(b"7"), 6));
        assert!(backlog.push(&Bytes::from_static(b"7"), 7));
        assert_eq!(backlog.bytes(), 7);
    }

    #[test]
    fn very_short_pieces_take_no_more_memory_than_long_ones() {
        let mut backlog = Backlog::default();
        let pong = Bytes::from_static(&[0x8a, 0]);
        let waiting = |backlog: &mut Backlog, max| {
            while backlog.push(&pong, max) {}
            backlog.more.as_ref().map_or(1, |more| 1 + more.len())
        };
        assert_eq!(waiting(&mut backlog, 10_000), 1024);
        assert_eq!(waiting(&mut backlog, 1 << 20), 1 << 14);
        assert_eq!(backlog.take(2), std::slice::from_ref(&pong));
        assert!(backlog.push(&pong, 1 << 20), "there is room again");
    }

    #[test]
    fn a_poll_takes_what_fits() {
        let mut backlog = backlog(&["1234", "56", "7", "8901"]);
        assert_eq!(backlog.take(8), ["1234", "56"]);
        assert_eq!(backlog.take(1), ["7"]);
        assert_eq!(
            (backlog.bytes(), backlog.take(100), backlog.bytes()),
            (4, vec![Bytes::from("8901")], 0)
        );
        assert!(backlog.is_empty() && backlog.take(9).is_empty());
    }

    #[test]
    fn a_broken_connection_is_no_blocked_one() {
        let broken = backlog(&["a"]).write(|_| Err(ErrorKind::BrokenPipe.into()));
        assert!(matches!(broken, Written::Broken(e) if e.kind() == ErrorKind::BrokenPipe));
        assert!(matches!(backlog(&["a"]).write(|_| Ok(0)), Written::Broken(_)));
        let blocked = backlog(&["a"]).write(|_| Err(ErrorKind::WouldBlock.into()));
        assert!(matches!(blocked, Written::Blocked(false)));
    }

    proptest! {
        #[test]
        fn everything_is_written_once_and_in_order(
            pieces in prop::collection::vec("[a-z]{1,9}", 0..80),
            sizes in prop::collection::vec(0..40_usize, 1..9),
        ) {
            let mut backlog = Backlog::default();
            for piece in &pieces {
                backlog.push(&Bytes::from(piece.clone()), usize::MAX);
            }
            let (mut seen, mut sizes) = (Vec::new(), sizes.iter().cycle());
            let mut blocked = 0;
            loop {
                let written = backlog.write(|slices| {
                    let size = *sizes.next().unwrap();
                    if size == 0 {
                        return Err(ErrorKind::WouldBlock.into());
                    }
                    let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).take(size).collect();
                    seen.extend(&all);
                    Ok(all.len())
                });
                match written {
                    Written::All => break,
                    Written::Blocked(_) => blocked += 1,
                    Written::Broken(error) => panic!("{error}"),
                }
                if blocked > 1000 {
                    return Ok(()); // it takes nothing at all
                }
                prop_assert_eq!(backlog.bytes() + seen.len(), pieces.concat().len());
            }
            prop_assert_eq!(String::from_utf8(seen).unwrap(), pieces.concat());
            prop_assert!(backlog.is_empty() && backlog.bytes() == 0);
        }
    }
}
