//! Tokens and what becomes of them, at a fixed time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::super::{Config, Keys, Places, Verifier};
use crate::refusal::Refusal;

const SECRET: &str = "a-secret-of-more-than-32-bytes-for-tests";
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn verifier(algorithms: &[&str]) -> Verifier {
    let algorithms: Vec<String> = algorithms.iter().map(|a| (*a).to_owned()).collect();
    Verifier::new(Config {
        keys: Keys::new(Some(SECRET), None, &algorithms).unwrap(),
        issuers: vec!["https://id.example".into()],
        audiences: vec!["crm".into()],
        leeway: Duration::from_secs(5),
        query_token: false,
    })
}

fn good() -> Value {
    json!({"sub": "42", "exp": NOW + 60, "iss": "https://id.example", "aud": ["x", "crm"]})
}

fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

#[test]
fn claims_and_times() {
    use Refusal::*;
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    for (claims, expect) in [
        (good(), None),
        (with("exp", json!(NOW - 4)), None),
        (with("exp", json!(NOW - 5)), Some(TokenExpired)),
        (with("exp", json!(NOW as f64 + 0.5)), None),
        (with("exp", json!(1e300)), None),
        (with("exp", json!(-1)), Some(TokenExpired)),
        (with("exp", json!("tomorrow")), Some(ClaimMissing)),
        (without("exp"), Some(ClaimMissing)),
        (with("nbf", json!(NOW + 5)), None),
        (with("nbf", json!(NOW + 6)), Some(TokenNotYetValid)),
        (with("nbf", json!("x")), Some(ClaimMissing)),
        (with("iss", json!("https://evil.example")), Some(TokenIssuer)),
        (without("iss"), Some(TokenIssuer)),
        (with("aud", json!("crm")), None),
        (with("aud", json!(["y"])), Some(TokenAudience)),
        (with("aud", json!({})), Some(TokenAudience)),
        (without("aud"), Some(TokenAudience)),
    ] {
        let token = sign(Algorithm::HS256, SECRET, &claims);
        let got = verifier(&[]).verify(&token, now()).err();
        assert_eq!(got, expect, "{claims}");
    }
}

#[test]
fn signatures_and_algorithms() {
    use Refusal::*;
    let token = sign(Algorithm::HS256, SECRET, &good());
    let (head, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0"; // {"alg":"none"}
    for (token, expect) in [
        (sign(Algorithm::HS512, SECRET, &good()), None),
        (
            sign(
                Algorithm::HS256,
                "another-secret-of-more-than-32-bytes-xx",
                &good(),
            ),
            Some(TokenSignature),
        ),
        (format!("{head}.{body}."), Some(TokenSignature)),
        (format!("{head}.{body}"), Some(TokenMalformed)),
        (format!("{none}.{body}."), Some(TokenAlgorithm)),
        (format!("{none}.{body}.{signature}"), Some(TokenAlgorithm)),
        (String::new(), Some(TokenMalformed)),
        ("a.b.c".into(), Some(TokenMalformed)),
        ("é".repeat(40_000), Some(TokenMalformed)),
    ] {
        assert_eq!(verifier(&[]).verify(&token, now()).err(), expect, "{token:.60}");
    }
    let hs512 = sign(Algorithm::HS512, SECRET, &good());
    assert_eq!(
        verifier(&["HS256"]).verify(&hs512, now()).err(),
        Some(TokenAlgorithm)
    );
}

#[test]
fn the_first_token_present_decides() {
    let good = sign(Algorithm::HS256, SECRET, &good());
    let verifier = verifier(&[]);
    let bearer = |token: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(
            "authorization",
            HeaderValue::from_str(&format!("bearer {token}")).unwrap(),
        );
        headers
    };
    let admit = |auth: &Value, headers: &HeaderMap, query: &str| {
        verifier.admit(Places { auth, headers, query }, now()).err()
    };
    let none = HeaderMap::new();
    assert_eq!(admit(&json!({"token": good}), &none, ""), None);
    assert_eq!(admit(&json!({}), &bearer(&good), ""), None);
    assert_eq!(admit(&json!({"token": null}), &bearer(&good), ""), None);
    assert_eq!(admit(&json!({"token": good}), &bearer("rubbish"), ""), None);
    assert_eq!(
        admit(&json!({"token": "x"}), &bearer(&good), ""),
        Some(Refusal::TokenMalformed)
    );
    assert_eq!(
        admit(&json!({"token": 1}), &bearer(&good), ""),
        Some(Refusal::TokenMalformed)
    );
    assert_eq!(admit(&json!(null), &none, ""), Some(Refusal::TokenMissing));
    let query = format!("EIO=4&token={good}");
    assert_eq!(
        admit(&json!({}), &none, &query),
        Some(Refusal::TokenMissing),
        "off by default"
    );
    let mut basic = HeaderMap::new();
    basic.insert("authorization", HeaderValue::from_static("Basic eHg6eXk="));
    assert_eq!(admit(&json!({}), &basic, &query), Some(Refusal::TokenMalformed));
}
