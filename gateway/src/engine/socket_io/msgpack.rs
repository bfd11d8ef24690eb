//! Packets of Socket.IO in MessagePack, as the official clients' `socket.io-msgpack-parser` has them: a packet is one message
//! of bytes, a map of `type`, `nsp`, `data` and `id` in which bytes stand where they belong. Pure.
//!
//! Behind this nothing knows of it: what is read becomes the JSON and the attachments that the default parser would have
//! brought, and what is written is made of them.

mod dates;
pub mod reading;
mod text;
mod values;
pub mod writing;

/// Names of a packet's parts.
mod key {
    pub(super) const KIND: &str = "type";
    pub(super) const NAMESPACE: &str = "nsp";
    pub(super) const DATA: &str = "data";
    pub(super) const ID: &str = "id";
}

#[cfg(test)]
mod tests;
