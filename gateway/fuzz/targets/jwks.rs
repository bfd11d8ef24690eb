//! The text of a key set, as an identity provider may answer: reading it never panics, finds no more keys than there are
//! entries, and no set verifies a token that nobody signed.

#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::auth::{Config, KeySet, Keys, Material, Verifier};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MOST_BYTES: usize = 1 << 20;
const MOST_KEYS: usize = 1_000;

fuzz_target!(|text: &[u8]| {
    let Ok(set) = KeySet::parse(text) else {
        return;
    };
    let Ok(meant) = serde_json::from_slice::<Value>(text) else {
        panic!("a key set that is not JSON");
    };
    let Some(entries) = meant.get("keys").and_then(Value::as_array) else {
        panic!("a key set without a list of keys");
    };
    assert!(text.len() <= MOST_BYTES && entries.len() <= MOST_KEYS);
    assert!(set.count() > 0 && set.count() + set.secrets() <= entries.len());
    let is_secret =
        |entry: &&Value| entry.get("kty").is_some_and(|kty| kty == "oct") || entry.get("d").is_some();
    assert_eq!(set.secrets(), entries.iter().filter(is_secret).count());

    let kid = entries.iter().find_map(|entry| entry.get("kid")).cloned();
    let material = Material {
        file: Some(set),
        ..Material::default()
    };
    let keys = match Keys::of(material, &[]) {
        Ok(keys) => keys,
        Err(error) => panic!("the keys of a set: {error}"),
    };
    let verifier = Verifier::new(Config {
        keys,
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        query_token: false,
    });
    let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"42","exp":4000000000}"#);
    for algorithm in ["HS256", "RS256", "PS384", "ES256", "ES384", "EdDSA"] {
        let header = serde_json::json!({"alg": algorithm, "kid": kid}).to_string();
        for signature in ["", "AAAA", &claims] {
            let token = format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(&header));
            assert!(
                verifier.verify_now(&token, now()).is_err(),
                "a forged token is let in"
            );
        }
    }
});

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
