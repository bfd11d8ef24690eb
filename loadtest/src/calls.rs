//! The events that wait for an acknowledgement: numbered on the way out, answered at most once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::oneshot;

/// Every call of one client that is still open.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Vec<Value>>>>,
}

/// One of them. Dropping it forgets the call: a later answer goes nowhere.
#[derive(Debug)]
pub(crate) struct Call {
    calls: Arc<Calls>,
    number: u64,
    answer: oneshot::Receiver<Vec<Value>>,
}

impl Calls {
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.open().insert(number, sender);
        Call {
            calls: Arc::clone(self),
            number,
            answer,
        }
    }

    /// An answer nobody waits for any more is no error: its caller gave up.
    pub(crate) fn answer(&self, number: u64, values: Vec<Value>) {
        let waiting = self.open().remove(&number);
        if let Some(sender) = waiting {
            let _gave_up = sender.send(values);
        }
    }

    /// The connection is gone: no call will be answered.
    pub(crate) fn abandon(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Vec<Value>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The answer, or nothing when the connection ended before it came.
    pub(crate) async fn answer(mut self) -> Option<Vec<Value>> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.open().remove(&self.number);
    }
}
