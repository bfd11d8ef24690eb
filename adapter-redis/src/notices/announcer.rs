//! Where sessions say that they began and that they are over. Neither waits for anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::ledger::{About, Batch, Ended, Ledger};
use super::metrics::NoticeMetrics;

/// Takes down who connects and who disconnects. Clones are the same; the default is off.
#[derive(Clone, Default)]
pub struct Announcer(Option<Arc<Desk>>);

/// What is taken down, for whoever passes it on.
pub(crate) struct Desk {
    ledger: Mutex<Ledger>,
    changed: Notify,
    pub(crate) metrics: NoticeMetrics,
}

/// One session that was announced: its end is announced exactly once, at the latest when this is dropped.
#[derive(Debug)]
pub struct Announcement {
    desk: Option<Arc<Desk>>,
    key: u64,
}

/// Passes notices on without Redis: one batch after the other, each until [`Outlet::done`] says that it is over.
pub struct Outlet(Arc<Desk>);

impl Announcer {
    /// Nobody wants to know.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Notices that somebody else passes on, from the memory of this node.
    #[must_use]
    pub fn in_memory(metrics: NoticeMetrics) -> (Self, Outlet) {
        let desk = Desk::new(metrics);
        (Self(Some(Arc::clone(&desk))), Outlet(desk))
    }

    pub(crate) fn new(metrics: NoticeMetrics) -> (Self, Arc<Desk>) {
        let desk = Desk::new(metrics);
        (Self(Some(Arc::clone(&desk))), desk)
    }

    /// Announces a session that was let in. `about` is asked only where somebody wants to know.
    pub fn announce(&self, about: impl FnOnce() -> About) -> Announcement {
        let key = self.0.as_ref().map_or(0, |desk| {
            let key = desk.ledger().begin(about());
            desk.touched();
            key
        });
        Announcement {
            desk: self.0.clone(),
            key,
        }
    }
}

impl Announcement {
    /// The session is over. Only the first word of it counts.
    pub fn end(&self, reason: &'static str) {
        if let Some(desk) = &self.desk {
            let ended = desk.ledger().end(self.key, reason, now_ms());
            if ended == Ended::Dropped {
                desk.metrics.dropped(2);
            }
            desk.touched();
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.end("never_connected");
    }
}

impl Desk {
    fn new(metrics: NoticeMetrics) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::default(),
            changed: Notify::new(),
            metrics,
        })
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, if there is something to write.
    pub(crate) fn batch(&self, most: usize) -> Option<Batch> {
        self.ledger().batch(most)
    }

    pub(crate) fn settle(&self) {
        self.ledger().settle();
        self.count();
    }

    /// Completes when something may have to be written since this was called last.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All sessions are over, and none waits for it to be said.
    pub(crate) fn end_all(&self, reason: &'static str) {
        self.ledger().end_all(reason, now_ms());
        self.touched();
    }

    fn touched(&self) {
        self.count();
        self.changed.notify_one();
    }

    fn count(&self) {
        let waiting = self.ledger().waiting();
        self.metrics.waiting(waiting);
    }
}

impl Outlet {
    /// The next notices, up to `most` and at least those of one session. Nothing is lost when the future is dropped.
    pub async fn next(&self, most: usize) -> Batch {
        loop {
            if let Some(batch) = self.0.batch(most) {
                return batch;
            }
            self.0.changed().await;
        }
    }

    /// What [`Outlet::next`] gave was passed on, or will never be.
    pub fn done(&self) {
        self.0.settle();
    }

    /// All sessions are over.
    pub fn end_all(&self, reason: &'static str) {
        self.0.end_all(reason);
    }

    /// Whether there is nothing to pass on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.ledger().waiting() == 0
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Announcer").field(&self.0.is_some()).finish()
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outlet")
    }
}
