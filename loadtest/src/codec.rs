//! Engine.IO v4 and Socket.IO v5 as text, in both directions. Pure: no sockets, no clock.
//!
//! Every WebSocket text frame is one [`EnginePacket`]; every binary frame is one attachment of the Socket.IO
//! [`Packet`] before it, without any header. Decoding is total: whatever the text, it answers with a packet or
//! with a [`DecodeError`].

pub(crate) mod binary;
mod engine;
mod packet;
#[cfg(test)]
mod tests;

pub use binary::placeholder;
pub use engine::EnginePacket;
pub use packet::{Kind, Packet};
pub(crate) use packet::{array_text, event_text};

/// A packet with more attachments than this is refused, as socket.io-parser does since 4.2.6.
pub const MAX_ATTACHMENTS: usize = 10;

/// Why a frame is not a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing where a packet's type should be.
    #[error("empty packet")]
    Empty,
    /// No such type.
    #[error("unknown packet type {0:?}")]
    Type(char),
    /// An Engine.IO packet of a type without data has data.
    #[error("unexpected data after an Engine.IO packet")]
    Trailing,
    /// The server's first packet lacks a field, or one has the wrong type.
    #[error("bad handshake: {0}")]
    Open(&'static str),
    /// The count of attachments is missing, zero, above [`MAX_ATTACHMENTS`] or at odds with the placeholders.
    #[error("illegal attachments")]
    Attachments,
    /// The acknowledgement number does not fit 64 bits.
    #[error("illegal acknowledgement number")]
    Ack,
    /// The payload is not what the packet's kind demands.
    #[error("invalid payload")]
    Payload,
    /// A text packet came while attachments were due, or a binary frame while none was.
    #[error("attachment out of place")]
    Order,
}

/// The packet's type, and what follows it.
fn first(text: &str) -> Result<(char, &str), DecodeError> {
    let mut chars = text.chars();
    let first = chars.next().ok_or(DecodeError::Empty)?;
    Ok((first, chars.as_str()))
}
