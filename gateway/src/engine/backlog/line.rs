//! What waits behind the first piece. Pure.
//!
//! What is taken out of the middle leaves a hole, so that everything else keeps its place and nothing is searched twice.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use bytes::Bytes;

use crate::engine::Slow;

/// Holes up to this many are not worth the work.
const HOLES: usize = 32;

/// Bytes, and what may become of them.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) mark: Mark,
}

/// A [`Slow`] in eight bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// Pieces in their order, each with a number.
#[derive(Debug, Default)]
pub(super) struct Line {
    pieces: VecDeque<Piece>,
    /// The number of the first piece.
    begin: u64,
    /// No piece before this number may be lost.
    oldest: u64,
    /// Bytes that may be lost.
    droppable: usize,
    holes: usize,
    /// The newest of each mark that replaces, once that is asked for. Some are gone.
    newest: Option<BTreeMap<Mark, u64>>,
}

impl Mark {
    /// It may not be lost.
    pub(super) const KEPT: Mark = Mark(0);
    const DROPPABLE: Mark = Mark(1);

    fn replaces(self) -> bool {
        self > Mark::DROPPABLE
    }
}

impl From<Slow> for Mark {
    fn from(slow: Slow) -> Mark {
        match slow {
            Slow::Disconnect => Mark::KEPT,
            Slow::DropOldest | Slow::Volatile => Mark::DROPPABLE,
            // Two of all keys are the same.
            Slow::Latest(key) => Mark(key.max(2)),
        }
    }
}

impl Piece {
    /// Nothing, or a hole.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that may be lost.
    pub(super) fn droppable(&self) -> usize {
        match self.mark {
            Mark::KEPT => 0,
            _ => self.bytes.len(),
        }
    }
}

impl Line {
    pub(super) fn push(&mut self, piece: Piece) {
        self.droppable += piece.droppable();
        if let Some(newest) = self.newest.as_mut().filter(|_| piece.mark.replaces()) {
            newest.insert(piece.mark, self.begin + self.pieces.len() as u64);
        }
        self.pieces.push_back(piece);
    }

    pub(super) fn pop(&mut self) -> Option<Piece> {
        while let Some(piece) = self.pieces.pop_front() {
            self.begin += 1;
            if !piece.is_empty() {
                self.droppable -= piece.droppable();
                return Some(piece);
            }
            self.holes -= 1;
        }
        None
    }

    #[cfg(test)]
    pub(super) fn length(&self) -> usize {
        self.pieces.len() + self.newest.as_ref().map_or(0, BTreeMap::len)
    }

    /// How many pieces there are.
    pub(super) fn count(&self) -> usize {
        self.pieces.len() - self.holes
    }

    /// What is no hole.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|piece| !piece.is_empty())
    }

    pub(super) fn droppable(&self) -> usize {
        self.droppable
    }

    pub(super) fn convert(&mut self, convert: impl Fn(&Bytes) -> Bytes) {
        self.droppable = 0;
        for piece in self.pieces.iter_mut().filter(|piece| !piece.is_empty()) {
            piece.bytes = convert(&piece.bytes);
            self.droppable += piece.droppable();
        }
    }

    /// Takes out the oldest that may be lost, and says how long it was.
    pub(super) fn drop_oldest(&mut self) -> Option<usize> {
        let begin = self.begin;
        let from = usize::try_from(self.oldest.saturating_sub(begin)).unwrap_or(usize::MAX);
        let mut rest = (from..).zip(self.pieces.range(from.min(self.pieces.len())..));
        let found = rest.find(|(_, piece)| piece.droppable() > 0).map(|(at, _)| at);
        self.oldest = begin + found.unwrap_or(self.pieces.len()) as u64;
        let taken = self.take_out(self.oldest);
        self.close_holes();
        Some(taken).filter(|bytes| *bytes > 0)
    }

    /// Takes out everything that something behind it replaces, and what this mark replaces. From now on only the newest
    /// waits. Answers how many bytes and how many pieces that were.
    pub(super) fn supersede(&mut self, mark: Mark) -> (usize, usize) {
        let (mut bytes, mut count) = (0, 0);
        if self.newest.is_none() {
            let mut newest = BTreeMap::new();
            let marks: Vec<Mark> = self.pieces.iter().map(|piece| piece.mark).collect();
            for (number, mark) in (self.begin..).zip(marks).filter(|(_, mark)| mark.replaces()) {
                if let Some(older) = newest.insert(mark, number) {
                    bytes += self.take_out(older);
                    count += 1;
                }
            }
            self.newest = Some(newest);
        }
        let (more, another) = self.supersede_known(mark);
        (bytes + more, count + another)
    }

    /// Takes out what this mark replaces, where only the newest waits.
    pub(super) fn supersede_known(&mut self, mark: Mark) -> (usize, usize) {
        let bytes = match self.newest_of(mark) {
            Some(number) => self.take_out(number),
            None => 0,
        };
        self.close_holes();
        (bytes, usize::from(bytes > 0))
    }

    /// Whether something waits that replaces what has this mark and is not here.
    pub(super) fn has_newer(&self, mark: Mark) -> bool {
        self.newest_of(mark).is_some()
    }

    /// The number of the piece with this mark, if it is still here.
    fn newest_of(&self, mark: Mark) -> Option<u64> {
        let number = *self.newest.as_ref()?.get(&mark)?;
        let at = usize::try_from(number.checked_sub(self.begin)?).ok()?;
        self.pieces
            .get(at)
            .filter(|piece| piece.mark == mark)
            .map(|_| number)
    }

    fn take_out(&mut self, number: u64) -> usize {
        let at = number
            .checked_sub(self.begin)
            .and_then(|at| usize::try_from(at).ok());
        let Some(piece) = at.and_then(|at| self.pieces.get_mut(at)) else {
            return 0;
        };
        let taken = mem::take(piece);
        self.droppable -= taken.droppable();
        self.holes += 1;
        taken.bytes.len()
    }

    /// Half of the line at most is holes, and half of what is remembered is gone.
    fn close_holes(&mut self) {
        let is_worth_it = |useless: usize, all: usize| useless > HOLES && useless > all / 2;
        let known = self.newest.as_ref().map_or(0, BTreeMap::len);
        let gone = known.saturating_sub(self.pieces.len());
        if !is_worth_it(self.holes, self.pieces.len()) && !is_worth_it(gone, known) {
            return;
        }
        self.pieces.retain(|piece| !piece.is_empty());
        self.pieces.shrink_to(self.pieces.len() * 2);
        self.holes = 0;
        self.oldest = self.begin;
        if let Some(newest) = &mut self.newest {
            let marks = self.pieces.iter().map(|piece| piece.mark);
            *newest = marks
                .zip(self.begin..)
                .filter(|(mark, _)| mark.replaces())
                .collect();
        }
    }
}
