//! The node as a whole: where it listens, its policy.

use std::net::SocketAddr;

use crate::{
    engine,
    settings::{Key, Kind, Reader},
};

/// The policy's file.
pub(super) const POLICY: &str = "policy";
/// The policy that is tried out.
pub(super) const SHADOW_POLICY: &str = "shadow_policy";
const LISTEN: &str = "listen";

/// The keys of the node as a whole, of the engine (which knows nothing of settings), and those that are planned.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: LISTEN,
        kind: Kind::Address,
        default: "0.0.0.0:3000",
        doc: "Address of the public listener: Socket.IO and `/healthz`, nothing else.",
    },
    Key {
        path: POLICY,
        kind: Kind::Path,
        default: "",
        doc: "The policy file; `builtin:whatsapp-crm` is the bundled example. Required.",
    },
    Key {
        path: SHADOW_POLICY,
        kind: Kind::Path,
        default: "",
        doc: "A policy file to try out: it is asked beside `policy`, and only reported where it would decide differently (metric `roomcast_policy_shadow_total`, and the log).",
    },
    Key {
        path: "history.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "recovery.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "presence.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "interop.node.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "cluster.listen",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "cluster.advertise",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: engine::PING_INTERVAL,
        kind: Kind::Duration,
        default: "25s",
        doc: "Time between two pings to a client.",
    },
    Key {
        path: engine::PING_TIMEOUT,
        kind: Kind::Duration,
        default: "20s",
        doc: "How long a client may take to answer a ping.",
    },
    Key {
        path: engine::WRITE_DEADLINE,
        kind: Kind::Duration,
        default: "30s",
        doc: "How long a client may take nothing of what is written to it before its connection is closed. Long enough for a phone in a tunnel.",
    },
    Key {
        path: engine::TRANSPORTS,
        kind: Kind::List,
        default: "websocket,polling",
        doc: "Transports on offer; polling needs sticky sessions at the load balancer.",
    },
    Key {
        path: engine::PATH,
        kind: Kind::String,
        default: "/socket.io",
        doc: "Path of the Socket.IO endpoint.",
    },
    Key {
        path: engine::COMPRESSION,
        kind: Kind::String,
        default: "off",
        doc: "Compression of websocket messages for clients that ask for it: `permessage-deflate`, or `off`. When it pays: docs/operations.md.",
    },
    Key {
        path: engine::COMPRESSION_THRESHOLD,
        kind: Kind::Size,
        default: "1KiB",
        doc: "With `engine.compression`: a message to clients, or a binary part of it, is compressed from this size on.",
    },
];

/// What the node as a whole is told.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The public listener.
    pub listen: SocketAddr,
}

impl NodeConfig {
    /// Reads this module's part.
    pub(super) fn read(reader: &mut Reader) -> NodeConfig {
        NodeConfig {
            listen: reader.address(LISTEN),
        }
    }
}
