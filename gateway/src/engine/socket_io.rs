//! The Socket.IO protocol, version 5, in its default form, JSON and attachments of bytes, and in MessagePack. Pure.

pub mod attachments;
pub mod msgpack;
pub mod outgoing;
pub mod packet;
