//! The Socket.IO engine: bytes, packets, sockets and the rooms of this node. It knows neither tokens nor Redis
//! nor what a room means, and imports nothing of the rest of the gateway.
//!
//! Two traits point outwards: [`Application`] decides about connections, [`Member`] is one connection's
//! counterpart. [`Sockets`] points inwards: everything the rest may do with sockets.
//!
//! From the wire upwards: `stream` accepts connections and serves HTTP, `transport` turns requests into sessions,
//! `websocket`, `engine_io` and `socket_io` are the protocols without any I/O, `connection` is one client's session, `hub`
//! what all have in common, `lanes` who writes to many.

mod activity;
mod asking;
mod backlog;
mod connection;
pub mod engine_io;
mod event;
mod hub;
mod ids;
mod lanes;
mod opening;
mod rooms;
mod slow;
pub mod socket_io;
mod sockets;
mod stream;
mod timers;
mod transport;
pub mod websocket;

use std::{fmt, future::Future, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

pub use activity::Activity;
pub use asking::{Asked, Outcome};
pub use event::{Event, Kept, Malformed};
pub use hub::Engine;
pub use opening::Held;
pub use slow::{Lost, Slow};
pub use sockets::{Audience, Broadcast, Sockets};
pub use stream::{Connections, Listener, Peer, Security, TlsHandshake, serve};
pub use transport::routes;

/// Configuration keys of the engine, by name; the gateway's configuration reads them.
pub const PING_INTERVAL: &str = "engine.ping_interval";
/// See [`Config::ping_timeout`].
pub const PING_TIMEOUT: &str = "engine.ping_timeout";
/// See [`Config::websocket`] and [`Config::polling`].
pub const TRANSPORTS: &str = "engine.transports";
/// See [`Config::path`].
pub const PATH: &str = "engine.path";

/// See [`Config::write_deadline`].
pub const WRITE_DEADLINE: &str = "engine.write_deadline";
/// See [`Config::compression`].
pub const COMPRESSION: &str = "engine.compression";
/// See [`Config::compression`].
pub const COMPRESSION_THRESHOLD: &str = "engine.compression_threshold";

/// Settings of the protocol.
#[derive(Debug, Clone)]
pub struct Config {
    /// Time between two pings.
    pub ping_interval: Duration,
    /// How long a client may take to answer one.
    pub ping_timeout: Duration,
    /// The path of the endpoint, without a trailing slash.
    pub path: String,
    /// Whether the websocket transport is offered.
    pub websocket: bool,
    /// Whether the long-polling transport is offered.
    pub polling: bool,
    /// Bytes of one message from a client, at most; 0 = no limit.
    pub max_payload: usize,
    /// Bytes that may wait for one client, at most. One message may always wait.
    pub max_outbound: usize,
    /// From how many bytes on a message is compressed, for websockets whose clients want that; `None` = none is.
    pub compression: Option<usize>,
    /// How long a client may take nothing while something waits for it.
    pub write_deadline: Duration,
}

/// A connected socket, unique on this node while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(ids::Id);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for SocketId {
    type Err = NoSocketId;

    fn from_str(text: &str) -> Result<SocketId, NoSocketId> {
        text.parse().map(SocketId).map_err(|_| NoSocketId)
    }
}

/// The text is no socket's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSocketId;

/// Something that is held for a room for as long as it has members on this node. The engine does not know what.
pub type Keep = Box<dyn Send + Sync>;

/// What a client says when it connects.
#[derive(Debug)]
pub struct Handshake<'a> {
    /// The socket that it will be.
    pub socket: SocketId,
    /// The payload of the CONNECT packet; an empty object when there was none.
    pub auth: Value,
    /// The request that opened the session.
    pub request: &'a Parts,
    /// The other end of the TCP connection.
    pub peer: Option<SocketAddr>,
}

/// Decides about connections.
pub trait Application: Send + Sync + 'static {
    /// A connection's counterpart.
    type Member: Member;

    /// Admits a client with the rooms that it is in from the start, or refuses it. An admitted
    /// member is told [`Member::gone`] exactly once, whatever happens afterwards.
    fn connect(
        &self,
        handshake: Handshake<'_>,
    ) -> impl Future<Output = Result<Admitted<Self::Member>, Refused>> + Send;
}

/// Why a client is not let in, as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// For people.
    pub message: String,
    /// For programs.
    pub data: Option<Value>,
}

/// A connection that was let in.
pub struct Admitted<M> {
    /// The counterpart.
    pub member: Arc<M>,
    /// The rooms, each with what is kept for it; the client is in all of them before it sees `connect`.
    pub rooms: Vec<(Arc<str>, Keep)>,
    /// What lets it go on where it was, now or later; `None` = it begins anew each time.
    pub recovery: Option<Recovery>,
}

/// Connection state recovery, as unmodified clients have it: who comes back with the `pid` that it was told, and is told
/// the same again, has recovered. Which one it brings, and from where on it missed something, is in [`Handshake::auth`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The secret by which the client is known when it comes back.
    pub pid: String,
    /// What it missed: it gets these before it is told that it is in, so that it sees them before `connect`.
    pub missed: Vec<Packet>,
}

impl<M: fmt::Debug> fmt::Debug for Admitted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rooms: Vec<&str> = self.rooms.iter().map(|(room, _)| &**room).collect();
        f.debug_struct("Admitted")
            .field("member", &self.member)
            .field("rooms", &rooms)
            .finish()
    }
}

/// One connection's counterpart. Calls for one socket come one after the other, in the order of the client.
pub trait Member: Send + Sync + 'static {
    /// An event came in. Must not block: the connection's reader waits for it.
    fn event(self: &Arc<Self>, event: Event<'_>, ack: Option<AckId>);
    /// An event came in that cannot be read.
    fn malformed(&self, problem: Malformed);
    /// The connection is over.
    fn gone(&self, reason: CloseReason);
}

/// The number under which a client waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct AckId(i64);

/// The arguments of an event or an ack: a JSON array as text, with Socket.IO placeholders for the attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// `["event",…]`, or `[…]` for an ack.
    pub text: String,
    /// The binary parts, in the order of their placeholders.
    pub attachments: Vec<Bytes>,
}

impl Packet {
    /// The event with one more argument, which clients remember as the place up to which they got everything. All that
    /// get the event share it.
    pub fn with_offset(mut self, offset: &str) -> Packet {
        if self.text.ends_with(']') {
            self.text.pop();
            self.text.push(',');
            self.text.push_str(&Value::from(offset).to_string());
            self.text.push(']');
        }
        self
    }

    /// The bytes of text and attachments, without framing.
    pub fn size(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// Why a connection ended. The names are those of Socket.IO where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The connection was closed, by either side or by the network.
    TransportClose,
    /// The connection broke.
    TransportError,
    /// No answer to a ping in time.
    PingTimeout,
    /// The client sent what is no packet.
    ParseError,
    /// The client said goodbye to the namespace.
    ClientDisconnect,
    /// The server sent the client away.
    ServerDisconnect,
    /// The server is being stopped; the client comes back by itself.
    ServerShutdown,
    /// The server closed this client's transport; the client comes back by itself.
    ServerClose,
    /// The connection ended between being admitted and being told so.
    NeverConnected,
    /// More waited for the client than may wait.
    SlowConsumer,
}

impl CloseReason {
    /// All reasons.
    pub const ALL: [CloseReason; 10] = [
        CloseReason::TransportClose,
        CloseReason::TransportError,
        CloseReason::PingTimeout,
        CloseReason::ParseError,
        CloseReason::ClientDisconnect,
        CloseReason::ServerDisconnect,
        CloseReason::ServerShutdown,
        CloseReason::ServerClose,
        CloseReason::NeverConnected,
        CloseReason::SlowConsumer,
    ];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::TransportClose => "transport_close",
            CloseReason::TransportError => "transport_error",
            CloseReason::PingTimeout => "ping_timeout",
            CloseReason::ParseError => "parse_error",
            CloseReason::ClientDisconnect => "client_namespace_disconnect",
            CloseReason::ServerDisconnect => "server_namespace_disconnect",
            CloseReason::ServerShutdown => "server_shutting_down",
            CloseReason::ServerClose => "server_transport_close",
            CloseReason::NeverConnected => "never_connected",
            CloseReason::SlowConsumer => "slow_consumer",
        }
    }
}

/// How many sockets use which transport, and what waits for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transports {
    /// Over a websocket.
    pub websocket: usize,
    /// By long polling.
    pub polling: usize,
    /// Bytes that wait for all of them.
    pub waiting: usize,
}
