//! What verifying a token costs: `cargo bench -p gateway --bench tokens`.
//!
//! All of it, from the text to checked claims, with the key of a set that has its `kid`; and the same with a set of a
//! thousand keys. The last lines are of tokens that are refused.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    hint::black_box,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gateway::auth::{Config, KeySet, Keys, Material, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, jwk::Jwk};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData,
};
use serde_json::{Value, json};

/// How long each is repeated for.
const LONG_ENOUGH: Duration = Duration::from_millis(1000);
const SECRET: &str = "a-secret-of-more-than-32-bytes-for-benches";

fn main() {
    use Algorithm::*;
    println!("one token, from its text to checked claims");
    let hmac = EncodingKey::from_secret(SECRET.as_bytes());
    let verifier = verifier(None);
    for algorithm in [HS256, HS512] {
        let token = sign(algorithm, &hmac);
        measure(&format!("{algorithm:?}"), || {
            verifier.verify_now(&token, now()).unwrap()
        });
    }
    let mut rs256 = None;
    for algorithm in [RS256, PS256, ES256, ES384, EdDSA] {
        let (key, jwk) = pair(algorithm);
        let token = sign(algorithm, &key);
        let verifier = self::verifier(Some(vec![jwk.clone()]));
        measure(&format!("{algorithm:?}"), || {
            verifier.verify_now(&token, now()).unwrap()
        });
        if algorithm == RS256 {
            rs256 = Some((token, jwk));
        }
    }
    let (token, jwk) = rs256.unwrap();
    let named = |n: usize| {
        let mut jwk = jwk.clone();
        jwk["kid"] = format!("k{n}").into();
        jwk
    };
    let thousand = (0..999).map(named).chain([jwk.clone()]).collect();
    let large = self::verifier(Some(thousand));
    measure("RS256, a set of 1,000 keys", || {
        large.verify_now(&token, now()).unwrap()
    });
    println!("\nrefused");
    let (head, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(342));
    measure("RS256, another signature", || {
        large.verify_now(&forged, now()).unwrap_err()
    });
    let few = self::verifier(Some(vec![named(1)]));
    measure("RS256, unknown kid", || {
        few.verify_now(&token, now()).unwrap_err()
    });
    println!("\nreading a set");
    for count in [2, 1_000] {
        let text = json!({"keys": (0..count).map(named).collect::<Vec<_>>()}).to_string();
        measure(&format!("{count} RSA keys"), || {
            KeySet::parse(text.as_bytes()).unwrap()
        });
    }
}

/// A private key, and an entry of a set with the public half.
fn pair(algorithm: Algorithm) -> (EncodingKey, Value) {
    let kind = match algorithm {
        Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
        Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
        Algorithm::EdDSA => &PKCS_ED25519,
        _ => &PKCS_RSA_SHA256,
    };
    let pair = KeyPair::generate_for(kind).unwrap();
    let (pem, public) = (pair.serialize_pem(), pair.der_bytes());
    let (private, public) = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => (
            EncodingKey::from_ec_pem(pem.as_bytes()),
            DecodingKey::from_ec_der(public),
        ),
        Algorithm::EdDSA => (
            EncodingKey::from_ed_pem(pem.as_bytes()),
            DecodingKey::from_ed_der(public),
        ),
        _ => (
            EncodingKey::from_rsa_pem(pem.as_bytes()),
            DecodingKey::from_rsa_der(public),
        ),
    };
    let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&public, None).unwrap()).unwrap();
    jwk["kid"] = "key".into();
    (private.unwrap(), jwk)
}

fn verifier(keys: Option<Vec<Value>>) -> Verifier {
    let material = Material {
        secret: Some(SECRET),
        file: keys.map(|keys| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()),
        ..Material::default()
    };
    Verifier::new(Config {
        keys: Keys::of(material, &[]).unwrap(),
        issuers: vec!["https://id.example.com".to_owned()],
        audiences: vec!["crm".to_owned()],
        leeway: Duration::from_secs(5),
        query_token: false,
    })
}

fn sign(algorithm: Algorithm, key: &EncodingKey) -> String {
    let claims = json!({
        "sub": "42", "tenant_id": "acme", "account_id": "17", "iss": "https://id.example.com", "aud": "crm",
        "exp": 1_800_000_060, "iat": 1_800_000_000, "whatsapp_accounts": ["1", "2", "3"], "campaigns": ["1"],
    });
    let mut header = Header::new(algorithm);
    header.kid = Some("key".to_owned());
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

fn measure<T>(name: &str, mut work: impl FnMut() -> T) {
    for _ in 0..10 {
        black_box(work());
    }
    let (mut times, start) = (0_u32, Instant::now());
    while start.elapsed() < LONG_ENOUGH {
        for _ in 0..10 {
            black_box(work());
        }
        times += 10;
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(times);
    println!("  {name:38} {each:9.2} µs");
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
