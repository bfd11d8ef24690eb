//! The name by which the nodes of a cluster know each other.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Length of a node's id, in bytes and in characters.
pub(crate) const NODE_ID_LEN: usize = 16;

/// Who a node is for as long as its process lives: 16 random URL-safe characters.
///
/// A restarted process is a new node, so that nobody takes answers to its predecessor for its own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; NODE_ID_LEN]);

/// What was given is not the id of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node id has {NODE_ID_LEN} characters out of A-Z, a-z, 0-9, - and _")]
pub struct NodeIdError;

impl NodeId {
    /// A new id with 96 random bits.
    #[must_use]
    pub fn random() -> Self {
        let mut bits = [0_u8; 12];
        if getrandom::fill(&mut bits).is_err() {
            // Ids have to differ, not to be secret: the seed of the hash maps is good enough, and a server that
            // cannot start is not.
            let (seed, source) = (RandomState::new(), RandomState::new());
            for (at, byte) in bits.iter_mut().enumerate() {
                *byte = seed.hash_one((at, source.hash_one(at))).to_le_bytes()[0];
            }
        }
        let mut text = [b'A'; NODE_ID_LEN];
        // 12 bytes are exactly 16 characters, so that this has room and leaves nothing over.
        let written = URL_SAFE_NO_PAD.encode_slice(bits, &mut text);
        debug_assert_eq!(written.ok(), Some(NODE_ID_LEN));
        Self(text)
    }

    /// Takes an id back from its text.
    ///
    /// # Errors
    /// When the text is not 16 URL-safe characters.
    pub fn parse(text: &str) -> Result<Self, NodeIdError> {
        Self::from_bytes(text.as_bytes())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every way to make an id checks that it is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, NodeIdError> {
        let id: [u8; NODE_ID_LEN] = bytes.try_into().map_err(|_| NodeIdError)?;
        if id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            Ok(Self(id))
        } else {
            Err(NodeIdError)
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; NODE_ID_LEN] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn random_ids_differ_and_read_back() {
        let (one, other) = (NodeId::random(), NodeId::random());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 16);
        assert_eq!(NodeId::parse(one.as_str()).unwrap(), one);
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "short",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcde:",
            "0123456789abcdü",
        ] {
            assert_eq!(NodeId::parse(text), Err(NodeIdError), "{text:?}");
        }
        assert!(NodeId::parse("0123456789ab-_YZ").is_ok());
    }
}
