//! One event on its way to sockets: what is left of an envelope once it was accepted.

use crate::args::Args;
use crate::envelope::Envelope;
use crate::room::{EventName, RoomName};

/// An event for the sockets of some rooms, as it travels between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The rooms to reach. A socket in several of them gets the event once.
    pub rooms: Vec<RoomName>,
    /// Rooms and socket ids that are left out.
    pub except: Vec<String>,
    /// The Socket.IO namespace; begins with a slash.
    pub namespace: String,
    /// Whether the event may be lost for a socket that is behind.
    pub volatile: bool,
    /// The event that clients listen to.
    pub event: EventName,
    /// Its arguments.
    pub args: Args,
    /// When the publication was accepted, in milliseconds since 1970 by the clock of the node that accepted it. For
    /// the envelope of a backend that is the node which delivers it.
    pub published_at_ms: u64,
    /// Its place among everything that was published, if the bus gave it one: see [`Receipt::stamp`](crate::Receipt).
    pub stamp: Option<u64>,
    /// The trace that it belongs to (W3C Trace Context), if its publisher said so.
    pub trace: Option<u128>,
}

impl Publication {
    /// The publication that an envelope asks for.
    pub(crate) fn new(envelope: Envelope, published_at_ms: u64) -> Self {
        let Envelope {
            rooms,
            event,
            args,
            except,
            namespace,
            volatile,
            id: _,
            retain: _,
            count: _,
            trace,
        } = envelope;
        Self {
            rooms,
            except,
            namespace,
            volatile,
            event,
            args,
            published_at_ms,
            stamp: None,
            trace,
        }
    }
}
