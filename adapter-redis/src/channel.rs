//! Every Redis channel name is built here, and read back here.
//!
//! Pure. With the prefix `roomcast`:
//!
//! | Channel | Carries | Who publishes |
//! |---|---|---|
//! | `roomcast:publish` | JSON envelopes | backends |
//! | `roomcast:nodes` | frames for all nodes | nodes |
//! | `roomcast:node:<id>` | frames for one node | nodes |
//! | `roomcast:{<room>}` | publications for one room | the Redis function, nodes |
//!
//! The last is sharded (`SPUBLISH`, `SSUBSCRIBE`): it lies in the same slot of a Redis Cluster as the keys of its room.
//! Channels of others have names of their own, which never begin with the prefix.

use std::sync::Arc;

use crate::node::NodeId;
use crate::room::RoomName;

/// A channel of the bus, without the prefix that keeps two clusters on one Redis apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Channel {
    /// JSON envelopes from backends, for every node.
    Publish,
    /// Frames from a node to all nodes.
    Nodes,
    /// Frames from a node to this one.
    Node(NodeId),
    /// Publications for one room. The braces are why no other name can collide with it.
    Room(RoomName),
    /// Messages of any shape from somebody who knows nothing of us, for every node. The name is the whole name in Redis.
    Foreign(Arc<str>),
}

const PUBLISH: &str = "publish";
const NODES: &str = "nodes";
const NODE: &str = "node:";

impl Channel {
    /// The name in Redis.
    #[must_use]
    pub fn name(&self, prefix: &str) -> String {
        match self {
            Self::Publish => format!("{prefix}:{PUBLISH}"),
            Self::Nodes => format!("{prefix}:{NODES}"),
            Self::Node(id) => format!("{prefix}:{NODE}{id}"),
            Self::Room(room) => format!("{prefix}:{{{room}}}"),
            Self::Foreign(name) => name.to_string(),
        }
    }

    /// Which channel a name in Redis stands for; `None` when it is not one of ours. Never [`Channel::Foreign`].
    #[must_use]
    pub fn parse(prefix: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?.strip_prefix(':')?;
        match rest {
            PUBLISH => Some(Self::Publish),
            NODES => Some(Self::Nodes),
            _ => match Self::room(rest) {
                Some(room) => RoomName::new(room).ok().map(Self::Room),
                None => NodeId::parse(rest.strip_prefix(NODE)?).ok().map(Self::Node),
            },
        }
    }

    /// Whether it is sharded, so that it needs `SPUBLISH` and `SSUBSCRIBE`.
    pub(crate) fn is_sharded(&self) -> bool {
        matches!(self, Self::Room(_))
    }

    /// The room's name in the name of its channel, which is not checked.
    pub(crate) fn room_in<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
        Self::room(name.strip_prefix(prefix)?.strip_prefix(':')?)
    }

    /// Whether the name is kept for channels of ours, those of later versions included.
    pub(crate) fn is_reserved(prefix: &str, name: &str) -> bool {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(':'))
    }

    fn room(rest: &str) -> Option<&str> {
        rest.strip_prefix('{')?.strip_suffix('}')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn node() -> NodeId {
        NodeId::parse("0123456789abcdef").unwrap()
    }

    fn room() -> Channel {
        Channel::Room(RoomName::new("user:42").unwrap())
    }

    #[test]
    fn names_are_frozen() {
        assert_eq!(Channel::Publish.name("roomcast"), "roomcast:publish");
        assert_eq!(Channel::Nodes.name("roomcast"), "roomcast:nodes");
        assert_eq!(
            Channel::Node(node()).name("roomcast"),
            "roomcast:node:0123456789abcdef"
        );
        assert_eq!(room().name("roomcast"), "roomcast:{user:42}");
        assert_eq!(
            Channel::Foreign("crm.events".into()).name("roomcast"),
            "crm.events"
        );
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in [
            "",
            "roomcast",
            "roomcast:",
            "roomcast:publishx",
            "roomcast:node:short",
            "roomcastx:publish",
            "other:nodes",
            "roomcast:{}",
            "roomcast:{user:42",
            "roomcast:{user:{42}",
            "roomcast:user:42",
        ] {
            assert_eq!(Channel::parse("roomcast", name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back(prefix in "[a-z:.]{1,12}") {
            for channel in [Channel::Publish, Channel::Nodes, Channel::Node(node()), room()] {
                prop_assert_eq!(Channel::parse(&prefix, &channel.name(&prefix)), Some(channel));
            }
        }

        #[test]
        fn parsing_is_total(prefix in any::<String>(), name in any::<String>()) {
            let _ = Channel::parse(&prefix, &name);
        }

        /// Also for prefixes that hold a colon, as in `a:` and `a`.
        #[test]
        fn what_is_ours_is_reserved_and_never_foreign(prefix in "[a:]{1,3}", name in "[a:]{0,4}(:publish|:nodes|:\\{r\\})?") {
            if let Some(channel) = Channel::parse(&prefix, &name) {
                prop_assert!(Channel::is_reserved(&prefix, &name));
                prop_assert!(!matches!(channel, Channel::Foreign(_)));
            }
        }
    }
}
