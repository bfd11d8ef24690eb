//! What waits for a connection: shared bytes, in order, bounded in bytes. Pure.
//!
//! Some of it may be lost while it waits. What is begun, and what carries no such mark, is not.

mod line;

use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf, Bytes};

use self::line::{Line, Mark, Piece};
use super::{Lost, Slow};

/// Pieces that are written with one call.
const TOGETHER: usize = 32;

/// Bytes that a piece counts as, at least, where there are more than [`PIECES`]: what a piece costs beside its bytes.
const PIECE: usize = 64;
/// Pieces that may wait in any case, however short they are.
const PIECES: usize = 1024;

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Without what was written of it; empty = nothing waits. Most of what is put down is the only one, and is written at
    /// once: it needs no list.
    first: Piece,
    more: Option<Box<Line>>,
    bytes: usize,
}

/// What became of adding something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits.
    In,
    /// There was no room, and it may be lost.
    Lost,
    /// There was no room, and it may not be lost.
    Refused,
}

/// On what terms something is added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// What may become of it as long as it waits.
    pub(super) slow: Slow,
    /// Whether the peer takes nothing at present.
    pub(super) is_blocked: bool,
    /// Bytes that may wait.
    pub(super) max: usize,
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
    /// Adds bytes, and counts in `lost` what had to go for them. Nothing changes when there is no room for them. What is
    /// the only one always finds room: what is allowed at all can always be sent. Of very short pieces fewer may wait:
    /// clients can ask for as many as they like.
    pub(super) fn push(&mut self, bytes: &Bytes, terms: Terms, lost: &mut Lost) -> Added {
        let Terms {
            slow,
            is_blocked,
            max,
        } = terms;
        if bytes.is_empty() {
            return Added::In;
        }
        if !self.first.is_empty() {
            if is_blocked && slow == Slow::Volatile {
                return Added::Lost;
            }
            let over = self.bytes.saturating_add(bytes.len()).saturating_sub(max);
            let is_too_many = self.pieces() >= (max / PIECE).max(PIECES);
            let needed = over.max(usize::from(is_too_many));
            if needed > self.droppable() {
                return match slow {
                    Slow::Disconnect => Added::Refused,
                    Slow::DropOldest | Slow::Latest(_) | Slow::Volatile => Added::Lost,
                };
            }
            let before = self.bytes;
            if matches!(slow, Slow::Latest(_)) {
                self.supersede(slow.into(), is_blocked, lost);
            }
            self.drop_oldest(needed.saturating_sub(before - self.bytes), lost);
        }
        self.bytes += bytes.len();
        let piece = Piece {
            bytes: bytes.clone(),
            mark: slow.into(),
        };
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.more.get_or_insert_default().push(piece);
        }
        Added::In
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes as much as `write` takes.
    pub(super) fn write(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> Written {
        let mut is_moving = false;
        while !self.first.is_empty() {
            let result = match &self.more {
                None => write(&[IoSlice::new(&self.first.bytes)]),
                Some(more) => {
                    let mut slices = [IoSlice::new(&[]); TOGETHER];
                    let mut count = 0;
                    let all = [&self.first].into_iter().chain(more.pieces());
                    for (slice, piece) in slices.iter_mut().zip(all) {
                        *slice = IoSlice::new(&piece.bytes);
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
            let more = self.first.bytes.len() + usize::from(!taken.is_empty());
            if !taken.is_empty() && total.saturating_add(more) > max {
                break;
            }
            total += more;
            taken.push(self.pop());
        }
        taken
    }

    /// Turns everything that waits into something else.
    pub(super) fn convert(&mut self, convert: impl Fn(&Bytes) -> Bytes) {
        if self.first.is_empty() {
            return;
        }
        self.first.bytes = convert(&self.first.bytes);
        self.bytes = self.first.bytes.len();
        if let Some(more) = &mut self.more {
            more.convert(convert);
            self.bytes += more.pieces().map(|piece| piece.bytes.len()).sum::<usize>();
        }
    }

    fn pieces(&self) -> usize {
        usize::from(!self.first.is_empty()) + self.more.as_ref().map_or(0, |more| more.count())
    }

    /// Bytes that may be lost. What is begun may not.
    fn droppable(&self) -> usize {
        self.first.droppable() + self.more.as_ref().map_or(0, |more| more.droppable())
    }

    /// Takes out what something with this mark replaces.
    fn supersede(&mut self, mark: Mark, is_blocked: bool, lost: &mut Lost) {
        let taken = self.more.as_mut().map(|more| match is_blocked {
            true => more.supersede(mark),
            false => more.supersede_known(mark),
        });
        let (bytes, count) = taken.unwrap_or_default();
        self.bytes -= bytes;
        lost.superseded += count;
        // What stands in front does so for a moment only, unless the peer takes nothing.
        let is_older = self.first.mark == mark
            || self
                .more
                .as_ref()
                .is_some_and(|more| more.has_newer(self.first.mark));
        if is_blocked && is_older {
            self.pop();
            lost.superseded += 1;
        }
    }

    /// Takes out the oldest of what may be lost, until this many bytes are free.
    fn drop_oldest(&mut self, needed: usize, lost: &mut Lost) {
        let mut freed = 0;
        while freed < needed {
            if self.first.droppable() > 0 {
                freed += self.pop().len();
            } else {
                let dropped = self.more.as_mut().and_then(|more| more.drop_oldest());
                let Some(bytes) = dropped else { return };
                self.bytes -= bytes;
                freed += bytes;
            }
            lost.dropped += 1;
        }
    }

    /// Takes the first piece out; the next one takes its place.
    fn pop(&mut self) -> Bytes {
        let next = self.more.as_mut().and_then(|more| more.pop());
        if next.is_none() {
            // An idle connection keeps no list.
            self.more = None;
        }
        let first = std::mem::replace(&mut self.first, next.unwrap_or_default());
        self.bytes -= first.bytes.len();
        first.bytes
    }

    fn advance(&mut self, mut written: usize) {
        while !self.first.is_empty() {
            let length = self.first.bytes.len();
            if written < length {
                if written > 0 {
                    self.first.bytes.advance(written);
                    // Half of it would be no message.
                    self.first.mark = Mark::KEPT;
                    self.bytes -= written;
                }
                return;
            }
            written -= length;
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests;
