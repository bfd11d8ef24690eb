//! What a node may ask all nodes about their sockets, and tell them to do with them.
//!
//! Pure. These travel as JSON inside a frame: they are rare, and a node of a later version may ask what this one does
//! not know yet, which it then answers as unsupported instead of misreading it.

use serde::{Deserialize, Serialize};

use crate::room::RoomName;

/// The most sockets that one node lists in one answer; `count` is exact nevertheless.
pub const MAX_LISTED: usize = 1_000;

/// Which sockets a question or an order is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Everybody in the room.
    Room(RoomName),
    /// All sockets of a user.
    User(String),
    /// One socket, by its public id.
    Session(String),
}

/// A question, or an order, to every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// How many sockets there are, and who they are.
    Sockets {
        /// Whom it is about.
        target: Target,
        /// How many each node lists, [`MAX_LISTED`] at most; 0 counts only.
        list: usize,
    },
    /// Puts sockets into rooms. Answered once they are in them.
    Join {
        /// Whom it is about.
        target: Target,
        /// The rooms.
        rooms: Vec<RoomName>,
    },
    /// Takes sockets out of rooms.
    Leave {
        /// Whom it is about.
        target: Target,
        /// The rooms.
        rooms: Vec<RoomName>,
    },
    /// Ends connections.
    Disconnect {
        /// Whom it is about.
        target: Target,
        /// For logs: why.
        reason: String,
        /// Whether clients come back by themselves: the transport is closed then, instead of the session.
        reconnect: bool,
    },
}

/// One node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// How many sockets the question found on the node, or how many the order was carried out on.
    pub count: u64,
    /// Hashes of the different users among them, sorted ([`Census::hash`](crate::Census::hash)); empty for orders.
    pub users: Vec<u64>,
    /// Some of them, if a list was asked for.
    pub sockets: Vec<SocketInfo>,
    /// The node does not know this question: it is of another version.
    pub unsupported: bool,
}

/// What a node tells about a socket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketInfo {
    /// The public id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// Its tenant, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// When it was let in, in milliseconds since 1970 by the clock of its node. Nodes of earlier versions do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at_ms: Option<u64>,
    /// The rooms that it is in, sorted.
    pub rooms: Vec<String>,
}

/// What the sockets of a node answered to an event that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Acks {
    /// The answers' arguments, each the text of a JSON array.
    pub acks: Vec<String>,
    /// How many sockets were reached and did not answer in time.
    pub missing: u64,
}

/// An answer to another node. Questions, and events that ask for acknowledgements, are numbered apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Answer(Answer),
    Acks(Acks),
}
