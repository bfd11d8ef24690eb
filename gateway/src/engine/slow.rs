//! Clients that read more slowly than they are sent to.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What may become of an event for a client that it waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Slow {
    /// Nothing: when more would wait than may wait, the connection is closed.
    #[default]
    Disconnect,
    /// When more would wait than may wait, it is lost, the oldest first.
    DropOldest,
    /// The same; and while the client takes nothing, the next one with this key takes its place at the end.
    Latest(u64),
    /// While the client takes nothing and something waits for it, it is lost at once; otherwise as [`Slow::DropOldest`].
    Volatile,
}

/// Events that clients did not get because they read too slowly, one for each client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// More would have waited than may wait.
    pub dropped: usize,
    /// A newer one took the place.
    pub superseded: usize,
    /// They may be lost, and something waited already.
    pub volatile: usize,
}

/// Those of a node since they were last asked for.
#[derive(Debug, Default)]
pub(super) struct Losses {
    dropped: AtomicUsize,
    superseded: AtomicUsize,
    volatile: AtomicUsize,
}

impl Losses {
    pub(super) fn add(&self, lost: Lost) {
        // Nearly always it is nothing, and nobody else's memory is touched.
        if lost != Lost::default() {
            self.dropped.fetch_add(lost.dropped, Ordering::Relaxed);
            self.superseded.fetch_add(lost.superseded, Ordering::Relaxed);
            self.volatile.fetch_add(lost.volatile, Ordering::Relaxed);
        }
    }

    pub(super) fn take(&self) -> Lost {
        Lost {
            dropped: self.dropped.swap(0, Ordering::Relaxed),
            superseded: self.superseded.swap(0, Ordering::Relaxed),
            volatile: self.volatile.swap(0, Ordering::Relaxed),
        }
    }
}
