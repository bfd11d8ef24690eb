//! Every Redis channel name is built here, and read back here.
//!
//! Pure. With the prefix `roomcast`:
//!
//! | Channel | Carries | Who publishes |
//! |---|---|---|
//! | `roomcast:publish` | JSON envelopes | backends |
//! | `roomcast:nodes` | frames for all nodes | nodes |
//! | `roomcast:node:<id>` | frames for one node | nodes |

use crate::node::NodeId;

/// A channel of the bus, without the prefix that keeps two clusters on one Redis apart.
///
/// Not here yet: `<prefix>:{room}`, one channel for each room. The braces are why no name below can collide with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Channel {
    /// JSON envelopes from backends, for every node.
    Publish,
    /// Frames from a node to all nodes.
    Nodes,
    /// Frames from a node to this one.
    Node(NodeId),
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
        }
    }

    /// Which channel a name in Redis stands for; `None` when it is not one of ours.
    #[must_use]
    pub fn parse(prefix: &str, name: &str) -> Option<Self> {
        match name.strip_prefix(prefix)?.strip_prefix(':')? {
            PUBLISH => Some(Self::Publish),
            NODES => Some(Self::Nodes),
            other => NodeId::parse(other.strip_prefix(NODE)?).ok().map(Self::Node),
        }
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

    #[test]
    fn names_are_frozen() {
        assert_eq!(Channel::Publish.name("roomcast"), "roomcast:publish");
        assert_eq!(Channel::Nodes.name("roomcast"), "roomcast:nodes");
        assert_eq!(
            Channel::Node(node()).name("roomcast"),
            "roomcast:node:0123456789abcdef"
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
            "roomcast:{user:42}",
        ] {
            assert_eq!(Channel::parse("roomcast", name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back(prefix in "[a-z:.]{1,12}") {
            for channel in [Channel::Publish, Channel::Nodes, Channel::Node(node())] {
                prop_assert_eq!(Channel::parse(&prefix, &channel.name(&prefix)), Some(channel));
            }
        }

        #[test]
        fn parsing_is_total(prefix in any::<String>(), name in any::<String>()) {
            let _ = Channel::parse(&prefix, &name);
        }
    }
}
