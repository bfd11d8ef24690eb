//! Keys and the algorithms that may be used with each of them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const ALL_NAMES: &str = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not the PEM of a public key.
    #[error("not the PEM of an RSA, P-256, P-384 or Ed25519 public key")]
    Pem,
    /// An elliptic curve outside of what JWT uses here.
    #[error("only the curves P-256 (ES256) and P-384 (ES384) are supported")]
    Curve,
    /// A name outside of the list.
    #[error("{0:?} is not one of {ALL_NAMES}")]
    UnknownAlgorithm(String),
    /// An allowed algorithm that no key can verify.
    #[error("{0} cannot be verified with the configured key")]
    NoKeyFor(String),
}

/// The configured keys, each bound to its own algorithms: a public key is never tried on an HS token.
pub struct Keys {
    hmac: Option<(DecodingKey, EncodingKey)>,
    public: Option<DecodingKey>,
    hmac_allowed: Vec<Algorithm>,
    public_allowed: Vec<Algorithm>,
    short_secret: bool,
}

impl Keys {
    /// Builds the keys from a secret and a PEM, limited to the named algorithms (none named = all that fit).
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(secret: Option<&str>, pem: Option<&str>, algorithms: &[String]) -> Result<Keys, KeyError> {
        let hmac = secret.map(|s| {
            (
                DecodingKey::from_secret(s.as_bytes()),
                EncodingKey::from_secret(s.as_bytes()),
            )
        });
        let (public, public_fits) = match pem {
            Some(pem) => public_key(pem).map(|(key, fits)| (Some(key), fits))?,
            None => (None, Vec::new()),
        };
        let named = algorithms
            .iter()
            .map(|name| {
                name.parse::<Algorithm>()
                    .map_err(|_| KeyError::UnknownAlgorithm(name.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let hmac_fits = if hmac.is_some() { HMAC } else { &[] };
        if let Some(lost) = named
            .iter()
            .find(|a| !hmac_fits.contains(a) && !public_fits.contains(a))
        {
            return Err(KeyError::NoKeyFor(format!("{lost:?}")));
        }
        let allowed = |fits: &[Algorithm]| -> Vec<Algorithm> {
            fits.iter()
                .copied()
                .filter(|a| named.is_empty() || named.contains(a))
                .collect()
        };
        Ok(Keys {
            hmac_allowed: allowed(hmac_fits),
            public_allowed: allowed(&public_fits),
            short_secret: secret.is_some_and(|s| s.len() < 32),
            hmac,
            public,
        })
    }

    /// The key for a token that says it is signed with `algorithm`; `None` = not allowed.
    pub fn find(&self, algorithm: Algorithm) -> Option<&DecodingKey> {
        if self.hmac_allowed.contains(&algorithm) {
            self.hmac.as_ref().map(|(key, _)| key)
        } else if self.public_allowed.contains(&algorithm) {
            self.public.as_ref()
        } else {
            None
        }
    }

    /// What can sign tokens here: only a shared secret can.
    pub fn signer(&self) -> Option<(Algorithm, &EncodingKey)> {
        let algorithm = *self.hmac_allowed.first()?;
        self.hmac.as_ref().map(|(_, key)| (algorithm, key))
    }

    /// Says so when the secret is shorter than RFC 7518 asks for HS256 (32 bytes).
    pub fn warn_if_weak(&self) {
        if self.short_secret {
            tracing::warn!(
                "auth.jwt.hmac_secret is shorter than 32 bytes: such a secret can be guessed from a token"
            );
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?}, {:?})", self.hmac_allowed, self.public_allowed)
    }
}

fn public_key(pem: &str) -> Result<(DecodingKey, Vec<Algorithm>), KeyError> {
    // DER object identifiers of the key types that the library's three readers do not tell apart by themselves.
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    // A private key here would work and be a secret in the wrong place.
    if pem.contains("PRIVATE KEY") {
        return Err(KeyError::Pem);
    }
    let body: String = pem
        .lines()
        .filter(|l| !l.starts_with("-----"))
        .map(str::trim)
        .collect();
    let der = STANDARD.decode(body).map_err(|_| KeyError::Pem)?;
    let holds = |oid: &[u8]| der.windows(oid.len()).any(|w| w == oid);
    let bytes = pem.as_bytes();
    if holds(EC) {
        let fits = if holds(P256) {
            Algorithm::ES256
        } else if holds(P384) {
            Algorithm::ES384
        } else {
            return Err(KeyError::Curve);
        };
        DecodingKey::from_ec_pem(bytes)
            .map(|key| (key, vec![fits]))
            .map_err(|_| KeyError::Pem)
    } else if der.len() < 64 && holds(ED25519) {
        DecodingKey::from_ed_pem(bytes)
            .map(|key| (key, vec![Algorithm::EdDSA]))
            .map_err(|_| KeyError::Pem)
    } else {
        DecodingKey::from_rsa_pem(bytes)
            .map(|key| (key, RSA.to_vec()))
            .map_err(|_| KeyError::Pem)
    }
}
