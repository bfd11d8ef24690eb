//! The Engine.IO protocol, version 4: what a session's two transports have in common. Pure.

pub mod payload;
pub mod request;

use super::{Config, ids::Id};

/// The first character of a packet of text. A packet of bytes has none: it is a message.
pub mod packet {
    /// The server opens the session.
    pub const OPEN: u8 = b'0';
    /// A side closes the session.
    pub const CLOSE: u8 = b'1';
    /// The server wants a pong; a client may probe with it.
    pub const PING: u8 = b'2';
    /// The answer to it.
    pub const PONG: u8 = b'3';
    /// Something of the protocol above.
    pub const MESSAGE: u8 = b'4';
    /// The client moves to the transport on which it sends this.
    pub const UPGRADE: u8 = b'5';
    /// Nothing: it ends a poll.
    pub const NOOP: u8 = b'6';
}

/// A client's word on a transport that it wants to move to, and the answer.
pub const PROBE: (&str, &str) = ("2probe", "3probe");

/// The packet that opens a session.
pub(in crate::engine) fn open(sid: Id, config: &Config, can_upgrade: bool) -> String {
    let upgrades = if can_upgrade { r#""websocket""# } else { "" };
    let (interval, timeout) = (config.ping_interval.as_millis(), config.ping_timeout.as_millis());
    let most = config.max_payload;
    format!(
        r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{most}}}"#
    )
}
