//! Signatures of frames between nodes: whoever may publish in Redis, but does not know the key, is no node.
//!
//! The signature covers the channel, so that a frame cannot be moved to another. A frame that was signed once can be
//! published again by whoever saw it: that is not prevented here.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{VERSION, WireError};
use crate::channel::Channel;

const SIGNED: u8 = 9;
const MAC: usize = 16;
const HEADER: usize = 2 + MAC;

/// The fewest bytes of a key.
const MIN_KEY_BYTES: usize = 16;

/// The keys that frames are signed with: the first signs, each of them is accepted. So a key is rotated by adding the
/// new one behind, then putting it in front, then removing the old one, with all nodes restarted in between.
#[derive(Clone, Default)]
pub struct SecretKeys(Vec<Hmac<Sha256>>);

/// Why keys are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A key is too short to be secret.
    #[error("a key has {0} bytes; it needs at least {MIN_KEY_BYTES}")]
    TooShort(usize),
    /// There is no key.
    #[error("there is no key: write one on each line")]
    Empty,
}

impl SecretKeys {
    /// No keys: frames are neither signed nor checked.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes one key from each line that is not empty.
    ///
    /// # Errors
    /// When there is none, or one is too short.
    pub fn from_lines(text: &str) -> Result<Self, SealError> {
        let keys: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| match line.len() {
                MIN_KEY_BYTES.. => Hmac::new_from_slice(line.as_bytes()).map_err(|_| SealError::Empty),
                short => Err(SealError::TooShort(short)),
            })
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(SealError::Empty);
        }
        Ok(Self(keys))
    }

    /// Signs a frame for a channel, if there is a key.
    pub(crate) fn seal(&self, channel: &Channel, frame: Bytes) -> Bytes {
        let Some(key) = self.0.first() else {
            return frame;
        };
        let mac = mac(key, channel, &frame).finalize().into_bytes();
        let mut out = BytesMut::with_capacity(HEADER + frame.len());
        out.put_slice(&[VERSION, SIGNED]);
        out.put_slice(mac.get(..MAC).unwrap_or_default());
        out.put_slice(&frame);
        out.freeze()
    }

    /// The frame, if its signature holds. Without keys a signed frame is taken as well. (Not the other way round: nodes
    /// with keys do not hear those without.)
    ///
    /// # Errors
    /// When there are keys and it is not signed by one of them for this channel.
    pub(crate) fn open(&self, channel: &Channel, bytes: &Bytes) -> Result<Bytes, WireError> {
        let signed = bytes.get(1) == Some(&SIGNED);
        if !signed {
            return if self.0.is_empty() {
                Ok(bytes.clone())
            } else {
                Err(WireError::Unsigned)
            };
        }
        let Some(given) = bytes.get(2..HEADER) else {
            return Err(WireError::Malformed("signature"));
        };
        let frame = bytes.slice(HEADER..);
        // Compared in constant time by the library.
        let good = |key| mac(key, channel, &frame).verify_truncated_left(given).is_ok();
        if self.0.is_empty() || self.0.iter().any(good) {
            Ok(frame)
        } else {
            Err(WireError::Forged)
        }
    }
}

fn mac(key: &Hmac<Sha256>, channel: &Channel, frame: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    // Without the prefix, which nodes of one cluster share anyway.
    mac.update(channel.name("").as_bytes());
    // No name of a channel holds this, so that channel and frame cannot run into each other.
    mac.update(&[0]);
    mac.update(frame);
    mac
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OLD: &str = "the-old-key-of-the-cluster";
    const NEW: &str = "the-new-key-of-the-cluster";

    fn keys(lines: &[&str]) -> SecretKeys {
        SecretKeys::from_lines(&lines.join("\n")).unwrap()
    }

    #[test]
    fn only_who_has_a_key_is_believed_and_only_on_its_channel() {
        let frame = Bytes::from_static(b"\x01\x02frame");
        let (nodes, publish) = (Channel::Nodes, Channel::Publish);
        let sealed = keys(&[OLD]).seal(&nodes, frame.clone());
        for (reader, channel, expected) in [
            (keys(&[OLD]), &nodes, Ok(frame.clone())),
            (keys(&[NEW, OLD]), &nodes, Ok(frame.clone())),
            (keys(&[NEW]), &nodes, Err(WireError::Forged)),
            (keys(&[OLD]), &publish, Err(WireError::Forged)),
            (SecretKeys::none(), &nodes, Ok(frame.clone())),
        ] {
            assert_eq!(reader.open(channel, &sealed), expected, "{reader:?} {channel:?}");
        }
        assert_eq!(keys(&[OLD]).open(&nodes, &frame), Err(WireError::Unsigned));
        assert_eq!(SecretKeys::none().open(&nodes, &frame), Ok(frame));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let reader = keys(&[OLD]);
        let sealed = reader.seal(&Channel::Nodes, Bytes::from_static(b"\x01\x02frame"));
        for at in 2..sealed.len() {
            let mut bytes = sealed.to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            assert!(
                reader.open(&Channel::Nodes, &bytes.into()).is_err(),
                "changed at {at}"
            );
            assert!(
                reader.open(&Channel::Nodes, &sealed.slice(..at)).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn keys_are_checked_and_not_shown() {
        assert_eq!(SecretKeys::from_lines("\n \n").unwrap_err(), SealError::Empty);
        assert_eq!(
            SecretKeys::from_lines("short").unwrap_err(),
            SealError::TooShort(5)
        );
        assert_eq!(format!("{:?}", keys(&[OLD, NEW])), "SecretKeys(2)");
    }

    #[test]
    fn a_signature_is_frozen() {
        let sealed = keys(&[OLD]).seal(&Channel::Nodes, Bytes::from_static(b"frame"));
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "02094756a32afcb288b6bed639d19a342ede6672616d65");
    }
}
