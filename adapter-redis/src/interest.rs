//! The rooms that a node wants to hear of: what its sockets are in, and which of that the bus is subscribed to.
//!
//! Whoever wants a room [`enter`]s it and
//! holds the [`Interest`] for as long; the bus takes from here what it has to subscribe to and to leave, and says what
//! was confirmed. A room that nobody wants any more is kept for a while, so that churn does not reach Redis.
//!
//! [`enter`]: Interests::enter

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::room::RoomName;

mod table;

use table::{Entered, Table, Waiters};

/// The rooms of one node. Clones are the same.
#[derive(Clone)]
pub struct Interests {
    shared: Arc<Shared>,
}

/// One holder's interest in a room; dropping it ends it.
pub struct Interest {
    shared: Arc<Shared>,
    room: RoomName,
}

/// The answer to [`Interests::enter`].
pub enum Entering {
    /// Everything that is published from now on arrives.
    Now(Interest),
    /// The bus is asked.
    Later(Joining),
}

/// An interest that waits for its subscription. Dropping it gives it up.
pub struct Joining {
    interest: Interest,
    confirmed: oneshot::Receiver<Result<(), Refused>>,
}

/// The bus refuses the subscription: it may not be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bus refuses the subscription")]
pub struct Refused;

struct Shared {
    table: Mutex<Table>,
    linger: Duration,
    /// There is something to subscribe to, or a first room to leave.
    changed: Notify,
}

// === impl Interests ===

impl Interests {
    /// No rooms yet, and no link. A room is left when nobody wanted it for `linger`.
    #[must_use]
    pub fn new(linger: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                table: Mutex::default(),
                linger,
                changed: Notify::new(),
            }),
        }
    }

    /// Wants a room. While there is no link that is answered at once: there is nothing that could be missed, and the
    /// subscription follows with the link.
    #[must_use]
    pub fn enter(&self, room: &RoomName) -> Entering {
        let Entered { room, ask, waits } = self.table().enter(room);
        if ask {
            self.shared.changed.notify_one();
        }
        let interest = Interest {
            shared: Arc::clone(&self.shared),
            room,
        };
        match waits {
            None => Entering::Now(interest),
            Some(confirmed) => Entering::Later(Joining { interest, confirmed }),
        }
    }

    /// As [`Interests::enter`], and waits.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn hold(&self, room: &RoomName) -> Result<Interest, Refused> {
        match self.enter(room) {
            Entering::Now(interest) => Ok(interest),
            Entering::Later(joining) => joining.wait().await,
        }
    }

    /// How many rooms the node is, or wants to be, subscribed to.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether there are no rooms.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The room of that name with somebody in it, without copying the name.
    pub(crate) fn held(&self, name: &str) -> Option<RoomName> {
        self.table().held(name)
    }

    /// Whether messages of the room reach the node.
    pub(crate) fn is_live(&self, name: &str) -> bool {
        self.table().is_live(name)
    }

    // What follows is for the bus.

    /// Waits until there may be something to do.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Up to `most` rooms to subscribe to, which are then with the bus.
    pub(crate) fn take_wanted(&self, most: usize) -> Vec<RoomName> {
        self.table().take_wanted(most)
    }

    /// Up to `most` rooms to leave by now, which are then forgotten; and when to ask again.
    pub(crate) fn take_idle(&self, now: Instant, most: usize) -> (Vec<RoomName>, Option<Instant>) {
        self.table().take_idle(now, self.shared.linger, most)
    }

    /// The bus is subscribed to the room. Without effect when nobody asked: it was left meanwhile.
    pub(crate) fn confirmed(&self, name: &str) {
        let waiters = self.table().confirmed(name);
        wake(waiters, Ok(()));
    }

    /// The bus refuses the room. It is asked again with the next one who wants it, or with the next link.
    pub(crate) fn refused(&self, name: &str) {
        let waiters = self.table().refused(name);
        wake(waiters, Err(Refused));
    }

    /// The bus lost the subscription and has to be asked again. Whether anybody was in the room.
    pub(crate) fn lost(&self, name: &str) -> bool {
        let lost = self.table().lost(name);
        if lost.is_some() {
            self.shared.changed.notify_one();
        }
        lost == Some(true)
    }

    /// The link may have lost subscriptions: all of them are to be asked for again. Rooms stay live meanwhile.
    pub(crate) fn live(&self) -> Vec<RoomName> {
        self.table().live()
    }

    /// There is no link any more: nobody waits longer.
    pub(crate) fn link_down(&self) {
        let waiters = self.table().link_down();
        wake(waiters, Ok(()));
    }

    /// A link is being made, which everything is wanted of.
    pub(crate) fn link_opening(&self) {
        self.table().link_opening();
    }

    /// Says that there is a link, unless something is still to be subscribed to or confirmed.
    pub(crate) fn try_link_up(&self) -> bool {
        self.table().try_link_up()
    }

    /// From now on whatever is wanted is granted at once.
    pub(crate) fn link_instant(&self) {
        let waiters = self.table().link_instant();
        wake(waiters, Ok(()));
    }

    /// From now on nothing is confirmed until [`Interests::confirmed`] says so (for tests).
    #[cfg(feature = "test-util")]
    pub(crate) fn link_up_by_hand(&self) {
        self.table().link_up();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, room: &RoomName) {
        if self.table().leave(room, Instant::now(), self.linger) {
            self.changed.notify_one();
        }
    }
}

fn wake(waiters: Waiters, result: Result<(), Refused>) {
    for waiter in waiters {
        // Who does not wait any more has left already.
        let _ = waiter.send(result);
    }
}

// === impl Interest ===

impl Interest {
    /// The room.
    #[must_use]
    pub fn room(&self) -> &RoomName {
        &self.room
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.shared.leave(&self.room);
    }
}

impl std::fmt::Debug for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Interest").field(&self.room).finish()
    }
}

impl Joining {
    /// Waits until the subscription is confirmed, or until there is no link.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn wait(self) -> Result<Interest, Refused> {
        match self.confirmed.await {
            Ok(Ok(())) | Err(_) => Ok(self.interest),
            Ok(Err(refused)) => Err(refused),
        }
    }
}

impl std::fmt::Debug for Joining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Joining").field(&self.interest.room).finish()
    }
}
impl std::fmt::Debug for Entering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(interest) => f.debug_tuple("Now").field(interest).finish(),
            Self::Later(joining) => joining.fmt(f),
        }
    }
}

impl std::fmt::Debug for Interests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interests").field("rooms", &self.len()).finish()
    }
}
