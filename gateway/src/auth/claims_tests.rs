//! Tokens and what becomes of them, at a fixed time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::super::{self as auth, Config, Keys, Material, Places, Verifier};
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
        let got = verifier(&[]).verify_now(&token, now()).err();
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
        assert_eq!(
            verifier(&[]).verify_now(&token, now()).err(),
            expect,
            "{token:.60}"
        );
    }
    let hs512 = sign(Algorithm::HS512, SECRET, &good());
    assert_eq!(
        verifier(&["HS256"]).verify_now(&hs512, now()).err(),
        Some(TokenAlgorithm)
    );
}

#[tokio::test]
async fn the_first_token_present_decides() {
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
    let admit = async |auth: &Value, headers: &HeaderMap, query: &str| {
        verifier.admit(Places { auth, headers, query }, now()).await.err()
    };
    let none = HeaderMap::new();
    assert_eq!(admit(&json!({"token": good}), &none, "").await, None);
    assert_eq!(admit(&json!({}), &bearer(&good), "").await, None);
    assert_eq!(admit(&json!({"token": null}), &bearer(&good), "").await, None);
    assert_eq!(admit(&json!({"token": good}), &bearer("rubbish"), "").await, None);
    assert_eq!(
        admit(&json!({"token": "x"}), &bearer(&good), "").await,
        Some(Refusal::TokenMalformed)
    );
    assert_eq!(
        admit(&json!({"token": 1}), &bearer(&good), "").await,
        Some(Refusal::TokenMalformed)
    );
    assert_eq!(admit(&json!(null), &none, "").await, Some(Refusal::TokenMissing));
    let query = format!("EIO=4&token={good}");
    assert_eq!(
        admit(&json!({}), &none, &query).await,
        Some(Refusal::TokenMissing),
        "off by default"
    );
    let mut basic = HeaderMap::new();
    basic.insert("authorization", HeaderValue::from_static("Basic eHg6eXk="));
    assert_eq!(
        admit(&json!({}), &basic, &query).await,
        Some(Refusal::TokenMalformed)
    );
}

#[test]
fn while_a_secret_is_exchanged_both_verify_and_the_current_one_signs() {
    const NEW: &str = "another-secret-of-more-than-32-bytes-xx";
    let verifier = |secret: &'static str, previous_secret| {
        let material = Material {
            secret: Some(secret),
            previous_secret,
            ..Material::default()
        };
        Verifier::new(Config {
            keys: Keys::of(material, &[]).unwrap(),
            issuers: vec![],
            audiences: vec![],
            leeway: Duration::ZERO,
            query_token: false,
        })
    };
    let (before, meanwhile, after) = (
        verifier(SECRET, None),
        verifier(NEW, Some(SECRET)),
        verifier(NEW, None),
    );
    let old = sign(Algorithm::HS384, SECRET, &good());
    let claims = good().as_object().unwrap().clone();
    let new = auth::sign(&meanwhile.config.keys, claims, Duration::ZERO, now()).unwrap();
    let refused = Some(Refusal::TokenSignature);
    for (verifier, of_old, of_new) in [
        (before, None, refused),
        (meanwhile, None, None),
        (after, refused, None),
    ] {
        assert_eq!(verifier.verify_now(&old, now()).err(), of_old);
        assert_eq!(verifier.verify_now(&new, now()).err(), of_new);
    }
}
