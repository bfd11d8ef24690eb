//! The WebSocket protocol (RFC 6455), as far as a server needs it that speaks Engine.IO over it, and compressed messages
//! (RFC 7692). Pure.

pub mod deflate;
pub mod extensions;
pub mod frame;
pub mod handshake;
pub mod messages;
