#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! | File | Holds |
//! |---|---|
//! | `room.rs`, `node.rs`, `channel.rs` | names: of rooms and events, of nodes, of Redis channels |
//! | `envelope.rs`, `args.rs`, `binary.rs`, `json.rs` | what a backend may publish, without reading its payload |
//! | `publication.rs`, `census.rs`, `wire.rs` | what nodes say to each other |
//! | `bus.rs`, `bus/memory.rs`, `bus/redis.rs` | the seam to what carries bytes, and both sides of it |
//! | `local.rs` | the seam to this node's sockets |
//! | `cluster.rs`, `inbound.rs`, `outbox.rs`, `members.rs`, `requests.rs` | a node among its peers |
//! | `metrics.rs` | every metric |

mod args;
mod binary;
mod bus;
mod census;
mod channel;
mod cluster;
mod envelope;
mod inbound;
mod json;
mod local;
mod members;
mod metrics;
mod node;
mod outbox;
mod publication;
mod requests;
mod room;
mod wire;

pub use args::{Args, PacketText};
pub use binary::{BinaryError, MAX_ATTACHMENTS};
pub use bus::memory::{MemoryBus, MemoryHub};
pub use bus::redis::{RedisBus, RedisConfig, RedisConfigError};
pub use bus::{Bus, BusError, BusState, Inbound, Publishing};
pub use census::{Census, ClusterCensus};
pub use channel::Channel;
pub use cluster::{Cluster, ClusterConfig, PublishError, Published};
pub use envelope::{Envelope, EnvelopeError, Limits, MAX_ROOMS};
pub use local::LocalSockets;
pub use metrics::{Metrics, Source};
pub use node::{NodeId, NodeIdError};
pub use publication::Publication;
pub use room::{EventName, MAX_NAME_BYTES, NameError, RoomName};
pub use wire::{Frame, Message, VERSION as WIRE_VERSION, WireError};
