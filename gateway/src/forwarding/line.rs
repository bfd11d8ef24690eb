//! One client's events for the webhook: they go one after the other, in its order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Message, asker::Asker, load::Held};

/// How many wait behind the one that is on its way.
const MAX_WAITING: usize = 16;

/// An event on its way.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) message: Message,
    pub(super) asker: Asker,
    /// Whether it is over with the backend's answer, or as soon as the backend has it.
    pub(super) is_awaited: bool,
    pub(super) is_idempotent: bool,
    /// How long the answer is waited for.
    pub(super) until: Instant,
    /// The client is gone.
    pub(super) gone: CancellationToken,
    /// Its share of what may be on its way.
    pub(super) _held: Held,
}

/// What one client has on its way.
#[derive(Default)]
pub(crate) struct Line {
    gone: CancellationToken,
    count: Arc<AtomicUsize>,
    /// What waits, while one is on its way.
    calls: Mutex<Option<VecDeque<Job>>>,
}

impl Line {
    /// The client is gone, and waits for no answer. What it sent goes its way.
    pub(crate) fn end(&self) {
        self.gone.cancel();
    }

    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    pub(super) fn count(&self) -> &Arc<AtomicUsize> {
        &self.count
    }

    /// Puts a call at the end; given back, it is its turn at once.
    ///
    /// # Errors
    /// The call, when too many wait.
    #[allow(clippy::result_large_err, reason = "it goes where it came from")]
    pub(super) fn begin(&self, job: Job) -> Result<Option<Job>, Job> {
        let mut calls = self.calls();
        match &mut *calls {
            None => {
                *calls = Some(VecDeque::new());
                Ok(Some(job))
            }
            Some(waiting) if waiting.len() < MAX_WAITING => {
                waiting.push_back(job);
                Ok(None)
            }
            Some(_) => Err(job),
        }
    }

    /// The next one, when the one before is over.
    pub(super) fn next(&self) -> Option<Job> {
        let mut calls = self.calls();
        let next = calls.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *calls = None;
        }
        next
    }

    fn calls(&self) -> MutexGuard<'_, Option<VecDeque<Job>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Line").field(&self.count).finish()
    }
}
