//! The seam to what nodes keep together: named sets of short texts, each of which is there until a point in time.
//! `bus/redis.rs` and `bus/memory.rs` implement it beside the bus, and pass the same suite (`tests/it/sets.rs`).

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::bus::BusError;

/// How many items are passed at once: little enough for nobody else to wait for it.
pub const MAX_ITEMS: usize = 500;

/// Named sets that all nodes read and write.
///
/// Promised:
/// - **Merging.** An item that is put in again keeps the later end, whoever is first.
/// - **No waiting for a link.** Without one, all of it is [`BusError::Disconnected`].
///
/// Not promised:
/// - **Keeping.** A Redis without persistence forgets. Whoever needs an item to stay remembers it, and puts it in again.
/// - **Ends by themselves.** Items may be there after their end, until somebody calls [`SharedSets::trim`]. Ends are times
///   of nodes' clocks, and the store has no opinion on them.
///
/// Dropping a future does not take back what was sent.
pub trait SharedSets: Send + Sync + 'static {
    /// Puts items in, [`MAX_ITEMS`] of them at most.
    fn put<'a>(&'a self, set: &'a str, items: &'a [Item]) -> SetWork<'a, ()>;

    /// Takes items out, [`MAX_ITEMS`] of them at most.
    fn remove<'a>(&'a self, set: &'a str, texts: &'a [Bytes]) -> SetWork<'a, ()>;

    /// One part of a set, from where an earlier part ended, or from its beginning. Whoever reads until there is no next
    /// part gets everything that was there all the while; some of it perhaps twice.
    fn read<'a>(&'a self, set: &'a str, from: Option<u64>) -> SetWork<'a, Part>;

    /// How many items end after this time.
    fn count<'a>(&'a self, set: &'a str, after_ms: u64) -> SetWork<'a, u64>;

    /// Takes out what ended before this time.
    fn trim<'a>(&'a self, set: &'a str, before_ms: u64) -> SetWork<'a, ()>;
}

/// The answer of a shared set on its way.
pub type SetWork<'a, T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send + 'a>>;

/// One text of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// What it says.
    pub text: Bytes,
    /// Until when it is there, in milliseconds since 1970; [`Item::LATEST`] at most.
    pub until_ms: u64,
}

/// Some of a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// In no order.
    pub items: Vec<Item>,
    /// Where the next part begins; `None` = this was the last.
    pub next: Option<u64>,
}

impl Item {
    /// The latest end: the largest number that Redis keeps exactly.
    pub const LATEST: u64 = (1 << 53) - 1;
}
