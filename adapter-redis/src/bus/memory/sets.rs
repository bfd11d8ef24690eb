//! What nodes keep together, inside one process.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{MemoryBus, MemoryHub};
use crate::sets::{Item, MAX_ITEMS, Part, SetWork, SharedSets};

/// The sets by their names: texts, and until when they are there.
#[derive(Default)]
pub(super) struct Sets(HashMap<String, BTreeMap<Bytes, u64>>);

impl MemoryHub {
    /// Forgets all shared sets, as a Redis does that is emptied, or restarted without persistence.
    #[cfg(feature = "test-util")]
    pub fn forget_sets(&self) {
        self.hub.sets().0.clear();
    }
}

impl MemoryBus {
    fn with_set<T>(
        &self,
        set: &str,
        work: impl FnOnce(&mut BTreeMap<Bytes, u64>) -> T + Send,
    ) -> SetWork<'_, T>
    where
        T: Send + 'static,
    {
        let done = self
            .check_link()
            .map(|()| work(self.hub.sets().0.entry(set.to_owned()).or_default()));
        Box::pin(std::future::ready(done))
    }
}

impl SharedSets for MemoryBus {
    fn put<'a>(&'a self, set: &'a str, items: &'a [Item]) -> SetWork<'a, ()> {
        self.with_set(set, |there| {
            for Item { text, until_ms } in items {
                let end = there.entry(text.clone()).or_default();
                *end = (*end).max(*until_ms);
            }
        })
    }

    fn remove<'a>(&'a self, set: &'a str, texts: &'a [Bytes]) -> SetWork<'a, ()> {
        self.with_set(set, |there| {
            for text in texts {
                there.remove(text);
            }
        })
    }

    fn read<'a>(&'a self, set: &'a str, from: Option<u64>) -> SetWork<'a, Part> {
        self.with_set(set, |there| {
            let skipped = usize::try_from(from.unwrap_or_default()).unwrap_or(usize::MAX);
            let items = there.iter().skip(skipped).take(MAX_ITEMS);
            let items: Vec<Item> = items
                .map(|(text, until_ms)| Item {
                    text: text.clone(),
                    until_ms: *until_ms,
                })
                .collect();
            let end = skipped.saturating_add(items.len());
            Part {
                items,
                next: (end < there.len()).then_some(end as u64),
            }
        })
    }

    fn count<'a>(&'a self, set: &'a str, after_ms: u64) -> SetWork<'a, u64> {
        self.with_set(set, |there| {
            there.values().filter(|end| **end > after_ms).count() as u64
        })
    }

    fn trim<'a>(&'a self, set: &'a str, before_ms: u64) -> SetWork<'a, ()> {
        self.with_set(set, |there| there.retain(|_, end| *end >= before_ms))
    }
}
