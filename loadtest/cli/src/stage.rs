//! Where the run is: told by one, followed by all clients.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// What everybody does now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Clients connect.
    Gathering,
    /// An act of the plan is on.
    Act {
        index: usize,
        began: Instant,
        /// The same moment on the wall clock.
        wall: u64,
    },
    /// Everybody goes.
    Over,
}

#[derive(Debug)]
pub(crate) struct Stage {
    phase: watch::Sender<Phase>,
    taken: AtomicUsize,
    opened: Mutex<Option<Instant>>,
    done: AtomicU64,
    someone: Notify,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Gathering),
            taken: AtomicUsize::new(0),
            opened: Mutex::new(None),
            done: AtomicU64::new(0),
            someone: Notify::new(),
        }
    }
}

impl Stage {
    /// A number of one's own: 0, 1, 2, …
    pub(crate) fn take_number(&self) -> usize {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Tells everybody. Nobody is done with it yet.
    pub(crate) fn begin(&self, phase: Phase) {
        self.done.store(0, Ordering::Relaxed);
        self.phase.send_replace(phase);
    }

    /// When the first of a schedule of connects is due: a moment after the first has asked.
    pub(crate) fn opened(&self, now: Instant) -> Instant {
        const AHEAD: Duration = Duration::from_millis(500);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened.get_or_insert(now + AHEAD)
    }

    /// One more is done with what the phase asks of it.
    pub(crate) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.someone.notify_one();
    }

    /// Waits until so many are done, or until that time; who interrupts is asked now and then.
    pub(crate) async fn wait_done(&self, many: u64, until: Instant, interrupted: impl Fn() -> bool) -> bool {
        const AGAIN: Duration = Duration::from_millis(100);
        while self.done.load(Ordering::Relaxed) < many {
            let now = Instant::now();
            if now >= until || interrupted() {
                return false;
            }
            let _woken = timeout_at(until.min(now + AGAIN), self.someone.notified()).await;
        }
        true
    }
}
