//! A token from a client: none that we did not sign is let in, wherever it stands; and of those that we did sign only
//! those that are good at this time.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use gateway::auth::{Config, Keys, Places, Verifier};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const LEEWAY: u64 = 5;
/// Not one of the seeds is signed with it.
const SECRET: &str = "the-secret-that-the-fuzzer-does-not-know";
const PUBLIC: &str = include_str!("token.pem");

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| verifier(true));
static NO_QUERY: LazyLock<Verifier> = LazyLock::new(|| verifier(false));

fuzz_target!(|text: &str| {
    forged(text);
    signed(text);
});

fn forged(text: &str) {
    assert!(
        VERIFIER.verify_now(text, now()).is_err(),
        "a forged token is let in"
    );
    let (none, headers) = (Value::Null, HeaderMap::new());
    let admit = |auth: &Value, headers: &HeaderMap, query: &str| {
        let places = Places { auth, headers, query };
        for verifier in [&*VERIFIER, &*NO_QUERY] {
            let Some(admitted) = verifier.admit(places, now()).now_or_never() else {
                panic!("waits for a key, and all are here");
            };
            assert!(admitted.is_err(), "let in by {auth} {headers:?} {query}");
        }
    };
    admit(&json!({ "token": text }), &headers, "");
    admit(&none, &headers, text);
    admit(&none, &headers, &format!("token={text}"));
    if let Ok(auth) = serde_json::from_str(text) {
        admit(&auth, &headers, "");
    }
    for header in [text.to_owned(), format!("Bearer {text}")] {
        if let Ok(value) = HeaderValue::from_str(&header) {
            admit(&none, &HeaderMap::from_iter([(AUTHORIZATION, value)]), "");
        }
    }
}

/// The signature is right, and the claims are anything at all.
fn signed(claims: &str) {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let Ok(signature) = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256) else {
        panic!("HS256 cannot sign");
    };
    let Ok(admitted) = VERIFIER.verify_now(&format!("{message}.{signature}"), now()) else {
        return;
    };
    let meant: Value = match serde_json::from_str(claims) {
        Ok(meant) => meant,
        Err(error) => panic!("let in with claims that are not JSON: {error}"),
    };
    assert_eq!(admitted.values(), &meant);
    let seconds = |claim: &str| meant.get(claim).and_then(Value::as_f64);
    assert!(
        seconds("exp").is_some_and(|exp| exp + LEEWAY as f64 > NOW as f64),
        "expired: {meant}"
    );
    assert!(admitted.expires_at() + LEEWAY > NOW);
    // Fractions are cut off, so that it may be early by less than a second.
    assert!(
        seconds("nbf").is_none_or(|nbf| nbf < (NOW + LEEWAY + 1) as f64),
        "too early: {meant}"
    );
    assert_eq!(meant.get("iss"), Some(&json!("https://id.example")));
    let audience = meant.get("aud").unwrap_or(&Value::Null);
    let crm = json!("crm");
    assert!(audience == &crm || audience.as_array().is_some_and(|items| items.contains(&crm)));
}

fn verifier(query_token: bool) -> Verifier {
    let keys = match Keys::new(Some(SECRET), Some(PUBLIC), &[]) {
        Ok(keys) => keys,
        Err(error) => panic!("the keys of this target: {error}"),
    };
    Verifier::new(Config {
        keys,
        issuers: vec!["https://id.example".to_owned()],
        audiences: vec!["crm".to_owned()],
        leeway: Duration::from_secs(LEEWAY),
        query_token,
    })
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}
