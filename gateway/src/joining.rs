//! Rooms that are being entered: the bus is asked first, and clients wait for it. Everything that waits for a
//! room on request waits here, in one task of the node; so do clients that show another token, whose key may have to be
//! fetched.

#[cfg(test)]
pub(crate) mod bell;

use std::{pin::Pin, sync::Arc};

use adapter_redis::{Entering, Interest, Interests, Refused, RoomName};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use crate::{
    engine::{AckId, Keep},
    hooks::No,
    rules::InForce,
    session::Session,
};

/// Clients that may be on their way to the task. It takes them out at once, so this is filled only by a wave that
/// comes while the task has no processor.
const QUEUE: usize = 8192;

/// Lets into rooms: what a session needs to know of the bus.
pub(crate) trait Doors: Send + Sync + 'static {
    /// Asks for a room.
    fn enter(&self, room: &RoomName) -> Entry;
}

/// The answer of [`Doors`].
pub(crate) enum Entry {
    /// From now on nothing of the room is missed, for as long as this is kept.
    Now(Keep),
    /// That takes a while.
    Later(Opening),
}

/// A room that is being opened. Dropping it gives it up.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Keep, Refused>> + Send>>;

/// A room that is being opened, after the backend was asked for it where it has to be.
pub(crate) type Granting = Pin<Box<dyn Future<Output = Result<Keep, NotEntered>> + Send>>;

/// Why a room is not entered.
#[derive(Debug)]
pub(crate) enum NotEntered {
    /// The bus refuses it.
    Refused(Refused),
    /// The backend does not give it.
    No(No),
}

impl Doors for Interests {
    fn enter(&self, room: &RoomName) -> Entry {
        let keep = |interest: Interest| Box::new(interest) as Keep;
        match Interests::enter(self, room) {
            Entering::Now(interest) => Entry::Now(keep(interest)),
            Entering::Later(joining) => Entry::Later(Box::pin(async move { joining.wait().await.map(keep) })),
        }
    }
}

/// What a session waits for. What its client sends meanwhile waits behind it.
pub(crate) enum Step {
    Subscribe(Subscribing),
    Refresh(Refreshing),
}

/// Another token that is being verified.
pub(crate) struct Refreshing {
    pub(crate) token: String,
    pub(crate) ack: Option<AckId>,
}

/// A subscribe that waits for its room.
pub(crate) struct Subscribing {
    pub(crate) event: String,
    /// The client's argument: JSON text.
    pub(crate) argument: Box<str>,
    pub(crate) ack: Option<AckId>,
    pub(crate) room: RoomName,
    pub(crate) opening: Granting,
    /// The backend is asked, whose word stays whatever becomes of the policy.
    pub(crate) is_given: bool,
    /// What allowed it.
    pub(crate) decided_by: Arc<InForce>,
}

/// The way to the task. Clones are the same.
#[derive(Debug, Clone)]
pub struct Joining {
    queue: mpsc::Sender<Waiter>,
}

/// The task's end of it.
#[derive(Debug)]
pub struct Joins {
    queue: mpsc::Receiver<Waiter>,
}

struct Waiter {
    session: Arc<Session>,
    step: Step,
    gone: oneshot::Receiver<()>,
}

/// Both ends.
pub fn channel() -> (Joining, Joins) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Joining { queue: sender }, Joins { queue: receiver })
}

impl Joining {
    /// Lets a session wait for a step. What is given back has to live for as long as the session; nothing is joined
    /// after it was dropped.
    ///
    /// # Errors
    /// The step, when too many are on their way, or when the node is being stopped.
    pub(crate) fn wait(&self, session: Arc<Session>, step: Step) -> Result<oneshot::Sender<()>, Step> {
        let (here, gone) = oneshot::channel();
        let waiter = Waiter { session, step, gone };
        match self.queue.try_send(waiter) {
            Ok(()) => Ok(here),
            Err(error) => Err(error.into_inner().step),
        }
    }
}

impl Joins {
    /// Waits with all sessions. Ends when no session can come any more.
    pub async fn run(mut self) {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                waiter = self.queue.recv() => match waiter {
                    Some(waiter) => waiting.push(waiter.run()),
                    None => return,
                },
                Some(()) = waiting.next() => {}
            }
        }
    }
}

impl Waiter {
    /// Takes one step after the other, until nothing of the session waits any more.
    async fn run(self) {
        let Waiter {
            session,
            mut step,
            mut gone,
        } = self;
        loop {
            let taken = async {
                match &mut step {
                    Step::Subscribe(step) => {
                        let opened = (&mut step.opening).await;
                        session.entered(step, opened);
                    }
                    Step::Refresh(step) => session.refreshing(step).await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut gone => return,
                () = taken => {}
            }
            match session.resume() {
                Some(next) => step = next,
                None => return,
            }
        }
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiter").field(&self.session).finish()
    }
}
