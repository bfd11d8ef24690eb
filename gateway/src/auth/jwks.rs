//! The text of a JSON Web Key Set (RFC 7517) to keys. Pure, and it trusts the text in nothing.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::keys::RSA;

/// A longer text is not read.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// A set of more keys is refused.
const MAX_KEYS: usize = 1_000;

/// Why a text is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKeySet {
    /// Longer than a set may be.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Not JSON.
    #[error("it is not JSON")]
    NotJson,
    /// Not an object with a list of keys.
    #[error("it has no list `keys`")]
    NoList,
    /// More keys than a set may have.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// Not one key that can verify a token.
    #[error(
        "none of its keys can verify a token: they are RSA of 2048 to 8192 bits, EC P-256 or P-384, or Ed25519"
    )]
    Useless,
}

/// The keys of one set that can verify tokens. All of them are public: a set never brings a secret.
pub struct KeySet {
    keys: Vec<SetKey>,
    by_kid: HashMap<String, usize>,
    secrets: usize,
    fingerprint: u64,
}

/// A key, and what it may verify.
pub(super) struct SetKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// What one entry of a set is.
enum Entry {
    Key(SetKey),
    /// A symmetric or private key, which does not belong into a set that others can read.
    Secret,
    /// For encryption, of an unknown kind, or broken.
    Other,
}

impl KeySet {
    /// Reads a set. Keys that cannot verify tokens are left out; of several with the same `kid` the first counts.
    ///
    /// # Errors
    /// See [`NotAKeySet`].
    pub fn parse(text: &[u8]) -> Result<KeySet, NotAKeySet> {
        if text.len() > MAX_BYTES {
            return Err(NotAKeySet::TooLong);
        }
        let set: Value = serde_json::from_slice(text).map_err(|_| NotAKeySet::NotJson)?;
        let entries = set.get("keys").and_then(Value::as_array);
        let entries = entries.ok_or(NotAKeySet::NoList)?;
        if entries.len() > MAX_KEYS {
            return Err(NotAKeySet::TooMany);
        }
        let mut set = KeySet {
            keys: Vec::new(),
            by_kid: HashMap::new(),
            secrets: 0,
            fingerprint: 0,
        };
        for entry in entries {
            match Entry::read(entry) {
                Entry::Key(key) => set.add(entry, key),
                Entry::Secret => set.secrets += 1,
                Entry::Other => {}
            }
        }
        if set.keys.is_empty() {
            return Err(NotAKeySet::Useless);
        }
        Ok(set)
    }

    /// The key of that name.
    pub(super) fn named(&self, kid: &str) -> Option<&SetKey> {
        self.by_kid.get(kid).and_then(|number| self.keys.get(*number))
    }

    /// All that may verify that algorithm, in the order of the set.
    pub(super) fn fitting(&self, algorithm: Algorithm) -> impl Iterator<Item = &DecodingKey> {
        self.keys.iter().filter_map(move |key| key.verifying(algorithm))
    }

    /// How many keys can verify tokens.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// How many entries were left out because they are secrets: symmetric or private keys.
    pub fn secrets(&self) -> usize {
        self.secrets
    }

    /// Another one when the keys are others, whatever their order.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn add(&mut self, entry: &Value, key: SetKey) {
        if let Some(kid) = entry.get("kid").and_then(Value::as_str) {
            if self.by_kid.contains_key(kid) {
                return;
            }
            self.by_kid.insert(kid.to_owned(), self.keys.len());
        }
        let mut hasher = DefaultHasher::new();
        entry.to_string().hash(&mut hasher);
        self.fingerprint = self.fingerprint.wrapping_add(hasher.finish());
        self.keys.push(key);
    }
}

impl SetKey {
    /// The key, if it may verify that algorithm.
    pub(super) fn verifying(&self, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.algorithms.contains(&algorithm).then_some(&self.key)
    }
}

impl Entry {
    fn read(entry: &Value) -> Entry {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        if text("kty") == Some("oct") || entry.get("d").is_some() {
            return Entry::Secret;
        }
        let is_for_signatures = match (entry.get("use"), entry.get("key_ops")) {
            (None, None) => true,
            (Some(usage), _) => usage == "sig",
            (None, Some(operations)) => {
                let operations = operations.as_array();
                operations.is_some_and(|all| all.iter().any(|one| one == "verify"))
            }
        };
        // A name that is no text would be a key that everybody and nobody means.
        if !is_for_signatures || entry.get("kid").is_some_and(|kid| !kid.is_string()) {
            return Entry::Other;
        }
        let Some((key, fits)) = public_key(text) else {
            return Entry::Other;
        };
        let algorithms: Vec<Algorithm> = match entry.get("alg") {
            None => fits.to_vec(),
            Some(name) => {
                let named = name.as_str().and_then(|name| name.parse().ok());
                fits.iter().copied().filter(|fit| Some(*fit) == named).collect()
            }
        };
        if algorithms.is_empty() {
            return Entry::Other;
        }
        Entry::Key(SetKey { key, algorithms })
    }
}

/// The key, and the algorithms that keys of its kind can verify.
fn public_key<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Option<(DecodingKey, &'static [Algorithm])> {
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let of_length = |name: &str, length: usize| number(name).filter(|bytes| bytes.len() == length);
    let point = |length: usize| {
        let coordinates = [of_length("x", length)?, of_length("y", length)?];
        let mut point = vec![0x04]; // uncompressed
        point.extend(coordinates.concat());
        Some(DecodingKey::from_ec_der(&point))
    };
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (modulus, exponent) = (number("n")?, number("e")?);
            let (modulus, exponent) = (significant(&modulus), significant(&exponent));
            let is_long_enough = (256..=1024).contains(&modulus.len());
            let is_odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
            if !is_long_enough || !is_odd || exponent.len() > 5 || exponent == [1] {
                return None;
            }
            Some((DecodingKey::from_rsa_raw_components(modulus, exponent), RSA))
        }
        ("EC", Some("P-256")) => Some((point(32)?, &[Algorithm::ES256])),
        ("EC", Some("P-384")) => Some((point(48)?, &[Algorithm::ES384])),
        ("OKP", Some("Ed25519")) => {
            let key = of_length("x", 32)?;
            Some((DecodingKey::from_ed_der(&key), &[Algorithm::EdDSA]))
        }
        _ => None,
    }
}

/// Some write a number with zeros in front, which the library does not take.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
