//! Messages of channels that are not ours, which somebody publishes who knows nothing of rooms.
//!
//! Every node gets each of them and applies it to its own sockets alone. Nothing of it is published again.

use crate::envelope::Envelope;

/// Makes envelopes of messages that have another shape.
///
/// Called from the cluster's receive loop, once for each message, in the order of arrival: an implementation must not
/// block. Each node of a cluster has to make the same of a message.
pub trait Translate: Send + Sync + 'static {
    /// The envelopes of one message, each or what is wrong with it. None at all: the message is of no concern, which is
    /// not counted.
    ///
    /// `id`, `retain` and `count` of an envelope have no effect.
    fn translate(&self, channel: &str, payload: &[u8]) -> Vec<Result<Envelope, Untranslated>>;
}

/// No envelope could be made of a message, or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no envelope can be made of it: {reason}")]
pub struct Untranslated {
    /// A stable code for logs, such as [`EnvelopeError::reason`](crate::EnvelopeError::reason).
    pub reason: &'static str,
}
