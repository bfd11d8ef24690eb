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

/// Which tokens a revocation is about. As JSON it is `{"jti":…}` or `{"user":…,"issued_before":…}`: between nodes, and as
/// the text of an item in Redis, where it must stay the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tokens {
    /// The one with this id.
    Jti {
        /// Its claim `jti`.
        jti: String,
    },
    /// A user's that were issued before a time, and those that do not say when they were.
    User {
        /// The user.
        user: String,
        /// In seconds since 1970.
        issued_before: u64,
    },
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
    /// Refuses tokens from now on, and ends the connections of those who came with one.
    Revoke {
        /// Which tokens.
        tokens: Tokens,
        /// For how long, in milliseconds since 1970.
        until_ms: u64,
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
    /// The node does not know this question, because it is of another version, or cannot carry the order out.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// They stand in Redis for weeks, and are read by nodes of other versions.
    #[test]
    fn revoked_tokens_are_written_in_one_way() {
        let jti = Tokens::Jti {
            jti: "a\"b".to_owned(),
        };
        let user = Tokens::User {
            user: "42".to_owned(),
            issued_before: 1_700_000_000,
        };
        for (tokens, text) in [
            (jti, r#"{"jti":"a\"b"}"#),
            (user.clone(), r#"{"user":"42","issued_before":1700000000}"#),
        ] {
            assert_eq!(serde_json::to_string(&tokens).unwrap(), text);
            assert_eq!(serde_json::from_str::<Tokens>(text).unwrap(), tokens);
        }
        let later = r#"{"v":2,"issued_before":1700000000,"user":"42","by":"somebody"}"#;
        assert_eq!(serde_json::from_str::<Tokens>(later).unwrap(), user);
        for unknown in ["{}", r#"{"user":"42"}"#, r#"{"jti":7}"#, "7", ""] {
            assert!(serde_json::from_str::<Tokens>(unknown).is_err(), "{unknown}");
        }
        let order = Question::Revoke {
            tokens: user,
            until_ms: 1,
        };
        let text = r#"{"ask":"revoke","tokens":{"user":"42","issued_before":1700000000},"until_ms":1}"#;
        assert_eq!(serde_json::to_string(&order).unwrap(), text);
        assert_eq!(serde_json::from_str::<Question>(text).unwrap(), order);
    }
}
