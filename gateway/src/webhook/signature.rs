//! How requests are signed: version 1 of the symmetric scheme of Standard Webhooks. Pure.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with that is written as base64.
const PREFIX: &str = "whsec_";

/// The fewest bytes of a secret.
const MIN_BYTES: usize = 16;

/// The secrets that requests are signed with: each of them signs, so that a backend may know either while they are
/// exchanged. Never shown.
#[derive(Clone)]
pub struct Secrets(Vec<Hmac<Sha256>>);

/// Why a secret is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is too short to be secret.
    #[error("a secret of {MIN_BYTES} bytes or more; it has {0}")]
    TooShort(usize),
    /// It begins as one of base64 and is none.
    #[error("base64 behind `whsec_`")]
    NotBase64,
}

impl Secrets {
    /// Takes secrets as text, or as `whsec_` and base64.
    ///
    /// # Errors
    /// What is expected, when one of them is something else.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Secrets, SecretError> {
        let key = |text: &str| {
            let bytes = match text.strip_prefix(PREFIX) {
                Some(encoded) => STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?,
                None => text.as_bytes().to_vec(),
            };
            if bytes.len() < MIN_BYTES {
                return Err(SecretError::TooShort(bytes.len()));
            }
            // A key of this algorithm may have any length.
            Hmac::new_from_slice(&bytes).map_err(|_| SecretError::TooShort(bytes.len()))
        };
        Ok(Secrets(texts.into_iter().map(key).collect::<Result<_, _>>()?))
    }

    /// The header `webhook-signature`: one signature of each secret.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut mac = key.clone();
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    #[test]
    fn a_signature_is_what_the_libraries_of_the_standard_expect() {
        let secrets = Secrets::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
        assert_eq!(
            secrets.sign(ID, 1_614_265_330, BODY),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_secret_signs_and_text_stands_for_itself() {
        let (encoded, text) = ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "0123456789abcdef");
        let both = Secrets::new([text, encoded]).unwrap().sign("a", 1, b"{}");
        let one = Secrets::new([text]).unwrap().sign("a", 1, b"{}");
        assert_eq!(both, format!("{one} {one}"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for (text, error) in [
            ("", SecretError::TooShort(0)),
            ("0123456789abcde", SecretError::TooShort(15)),
            ("whsec_", SecretError::TooShort(0)),
            ("whsec_not base64 at all", SecretError::NotBase64),
            ("whsec_MDEyMzQ1", SecretError::TooShort(6)),
        ] {
            assert_eq!(Secrets::new([text]).err(), Some(error), "{text}");
        }
        assert_eq!(
            format!("{:?}", Secrets::new(["0123456789abcdef"]).unwrap()),
            "Secrets(1)"
        );
    }
}
