//! Key pairs for tests, made anew for each run, and tokens that they sign.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, jwk::Jwk};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData,
};
use serde_json::{Value, json};

pub(super) const SECRET: &str = "a-secret-of-more-than-32-bytes-for-tests";
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| Pair::new(Algorithm::RS256));
pub(super) static OTHER_RSA: LazyLock<Pair> = LazyLock::new(|| Pair::new(Algorithm::RS256));
pub(super) static P256: LazyLock<Pair> = LazyLock::new(|| Pair::new(Algorithm::ES256));
pub(super) static OTHER_P256: LazyLock<Pair> = LazyLock::new(|| Pair::new(Algorithm::ES256));
pub(super) static P384: LazyLock<Pair> = LazyLock::new(|| Pair::new(Algorithm::ES384));
pub(super) static ED25519: LazyLock<Pair> = LazyLock::new(|| Pair::new(Algorithm::EdDSA));

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// A key pair and the algorithm that it signs with unless told otherwise.
pub(super) struct Pair {
    algorithm: Algorithm,
    key: EncodingKey,
    public: Value,
    pub(super) pem: String,
}

impl Pair {
    fn new(algorithm: Algorithm) -> Pair {
        let kind = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => &PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        let (private, public) = (pair.serialize_pem(), pair.der_bytes());
        let (private, of_set) = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => (
                EncodingKey::from_ec_pem(private.as_bytes()),
                DecodingKey::from_ec_der(public),
            ),
            Algorithm::EdDSA => (
                EncodingKey::from_ed_pem(private.as_bytes()),
                DecodingKey::from_ed_der(public),
            ),
            _ => (
                EncodingKey::from_rsa_pem(private.as_bytes()),
                DecodingKey::from_rsa_der(public),
            ),
        };
        Pair {
            algorithm,
            key: private.unwrap(),
            public: serde_json::to_value(Jwk::from_decoding_key(&of_set, None).unwrap()).unwrap(),
            pem: pair.public_key_pem(),
        }
    }

    /// The public half as an entry of a key set, with these fields besides.
    pub(super) fn jwk(&self, fields: &Value) -> Value {
        let mut jwk = self.public.clone();
        for (name, value) in fields.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    /// Such an entry with a name.
    pub(super) fn named(&self, kid: &str) -> Value {
        self.jwk(&json!({ "kid": kid }))
    }

    /// A good token with this `kid`.
    pub(super) fn token(&self, kid: Option<&str>) -> String {
        self.sign(self.algorithm, kid, &good())
    }

    pub(super) fn sign(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        sign(algorithm, kid, &self.key, claims)
    }
}

pub(super) fn good() -> Value {
    json!({"sub": "42", "exp": NOW + 60})
}

pub(super) fn hmac(secret: &str, kid: Option<&str>) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    sign(Algorithm::HS256, kid, &key, &good())
}

pub(super) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn sign(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, key).unwrap()
}
