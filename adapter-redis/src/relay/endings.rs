//! What has begun and has to end, and when.
//!
//! Pure: the time is a parameter.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::node::NodeId;
use crate::publication::Publication;

/// How much a table holds at most.
const MOST: Limits = Limits {
    entries: 65_536,
    bytes: 64 * 1024 * 1024,
};

/// What an entry takes besides its texts.
const OVERHEAD: usize = 256;

/// What has begun, by the node that said so and its key.
pub(crate) struct Endings {
    limits: Limits,
    /// For how long it is remembered that something has ended, so that it does not end once more.
    remember: Duration,
    entries: BTreeMap<Key, Entry>,
    due: BTreeSet<(Instant, Key)>,
    bytes: usize,
    /// Nodes with entries here that are no members, and since when that is known.
    strangers: BTreeMap<NodeId, Instant>,
}

/// A node, and its key for what it began.
pub(crate) type Key = (NodeId, u64);

#[derive(Clone, Copy)]
struct Limits {
    entries: usize,
    bytes: usize,
}

struct Entry {
    /// What is delivered in the end; `None` when it has ended.
    end: Option<Publication>,
    due: Option<Instant>,
}

impl Endings {
    /// Nothing yet. It is remembered for so long what has ended by itself.
    pub(crate) fn new(remember: Duration) -> Self {
        Self {
            limits: MOST,
            remember,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            strangers: BTreeMap::new(),
        }
    }

    /// Something began, or is prolonged: what was known under the key is forgotten. Whether there is room for it; if not,
    /// it will not end by itself.
    pub(crate) fn begin(&mut self, key: Key, end: Publication, due: Option<Instant>) -> bool {
        self.remove(&key);
        let size = size(&end);
        if self.entries.len() >= self.limits.entries || self.bytes + size > self.limits.bytes {
            return false;
        }
        self.insert(key, Entry { end: Some(end), due });
        true
    }

    /// Somebody ended it. Whether that is news: not when it has ended by itself a moment ago.
    pub(crate) fn end(&mut self, key: &Key) -> bool {
        self.remove(key).is_none_or(|entry| entry.end.is_some())
    }

    /// What ends by itself by now, of the first `most` that are due.
    pub(crate) fn take_due(&mut self, now: Instant, most: usize) -> Vec<(Key, Publication)> {
        let mut over = Vec::new();
        for _ in 0..most {
            let Some((_, key)) = self.due.first().filter(|(due, _)| *due <= now).cloned() else {
                break;
            };
            if let Some(end) = self.remove(&key).and_then(|entry| entry.end) {
                if !self.remember.is_zero() {
                    let due = now.checked_add(self.remember);
                    self.insert(key.clone(), Entry { end: None, due });
                }
                over.push((key, end));
            }
        }
        over
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A node is gone, and everything that it began is due.
    pub(crate) fn gone(&mut self, node: &NodeId, now: Instant) {
        for (key, entry) in self
            .entries
            .range_mut((node.clone(), u64::MIN)..=(node.clone(), u64::MAX))
        {
            if entry.end.is_some() {
                if let Some(due) = entry.due.replace(now) {
                    self.due.remove(&(due, key.clone()));
                }
                self.due.insert((now, key.clone()));
            }
        }
    }

    /// As [`Endings::gone`] for the nodes that are no members and have been none for `patience`: they began something
    /// after they were declared dead or had said goodbye, or so early that nobody knew them.
    pub(crate) fn strangers_gone(
        &mut self,
        now: Instant,
        patience: Duration,
        is_member: impl Fn(&NodeId) -> bool,
    ) {
        let known = std::mem::take(&mut self.strangers);
        for node in self.nodes() {
            if is_member(&node) {
                continue;
            }
            let since = known.get(&node).copied().unwrap_or(now);
            if now.saturating_duration_since(since) >= patience {
                self.gone(&node, now);
            } else {
                self.strangers.insert(node, since);
            }
        }
    }

    /// Forgets what would only end with its node, and is of use to nobody.
    pub(crate) fn forget(&mut self, useless: impl Fn(&Publication) -> bool) {
        let forgotten = self
            .entries
            .extract_if(.., |_, entry| {
                entry.due.is_none() && entry.end.as_ref().is_some_and(&useless)
            })
            .filter_map(|(_, entry)| entry.end);
        self.bytes -= forgotten.map(|end| size(&end)).sum::<usize>();
    }

    /// How many entries there are, with what is only remembered.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some(((node, _), _)) = self.entries.range((from, Bound::Unbounded)).next() {
            from = Bound::Excluded((node.clone(), u64::MAX));
            nodes.push(node.clone());
        }
        nodes
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        self.bytes += entry.end.as_ref().map_or(0, size);
        self.due.extend(entry.due.map(|due| (due, key.clone())));
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= entry.end.as_ref().map_or(0, size);
        if let Some(due) = entry.due {
            self.due.remove(&(due, key.clone()));
        }
        Some(entry)
    }
}

fn size(end: &Publication) -> usize {
    let rooms = end.rooms.iter().map(|room| room.as_str().len() + OVERHEAD);
    let except = end.except.iter().map(|name| name.len() + OVERHEAD);
    OVERHEAD + end.args.json().len() + rooms.chain(except).sum::<usize>()
}

#[cfg(test)]
mod tests;
