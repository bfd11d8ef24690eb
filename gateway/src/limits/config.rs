//! The keys of the limits.

use super::{Limits, Overflow, TrustedProxies};
use crate::settings::{Key, Kind, Reader};

const MAX_CONNECTIONS: &str = "limits.max_connections";
const MAX_CONNECTIONS_PER_USER: &str = "limits.max_connections_per_user";
const USER_OVERFLOW: &str = "limits.user_overflow";
const MAX_CONNECTIONS_PER_IP: &str = "limits.max_connections_per_ip";
const HANDSHAKES_PER_SECOND: &str = "limits.handshakes_per_second";
const EVENTS_PER_SECOND: &str = "limits.events_per_second";
const MAX_EVENT_BYTES: &str = "limits.max_event_bytes";
const MAX_ROOMS_PER_SOCKET: &str = "limits.max_rooms_per_socket";
/// The engine is built with it.
pub const MAX_OUTBOUND_BYTES: &str = "limits.max_outbound_bytes";
const TRUSTED_PROXIES: &str = "server.trusted_proxies";

/// Those that a running node takes over. The length of an event is not among them: the engine, the API and the bus were
/// built with it.
pub const LIVE: &[&str] = &[
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_IP,
    HANDSHAKES_PER_SECOND,
    MAX_CONNECTIONS_PER_USER,
    USER_OVERFLOW,
    EVENTS_PER_SECOND,
    MAX_ROOMS_PER_SOCKET,
    TRUSTED_PROXIES,
];

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: MAX_CONNECTIONS,
        kind: Kind::Number,
        default: "0",
        doc: "Sessions on the node; 0 = no limit. One more is turned away with 503.",
    },
    Key {
        path: MAX_CONNECTIONS_PER_IP,
        kind: Kind::Number,
        default: "0",
        doc: "Sessions on the node from one address, or from one /64 network of IPv6; 0 = no limit. One more is turned away with 429. Behind a proxy this needs `server.trusted_proxies`.",
    },
    Key {
        path: HANDSHAKES_PER_SECOND,
        kind: Kind::Number,
        default: "0",
        doc: "New sessions on the node each second, and as many at once; 0 = no limit. One address may use half of it, and what others leave.",
    },
    Key {
        path: MAX_CONNECTIONS_PER_USER,
        kind: Kind::Number,
        default: "0",
        doc: "Sockets of one user, on all nodes together; 0 = no limit.",
    },
    Key {
        path: USER_OVERFLOW,
        kind: Kind::String,
        default: "oldest",
        doc: "What happens beyond that: `oldest` sends the user's oldest socket away for good; `refuse` refuses the new one, and counts the sockets of this node only.",
    },
    Key {
        path: EVENTS_PER_SECOND,
        kind: Kind::Number,
        default: "0",
        doc: "Events from one socket each second, and as many at once; 0 = no limit. What comes on top is refused.",
    },
    Key {
        path: MAX_EVENT_BYTES,
        kind: Kind::Size,
        default: "1MiB",
        doc: "Size of one event, in both directions; 0 = off. A client's event that is longer is refused; a message of more than twice that, and of more than 128 KiB, closes its connection.",
    },
    Key {
        path: MAX_OUTBOUND_BYTES,
        kind: Kind::Size,
        default: "0",
        doc: "What may wait for one client that reads more slowly than it is sent to; 0 = 16 MiB. More of it closes the connection, and the client comes back, unless `slow` of the policy's `[[room]]` says otherwise. One event may always wait.",
    },
    Key {
        path: MAX_ROOMS_PER_SOCKET,
        kind: Kind::Number,
        default: "0",
        doc: "Rooms that a socket may be in when it asks for one more, those that it got on connect included; 0 = no limit.",
    },
    Key {
        path: TRUSTED_PROXIES,
        kind: Kind::List,
        default: "",
        doc: "Addresses and networks, such as `10.0.0.0/8`, of the proxies whose `X-Forwarded-For` is believed. Anybody who is in them can give any address as theirs.",
    },
];

impl Limits {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Limits {
        Limits {
            max_connections: reader.number(MAX_CONNECTIONS),
            max_connections_per_user: reader.number(MAX_CONNECTIONS_PER_USER),
            user_overflow: overflow(reader),
            max_connections_per_ip: reader.number(MAX_CONNECTIONS_PER_IP),
            handshakes_per_second: reader.number(HANDSHAKES_PER_SECOND),
            events_per_second: reader.number(EVENTS_PER_SECOND),
            max_event_bytes: reader.size(MAX_EVENT_BYTES),
            max_rooms_per_socket: reader.number(MAX_ROOMS_PER_SOCKET),
            trusted_proxies: trusted_proxies(reader),
        }
    }
}

fn overflow(reader: &mut Reader) -> Overflow {
    match reader.string(USER_OVERFLOW).as_str() {
        "oldest" => Overflow::Oldest,
        "refuse" => Overflow::Refuse,
        other => {
            let seen = other.to_owned();
            reader.problem(USER_OVERFLOW, &seen, "\"oldest\" or \"refuse\"");
            Overflow::default()
        }
    }
}

fn trusted_proxies(reader: &mut Reader) -> TrustedProxies {
    let mut networks = Vec::new();
    for text in reader.list(TRUSTED_PROXIES) {
        match TrustedProxies::parse_network(&text) {
            Some(network) => networks.push(network),
            None => reader.problem(
                TRUSTED_PROXIES,
                &text,
                "an address or a network, such as 10.0.0.1 or 10.0.0.0/8",
            ),
        }
    }
    TrustedProxies::new(networks)
}
