//! The Socket.IO protocol, version 5, in its default form: JSON, and attachments of bytes. Pure.

pub mod attachments;
pub mod outgoing;
pub mod packet;
