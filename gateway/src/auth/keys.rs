//! Keys and the algorithms that may be used with each of them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::{KeySet, Timing};

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
pub(super) const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const OTHERS: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
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
    #[error("{0} cannot be verified with the configured keys")]
    NoKeyFor(String),
}

/// What keys are made of.
#[derive(Default)]
pub struct Material<'a> {
    /// The secret of HS tokens, which also signs.
    pub secret: Option<&'a str>,
    /// The secret of HS tokens before that one.
    pub previous_secret: Option<&'a str>,
    /// The PEM of a public key.
    pub pem: Option<&'a str>,
    /// A key set that is a file.
    pub file: Option<KeySet>,
    /// The places of key sets to be fetched.
    pub urls: Vec<Uri>,
    /// How they are fetched.
    pub timing: Timing,
}

/// The configured keys, each bound to its own algorithms: a public key is never tried on an HS token.
pub struct Keys {
    secrets: Vec<DecodingKey>,
    signer: Option<EncodingKey>,
    public: Option<DecodingKey>,
    file: Option<KeySet>,
    urls: Vec<Uri>,
    timing: Timing,
    hmac_allowed: Vec<Algorithm>,
    public_allowed: Vec<Algorithm>,
    sets_allowed: Vec<Algorithm>,
    weak: Vec<&'static str>,
}

impl Keys {
    /// Builds the keys from a secret and a PEM, limited to the named algorithms (none named = all that fit).
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(secret: Option<&str>, pem: Option<&str>, algorithms: &[String]) -> Result<Keys, KeyError> {
        let material = Material {
            secret,
            pem,
            ..Material::default()
        };
        Keys::of(material, algorithms)
    }

    /// As [`Keys::new`], of everything that keys are made of.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn of(material: Material<'_>, algorithms: &[String]) -> Result<Keys, KeyError> {
        let Material {
            secret,
            previous_secret,
            pem,
            file,
            urls,
            timing,
        } = material;
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
        let hmac_fits = if secret.is_some() { HMAC } else { &[] };
        let has_sets = file.is_some() || !urls.is_empty();
        let sets_fit = if has_sets {
            [RSA, OTHERS].concat()
        } else {
            Vec::new()
        };
        let fits = |a: &Algorithm| hmac_fits.contains(a) || public_fits.contains(a) || sets_fit.contains(a);
        if let Some(lost) = named.iter().find(|a| !fits(a)) {
            return Err(KeyError::NoKeyFor(format!("{lost:?}")));
        }
        let allowed = |fits: &[Algorithm]| -> Vec<Algorithm> {
            fits.iter()
                .copied()
                .filter(|a| named.is_empty() || named.contains(a))
                .collect()
        };
        let secrets = [
            ("auth.jwt.hmac_secret", secret),
            ("auth.jwt.hmac_previous_secret", previous_secret),
        ];
        let given = || {
            secrets
                .iter()
                .filter_map(|(key, secret)| Some((*key, (*secret)?)))
        };
        Ok(Keys {
            hmac_allowed: allowed(hmac_fits),
            public_allowed: allowed(&public_fits),
            sets_allowed: allowed(&sets_fit),
            weak: given()
                .filter(|(_, secret)| secret.len() < 32)
                .map(|(key, _)| key)
                .collect(),
            secrets: given()
                .map(|(_, secret)| DecodingKey::from_secret(secret.as_bytes()))
                .collect(),
            signer: secret.map(|secret| EncodingKey::from_secret(secret.as_bytes())),
            public,
            file,
            urls,
            timing,
        })
    }

    /// Whether any key may verify tokens of that algorithm.
    pub(super) fn allow(&self, algorithm: Algorithm) -> bool {
        self.hmac_allowed.contains(&algorithm)
            || self.public_allowed.contains(&algorithm)
            || self.sets_allow(algorithm)
    }

    /// Whether a key of a set may.
    pub(super) fn sets_allow(&self, algorithm: Algorithm) -> bool {
        self.sets_allowed.contains(&algorithm)
    }

    /// The configured keys without a name that may verify that algorithm: the secrets, or the public key.
    pub(super) fn unnamed(&self, algorithm: Algorithm) -> impl Iterator<Item = &DecodingKey> {
        let secrets = self
            .secrets
            .iter()
            .filter(move |_| self.hmac_allowed.contains(&algorithm));
        let public = self
            .public
            .iter()
            .filter(move |_| self.public_allowed.contains(&algorithm));
        secrets.chain(public)
    }

    /// The key set that is a file.
    pub(super) fn file(&self) -> Option<&KeySet> {
        self.file.as_ref()
    }

    /// The places of key sets to be fetched.
    pub(super) fn urls(&self) -> &[Uri] {
        &self.urls
    }

    /// How they are fetched.
    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// What can sign tokens here: only a shared secret can, and of two the current one.
    pub fn signer(&self) -> Option<(Algorithm, &EncodingKey)> {
        let algorithm = *self.hmac_allowed.first()?;
        self.signer.as_ref().map(|key| (algorithm, key))
    }

    /// Says so when a secret is shorter than RFC 7518 asks for HS256 (32 bytes).
    pub fn warn_if_weak(&self) {
        for key in &self.weak {
            tracing::warn!("{key} is shorter than 32 bytes: such a secret can be guessed from a token");
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keys {
            hmac_allowed,
            public_allowed,
            sets_allowed,
            ..
        } = self;
        write!(f, "Keys({hmac_allowed:?}, {public_allowed:?}, {sets_allowed:?})")
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
