//! What one client, one address or one user may take of a node, and what happens beyond it.
//!
//! The values are pure and can be exchanged while the node runs; whoever is limited reads them anew each time.
//! Three places apply them: `http.rs` before a session begins ([`Entrance`]), `sessions.rs` when the user is known,
//! and `session.rs` for each event.

mod admission;
mod bucket;
mod client_address;
mod config;
mod entrance;
mod handshakes;
mod seats;
mod users;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use admission::Admissions;
pub use bucket::{Bucket, Rate};
pub use client_address::{ClientAddress, Network, TrustedProxies};
pub use config::{KEYS, LIVE, MAX_OUTBOUND_BYTES};
pub use entrance::{Entrance, Turned};
pub use seats::Seat;
pub use users::{UserChecks, Users, channel};

/// The limits of a node. In all of them 0 means: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Sessions on the node.
    pub max_connections: u32,
    /// Sockets of one user.
    pub max_connections_per_user: u32,
    /// What happens to a user's sockets beyond that.
    pub user_overflow: Overflow,
    /// Sessions from one address.
    pub max_connections_per_ip: u32,
    /// New sessions on the node.
    pub handshakes_per_second: u32,
    /// Events from one socket.
    pub events_per_second: u32,
    /// Bytes of one event, in both directions.
    pub max_event_bytes: usize,
    /// Rooms that one socket is in.
    pub max_rooms_per_socket: u32,
    /// Who may say for whom a connection is.
    pub trusted_proxies: TrustedProxies,
}

/// What happens when a user has too many sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest one is sent away.
    #[default]
    Oldest,
    /// The new one is refused.
    Refuse,
}

/// The limits that hold now. Clones are the same.
///
/// Whoever asks later gets the new values; what was let in under the old ones stays. The engine's own bound of a
/// message is made from the `max_event_bytes` that the node started with, and stays as it was.
#[derive(Debug, Clone, Default)]
pub struct CurrentLimits(Arc<ArcSwap<Limits>>);

impl CurrentLimits {
    /// These limits.
    pub fn new(limits: Limits) -> CurrentLimits {
        CurrentLimits(Arc::new(ArcSwap::from_pointee(limits)))
    }

    /// The limits of this moment. Not to be kept while waiting.
    pub fn get(&self) -> impl std::ops::Deref<Target = Arc<Limits>> {
        self.0.load()
    }

    /// From now on these hold.
    pub fn set(&self, limits: Limits) {
        self.0.store(Arc::new(limits));
    }
}

/// A limit that was hit: the label in metrics, and its name for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// See [`Limits::max_connections`].
    MaxConnections,
    /// See [`Limits::max_connections_per_ip`].
    MaxConnectionsPerIp,
    /// See [`Limits::handshakes_per_second`]; the share of one address.
    HandshakesPerSecondAddress,
    /// See [`Limits::handshakes_per_second`].
    HandshakesPerSecond,
    /// See [`Limits::max_connections_per_user`].
    MaxConnectionsPerUser,
    /// See [`Limits::events_per_second`].
    EventsPerSecond,
    /// See [`Limits::max_event_bytes`].
    MaxEventBytes,
    /// See [`Limits::max_rooms_per_socket`].
    MaxRoomsPerSocket,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 8] = [
        Limit::MaxConnections,
        Limit::MaxConnectionsPerIp,
        Limit::HandshakesPerSecondAddress,
        Limit::HandshakesPerSecond,
        Limit::MaxConnectionsPerUser,
        Limit::EventsPerSecond,
        Limit::MaxEventBytes,
        Limit::MaxRoomsPerSocket,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::MaxConnections => "max_connections",
            Limit::MaxConnectionsPerIp => "max_connections_per_ip",
            Limit::HandshakesPerSecondAddress => "handshakes_per_second_address",
            Limit::HandshakesPerSecond => "handshakes_per_second",
            Limit::MaxConnectionsPerUser => "max_connections_per_user",
            Limit::EventsPerSecond => "events_per_second",
            Limit::MaxEventBytes => "max_event_bytes",
            Limit::MaxRoomsPerSocket => "max_rooms_per_socket",
        }
    }
}
