//! The WebSocket protocol (RFC 6455), as far as a server needs it that speaks Engine.IO over it. Pure.

pub mod frame;
pub mod handshake;
pub mod messages;
