//! Idempotency keys that are made of what others call a message.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::Envelope;
use crate::room::MAX_NAME_BYTES;

impl Envelope {
    /// Gives it this idempotency key, or the key's digest where it is longer than a key may be. An empty one is none.
    pub fn identify(&mut self, key: &str) {
        self.id = match key.len() {
            0 => None,
            1..=MAX_NAME_BYTES => Some(key.to_owned()),
            _ => Some(digest(key)),
        };
    }
}

fn digest(key: &str) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(key) {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Limits;

    #[test]
    fn a_key_that_is_too_long_is_its_digest() {
        let mut envelope = Envelope::from_parts(&["r"], "e", &[], &Limits::default()).unwrap();
        let longest = "k".repeat(MAX_NAME_BYTES);
        for key in ["7", &longest] {
            envelope.identify(key);
            assert_eq!(envelope.id.as_deref(), Some(key));
        }
        let mut seen = Vec::new();
        for key in [format!("{longest}a"), format!("{longest}b")] {
            envelope.identify(&key);
            let id = envelope.id.clone().unwrap();
            assert_eq!(id.len(), "sha256:".len() + 64);
            assert!(!seen.contains(&id));
            seen.push(id);
        }
        assert_eq!(
            digest(""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        envelope.identify("");
        assert_eq!(envelope.id, None);
    }
}
