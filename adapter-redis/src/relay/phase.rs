//! What a relay is: an event of a client for other clients, and what it begins or ends.
//!
//! Pure.

use std::time::Duration;

use crate::args::Args;
use crate::publication::Publication;
use crate::room::{EventName, RoomName};

/// An event of a client of this node, for other clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The rooms to reach. A socket in several of them gets the event once. Nobody is reached without any.
    pub rooms: Vec<RoomName>,
    /// Rooms and socket ids that are left out, for instance the client's own.
    pub except: Vec<String>,
    /// The Socket.IO namespace; begins with a slash.
    pub namespace: String,
    /// The event that clients listen to.
    pub event: EventName,
    /// Its arguments.
    pub args: Args,
}

/// What a relay is the beginning or the end of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing follows.
    #[default]
    Once,
    /// It begins something that has to end, or prolongs it.
    Begins(Box<Ending>),
    /// What began under this key is over.
    Ends {
        /// The key of [`Ending::key`].
        key: u64,
    },
}

/// How something ends that nobody ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which it is; unique on the node that relays. The same key again takes the place of what was said before, so that
    /// it belongs to the same event, rooms and exceptions each time.
    pub key: u64,
    /// It ends by itself after that, counted from the last relay with its key, in whole milliseconds. `None`: only by
    /// [`Phase::Ends`], or when its node dies.
    pub after: Option<Duration>,
    /// The arguments of the same event, for the same rooms with the same exceptions, when it ends by itself.
    pub args: Args,
}

impl Relay {
    pub(super) fn into_publication(self, published_at_ms: u64) -> Publication {
        let Self {
            rooms,
            except,
            namespace,
            event,
            args,
        } = self;
        Publication {
            rooms,
            except,
            namespace,
            volatile: false,
            event,
            args,
            published_at_ms,
            stamp: None,
            trace: None,
        }
    }
}

impl Ending {
    /// What is delivered when it ends by itself.
    pub(crate) fn of(&self, begun: &Publication) -> Publication {
        Publication {
            args: self.args.detached(),
            ..begun.clone()
        }
    }
}
