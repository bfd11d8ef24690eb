#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! | File | Holds |
//! |---|---|
//! | `room.rs`, `node.rs`, `channel.rs` | names: of rooms and events, of nodes, of Redis channels |
//! | `envelope.rs`, `args.rs`, `binary.rs`, `json.rs` | what a backend may publish, without reading its payload |
//! | `publication.rs`, `census.rs`, `question.rs`, `wire.rs` | what nodes say to each other |
//! | `bus.rs`, `bus/memory.rs`, `bus/redis.rs` | the seam to what carries bytes, and both sides of it |
//! | `sets.rs` | the seam to what nodes keep together, which both sides of the bus are, too |
//! | `interest.rs` | the rooms that a node wants to hear of |
//! | `intake.rs` | what arrived and waits to be applied, and the gaps in it |
//! | `local.rs` | the seam to this node's sockets |
//! | `cluster.rs`, `publish.rs`, `ask.rs`, `inbound.rs`, `outbox.rs`, `heartbeat.rs`, `members.rs`, `requests.rs`, `reach.rs` | a node among its peers |
//! | `relay.rs` | events of clients for others, and what ends by itself |
//! | `stream.rs` | streams that nodes read in turn |
//! | `ingest.rs` | from the stream of backends into rooms |
//! | `notices.rs` | who connected and disconnected, for backends |
//! | `foreign.rs` | from channels of others into rooms |
//! | `tap.rs` | what passes, for whoever looks |
//! | `metrics.rs` | every metric |

mod args;
mod ask;
mod binary;
mod bus;
mod census;
mod channel;
mod cluster;
mod envelope;
mod foreign;
mod heartbeat;
mod inbound;
mod ingest;
mod intake;
mod interest;
mod json;
mod local;
mod members;
mod metrics;
mod node;
mod notices;
mod outbox;
mod publication;
mod publish;
mod question;
mod reach;
mod relay;
mod requests;
mod room;
mod sets;
mod stream;
mod tap;
mod wire;

pub use args::{Args, ArgsError, PacketText};
pub use ask::Answers;
pub use binary::{BinaryError, MAX_ATTACHMENTS};
pub use bus::memory::{MemoryBus, MemoryHub};
#[cfg(feature = "test-util")]
pub use bus::redis::read_replies;
pub use bus::redis::{RedisBus, RedisConfig, RedisConfigError};
pub use bus::{Appending, Bus, BusError, BusState, Fields, Inbound, Publishing, Receipt, Storing};
pub use census::{Census, ClusterCensus};
pub use channel::Channel;
pub use cluster::{Cluster, ClusterConfig, PublishError, Published, Requested};
pub use envelope::{Envelope, EnvelopeError, Limits, MAX_ROOMS};
pub use foreign::{Translate, Untranslated};
pub use heartbeat::NodeInfo;
pub use ingest::Ingest;
pub use intake::{Arrival, Arrivals};
pub use interest::{Entering, Interest, Interests, Joining, Refused};
pub use local::{Admission, Gap, Later, Load, LocalSockets, NoSockets};
pub use metrics::{Metrics, Source};
pub use node::{NodeId, NodeIdError};
pub use notices::{
    About as SessionAbout, Announcement, Announcer, Batch as NoticeBatch, Kind as NoticeKind, Notice,
    NoticeMetrics, Notices, NoticesConfig, Outcome as NoticeOutcome, Outlet, What,
};
pub use publication::Publication;
pub use question::{Acks, Answer, MAX_LISTED, Question, SocketInfo, Target, Tokens};
pub use relay::{Ending, Phase, Relay, Relayed};
pub use room::{EventName, MAX_NAME_BYTES, NameError, RoomName};
pub use sets::{Item, MAX_ITEMS, Part, SetWork, SharedSets};
pub use stream::{Consume, GroupStream, Refused as RefusedEntry, StreamEntry, StreamReader, Verdict};
pub use tap::{Journey, Passage, Tap, Watch, Way};
pub use wire::{
    About, Frame, Handling, Message, SealError, SecretKeys, Stored, StoredBody, VERSION as WIRE_VERSION,
    WireError,
};
