//! What was announced of a node's sessions, and what has to be.
//!
//! It is no queue of notices: it holds the sessions that live, and of each what was written. What differs is what has to
//! be written next. So nothing is lost when Redis is away, and what Redis has lost is written again.
//!
//! Notices are written in numbered batches, one at a time. Redis remembers the number of the last one, so that a batch
//! without an answer is known to be written or not when Redis can be asked again.
//!
//! Pure: the time is a parameter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How many sessions that began and ended while nothing could be written are remembered.
const MAX_PAST: usize = 100_000;

/// The reason of an end that the node of the session did not report.
pub(crate) const NODE_LOST: &str = "node_lost";

/// A session, as backends are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The public id of its socket.
    pub session: Box<str>,
    /// Whose it is.
    pub user: Arc<str>,
    /// The tenant, where there is one.
    pub tenant: Option<Box<str>>,
    /// When it was admitted, in milliseconds since 1970.
    pub connected_at: u64,
}

/// A notice that has to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The session.
    pub about: Arc<About>,
    /// Names one connection of a session: with the session's id, it is unique for ever.
    pub number: u64,
    /// What happened.
    pub what: What,
}

impl Notice {
    /// The connection's name: with it backends match the two notices.
    #[must_use]
    pub fn connection(&self) -> String {
        connection(&self.about.session, self.number)
    }
}

/// The name of a session's connection with this number.
pub(crate) fn connection(session: &str, number: u64) -> String {
    format!("{session}:{number}")
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The session was let in.
    Connected {
        /// A connect of this session was written before, or may have been.
        again: bool,
    },
    /// The session is over.
    Ended {
        /// Why.
        reason: &'static str,
        /// When, in milliseconds since 1970.
        at: u64,
    },
}

/// Notices that are written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of the batch before.
    pub after: u64,
    /// In their order.
    pub notices: Vec<Notice>,
}

/// A session that lives, or whose end has to be written.
#[derive(Debug)]
struct Entry {
    about: Arc<About>,
    number: u64,
    /// Its connect was written.
    announced: bool,
    /// A connect of it may have been written before, and Redis does not know of it.
    again: bool,
    ended: Option<(&'static str, u64)>,
    /// Where it waits.
    place: Option<u64>,
}

/// What went into the batch on its way.
#[derive(Debug)]
struct Sent {
    key: u64,
    place: u64,
    connect: bool,
    end: bool,
}

/// All sessions of a node that have to be announced, or were.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: HashMap<u64, Entry>,
    /// Those that something has to be written of, in the order in which that began.
    waiting: BTreeMap<u64, u64>,
    sent: Vec<Sent>,
    /// The number of the last batch that was written.
    written: u64,
    /// The last key or number that was given.
    last: u64,
    last_place: u64,
    /// Sessions that are over before anything of them was written.
    past: usize,
}

/// What an end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It will be written.
    Noted,
    /// Too many wait: neither this session's connect nor its end will be written.
    Dropped,
    /// It was over already.
    Before,
}

impl Ledger {
    /// A session was let in. The key is for its end.
    pub(crate) fn begin(&mut self, about: About) -> u64 {
        let key = self.next();
        let entry = Entry {
            about: Arc::new(about),
            number: key,
            announced: false,
            again: false,
            ended: None,
            place: None,
        };
        self.entries.insert(key, entry);
        self.wait(key);
        key
    }

    /// A session is over. The first word counts.
    pub(crate) fn end(&mut self, key: u64, reason: &'static str, at: u64) -> Ended {
        let is_sent = self.sent.iter().any(|sent| sent.key == key);
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.ended.is_none()) else {
            return Ended::Before;
        };
        entry.ended = Some((reason, at));
        if !(is_sent || entry.is_known()) {
            if self.past >= MAX_PAST {
                let place = entry.place;
                self.entries.remove(&key);
                place.map(|place| self.waiting.remove(&place));
                return Ended::Dropped;
            }
            self.past += 1;
        }
        if !is_sent {
            self.wait(key);
        }
        Ended::Noted
    }

    /// All sessions are over.
    pub(crate) fn end_all(&mut self, reason: &'static str, at: u64) {
        let live: Vec<u64> = self.live().collect();
        for key in live {
            self.end(key, reason, at);
        }
    }

    /// How many sessions wait for something to be written of them.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// The number of the last batch that was written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// What has to be written next, up to `most` notices and at least those of one session; `None` when there is nothing,
    /// or while a batch is on its way.
    pub(crate) fn batch(&mut self, most: usize) -> Option<Batch> {
        if !self.sent.is_empty() {
            return None;
        }
        let mut notices = Vec::new();
        while notices.len() < most
            && let Some((place, key)) = self.waiting.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.place = None;
            self.past -= usize::from(entry.is_past());
            let (connect, end) = (!entry.announced, entry.ended);
            if connect {
                notices.push(entry.notice(What::Connected { again: entry.again }));
            }
            if let Some((reason, at)) = end {
                notices.push(entry.notice(What::Ended { reason, at }));
            }
            let end = end.is_some();
            self.sent.push(Sent {
                key,
                place,
                connect,
                end,
            });
        }
        let after = self.written;
        (!notices.is_empty()).then_some(Batch { after, notices })
    }

    /// The batch on its way was written.
    pub(crate) fn settle(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        self.written += 1;
        for sent in std::mem::take(&mut self.sent) {
            if sent.end {
                self.entries.remove(&sent.key);
                continue;
            }
            let Some(entry) = self.entries.get_mut(&sent.key) else {
                continue;
            };
            (entry.announced, entry.again) = (true, false);
            if entry.ended.is_some() {
                self.wait(sent.key);
            }
        }
    }

    /// Redis says which batch it had last of this node. Whether that can be: if not, it has lost something.
    pub(crate) fn recall(&mut self, written: u64) -> bool {
        if written == self.written + 1 && !self.sent.is_empty() {
            self.settle();
        } else if written == self.written {
            self.take_back(false);
        } else {
            return false;
        }
        true
    }

    /// The other nodes took this one for dead, after the batch with this number, and reported the end of what was
    /// announced. What lives is a new connection.
    pub(crate) fn buried(&mut self, written: u64, now: u64) {
        if !self.recall(written) {
            // It went back to a burial of long ago, so nobody knows what was reported. Nothing may be left without an end.
            return self.lost(&[], now);
        }
        self.begin_anew();
        let announced = self.entries.iter().filter(|(_, entry)| entry.announced);
        let mut announced: Vec<u64> = announced.map(|(key, _)| *key).collect();
        announced.sort_unstable();
        for key in announced {
            let number = self.next();
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if entry.ended.is_some() {
                let place = entry.place;
                self.entries.remove(&key);
                place.map(|place| self.waiting.remove(&place));
            } else {
                (entry.number, entry.announced, entry.again) = (number, false, true);
                self.wait(key);
            }
        }
    }

    /// Redis has lost something, and these connections are what it holds of this node. What it does not know is written
    /// again, under the same names.
    pub(crate) fn lost(&mut self, held: &[(String, u64)], now: u64) {
        self.take_back(true);
        self.begin_anew();
        let held: HashSet<(&str, u64)> = held
            .iter()
            .map(|(session, number)| (&**session, *number))
            .collect();
        let mut known = HashSet::new();
        let mut keys: Vec<u64> = self.entries.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let was_past = entry.is_past();
            let is_held = held.contains(&(&*entry.about.session, entry.number));
            entry.again = !is_held && (entry.again || entry.announced);
            entry.announced = is_held;
            self.past -= usize::from(was_past && !entry.is_past());
            if is_held {
                known.insert((entry.about.session.clone(), entry.number));
            }
            if !is_held || entry.ended.is_some() {
                self.wait(key);
            } else if let Some(place) = entry.place.take() {
                self.waiting.remove(&place);
            }
        }
        let strangers: Vec<(&str, u64)> = held
            .into_iter()
            .filter(|(session, number)| !known.contains(&(Box::from(*session), *number)))
            .collect();
        for (session, number) in strangers {
            self.stranger(session, number, now);
        }
    }

    /// A connection whose end was written, and Redis has lost that. Why it ended is not remembered.
    fn stranger(&mut self, session: &str, number: u64, now: u64) {
        let about = About {
            session: session.into(),
            user: Arc::from(""),
            tenant: None,
            connected_at: 0,
        };
        let key = self.next();
        let entry = Entry {
            about: Arc::new(about),
            number,
            announced: true,
            again: false,
            ended: Some((NODE_LOST, now)),
            place: None,
        };
        self.entries.insert(key, entry);
        self.wait(key);
    }

    /// No number of before, that of the batch on its way included, may be taken for one of after.
    fn begin_anew(&mut self) {
        self.written += 2;
    }

    /// The batch on its way was not written, or it is not known whether it was: then its connects come again.
    fn take_back(&mut self, doubt: bool) {
        for sent in std::mem::take(&mut self.sent) {
            let Some(entry) = self.entries.get_mut(&sent.key) else {
                continue;
            };
            entry.again |= doubt && sent.connect;
            entry.place = Some(sent.place);
            self.past += usize::from(entry.is_past());
            self.waiting.insert(sent.place, sent.key);
        }
    }

    fn wait(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.place.is_none()
        {
            self.last_place += 1;
            entry.place = Some(self.last_place);
            self.waiting.insert(self.last_place, key);
        }
    }

    fn live(&self) -> impl Iterator<Item = u64> {
        let live = self.entries.iter().filter(|(_, entry)| entry.ended.is_none());
        live.map(|(key, _)| *key)
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Entry {
    /// Something of it was written, or may have been.
    fn is_known(&self) -> bool {
        self.announced || self.again
    }

    fn is_past(&self) -> bool {
        self.ended.is_some() && !self.is_known()
    }

    fn notice(&self, what: What) -> Notice {
        Notice {
            about: self.about.clone(),
            number: self.number,
            what,
        }
    }
}
