//! The end of tokens: sessions are warned before it and sent away after it, all of them by one task of the node.
//!
//! Deadlines are times of the wall clock, because `exp` is one. The task sleeps by the runtime's clock and looks at the
//! wall clock again at least each [`LOOK`]: a machine whose clock was set ends nobody before the new time says so, and
//! lets nobody live on for longer than that.

mod deadlines;
mod schedule;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use tokio::{sync::Notify, task::yield_now, time::sleep};

use self::schedule::Schedule;
pub(crate) use self::{
    deadlines::{Deadlines, milliseconds},
    schedule::Ticket,
};
use crate::session::Session;

/// Between two looks at the wall clock, at most.
const LOOK: Duration = Duration::from_secs(30);

/// How many sessions are warned or sent away before connections have their turn.
const BATCH: usize = 64;

/// When whose token ends. Clones are the same.
#[derive(Clone)]
pub(crate) struct Expiry(Arc<Shared>);

struct Shared {
    schedule: Mutex<Schedule<Weak<Session>>>,
    /// Something is due before what the task waits for.
    sooner: Notify,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Expiry {
    /// Nobody's yet, by this wall clock.
    pub(crate) fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Expiry {
        Expiry(Arc::new(Shared {
            schedule: Mutex::default(),
            sooner: Notify::new(),
            clock: Box::new(clock),
        }))
    }

    /// The time of the wall clock.
    pub(crate) fn wall(&self) -> SystemTime {
        (self.0.clock)()
    }

    /// The same in milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let since = self.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Has a session asked what is due at a time.
    pub(crate) fn add(&self, at: u64, session: &Arc<Session>) -> Ticket {
        let mut schedule = self.schedule();
        let is_first = schedule.first().is_none_or(|first| at < first);
        let ticket = schedule.add(at, Arc::downgrade(session));
        drop(schedule);
        if is_first {
            self.0.sooner.notify_one();
        }
        ticket
    }

    /// Takes that back. What is due already may be on its way.
    pub(crate) fn remove(&self, ticket: Ticket) {
        self.schedule().remove(ticket);
    }

    /// How many deadlines there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.schedule().len()
    }

    /// Warns and sends away whoever it is time for. Never ends.
    pub(crate) async fn run(self) -> String {
        loop {
            let now = self.now();
            let (due, first) = {
                let mut schedule = self.schedule();
                (schedule.take_due(now, BATCH), schedule.first())
            };
            if due.is_empty() {
                let wait = first.map_or(LOOK, |at| Duration::from_millis(at.saturating_sub(now)).min(LOOK));
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.0.sooner.notified() => {}
                }
                continue;
            }
            let sessions = due
                .into_iter()
                .filter_map(|(ticket, session)| Some((ticket, session.upgrade()?)));
            join_all(sessions.map(async |(ticket, session)| session.due(ticket, now).await)).await;
            yield_now().await;
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<Weak<Session>>> {
        self.0.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expiry").field(&self.schedule().len()).finish()
    }
}
