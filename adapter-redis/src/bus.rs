//! The seam to whatever carries bytes between nodes. `bus/redis.rs` and `bus/memory.rs` implement it and pass the same
//! contract suite (`tests/it/bus_contract.rs`).

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::watch;

use crate::channel::Channel;
use crate::interest::Interests;
use crate::room::RoomName;

pub(crate) mod memory;
pub(crate) mod redis;

/// Carries bytes to the nodes that want them.
///
/// Every node listens on [`Channel::Publish`], on [`Channel::Nodes`] and on its own [`Channel::Node`], on each
/// [`Channel::Foreign`] that it was told of, and on the [`Channel::Room`] of each room that its [`Bus::interests`] hold.
/// What arrives comes out of the [`Arrivals`](crate::Arrivals) that came with its bus.
///
/// Promised:
/// - **At most once.** A node gets a message once or not at all.
/// - **Order.** What one node publishes to one channel, each call begun after the one before has answered, arrives in
///   that order wherever it arrives. What is stored for a room arrives in the order of its stamps.
/// - **The publisher too.** A node gets its own messages back like everybody else's, if it listens.
/// - **While connected, receiving works.** [`BusState::Connected`] is only said after a message went through the bus
///   and came back to this node, and is withdrawn when that stops.
/// - **Live rooms.** Once an interest was granted while connected, everything published to its room from then on
///   arrives, until the link fails or the node is too slow.
/// - **Gaps are said.** Where messages may be missing, [`Arrival::Gap`](crate::Arrival::Gap) comes in their place:
///   after a link was made anew, and when the node was too slow.
///
/// Not promised:
/// - **Delivery.** A node that is not connected misses what is published meanwhile. A node that does not read fast
///   enough loses messages, which its bus counts (`roomcast_dropped_total`).
/// - **A common order** of what different nodes publish, or of one node's messages to different channels.
pub trait Bus: Send + Sync + 'static {
    /// Publishes to a channel and answers with the number of receivers that the bus counted, which says nothing of
    /// what they did with it. Never waits for a link to come back.
    ///
    /// Dropping the future does not take back what was sent.
    fn publish<'a>(&'a self, channel: &'a Channel, payload: Bytes) -> Publishing<'a>;

    /// Publishes a frame to a room in one step that decides about it: a repetition of `id` within ten minutes is not
    /// published again and gets the first one's answer, and the frame gets a stamp that is higher than all before it.
    /// It arrives with the stamp in front ([`wire`](crate::Stored)).
    ///
    /// Dropping the future does not take back what was sent.
    fn store<'a>(&'a self, room: &'a RoomName, frame: Bytes, id: Option<&'a str>) -> Storing<'a>;

    /// Appends an entry to a stream that backends read, of which about `most` entries are kept: the oldest go first.
    /// Answers with its place. What one node appends, each call begun after the one before, stands in that order.
    ///
    /// Dropping the future does not take back what was sent.
    fn append<'a>(&'a self, stream: &'a str, fields: Fields, most: u32) -> Appending<'a>;

    /// Puts a message of this node behind everything that has arrived, as if it had come back: for the time without a
    /// link. Whether there was room for it.
    fn loop_back(&self, channel: Channel, payload: Bytes) -> bool;

    /// The rooms that this node wants to hear of.
    fn interests(&self) -> &Interests;

    /// How the link is now, and a signal for each change.
    fn state(&self) -> watch::Receiver<BusState>;
}

/// The answer of [`Bus::publish`] on its way.
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<u64, BusError>> + Send + 'a>>;

/// The answer of [`Bus::store`] on its way.
pub type Storing<'a> = Pin<Box<dyn Future<Output = Result<Receipt, BusError>> + Send + 'a>>;

/// The answer of [`Bus::append`] on its way.
pub type Appending<'a> = Pin<Box<dyn Future<Output = Result<String, BusError>> + Send + 'a>>;

/// The fields of an entry of a stream, in their order.
pub type Fields = Vec<(&'static str, Bytes)>;

/// What became of a frame that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its stamp: microseconds since 1970 by the clock of the bus, and higher than those before it.
    pub stamp: u64,
    /// How many receivers the bus counted.
    pub receivers: u64,
    /// It was there already, by its id: nothing was published, and this is the first one's answer.
    pub repeated: bool,
}

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Where it was published.
    pub channel: Channel,
    /// What was published.
    pub payload: Bytes,
}

/// How the link to the bus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BusState {
    /// There was no link yet; one is being made.
    Connecting,
    /// Messages go out and come in.
    Connected,
    /// There was a link, and it is being made again.
    Reconnecting,
    /// The other side answers but refuses us (a wrong password, an ACL). It is tried again all the same, since somebody
    /// may mend it there.
    Failed,
}

/// Why a message was not published, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// There is no link. Nothing was sent.
    #[error("the bus is not connected")]
    Disconnected,
    /// No answer came. Whether it was published is unknown.
    #[error("the bus did not answer in time")]
    Timeout,
    /// The bus answered that it will not. Nothing was published.
    #[error("the bus refused the message: {0}")]
    Refused(String),
}

impl BusState {
    /// The name in lower case, as in logs and in `/stats`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
        }
    }
}
