//! Several sources of keys side by side: issuers with sets of their own, configured keys, another configuration.

use serde_json::{Value, json};

use super::{
    super::test_keys::{OTHER_P256, OTHER_RSA, P256, Pair, RSA, SECRET, good, hmac},
    stage::{A, B, Doing, S, Stage, answers, config},
};
use crate::refusal::Refusal;

#[tokio::test(start_paused = true)]
async fn another_configuration_keeps_what_was_fetched() {
    let mut stage = Stage::with(&[RSA.named("1")]).await;
    stage.now(A, Doing::Stalls);
    stage.now(B, answers(&[P256.named("2")]));
    stage.verifier = stage
        .verifier
        .with(config(&[A], &[], |material| material.secret = Some(SECRET)));
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
    stage.lets_in_at_once(&hmac(SECRET, Some("any"))).await;
    assert_eq!(stage.asked(), 1, "it is not due yet");

    let both = config(&[A, B], &["https://a", "https://b"], |_| {});
    stage.verifier = stage.verifier.with(both);
    let of = |pair: &Pair, algorithm, kid, issuer: &str| {
        let mut claims = good();
        claims["iss"] = json!(issuer);
        pair.sign(algorithm, Some(kid), &claims)
    };
    let (a, b) = (
        of(&RSA, jsonwebtoken::Algorithm::RS256, "1", "https://a"),
        of(&P256, jsonwebtoken::Algorithm::ES256, "2", "https://b"),
    );
    stage.lets_in_at_once(&a).await;
    assert_eq!(
        stage.verify(&b).await.0,
        None,
        "a new URL is fetched in the background"
    );
    assert_eq!(stage.asked(), 2);

    stage.verifier = stage.verifier.with(config(&[B], &[], |_| {}));
    stage.lets_in_at_once(&b).await;
    tokio::time::sleep(S * 3001).await;
    assert_eq!(stage.asked(), 2 + 10, "nobody needs the other one any more");
}

#[tokio::test(start_paused = true)]
async fn no_issuer_can_sign_for_another() {
    use jsonwebtoken::Algorithm::{ES256, RS256};
    let issuers = ["https://a", "https://b"];
    let stage = Stage::new(
        config(&[A, B], &issuers, |_| {}),
        &[
            (A, answers(&[RSA.named("same"), OTHER_RSA.named("a")])),
            (B, answers(&[P256.named("same"), OTHER_P256.jwk(&json!({}))])),
        ],
    );
    stage.fetches(2).await;
    let claims = |issuer: Value| {
        let mut claims = good();
        claims["iss"] = issuer;
        claims
    };
    let (a, b) = (claims(json!("https://a")), claims(json!("https://b")));
    let mut nobody = good();
    nobody["sub"] = json!("x");
    for (token, expect) in [
        (RSA.sign(RS256, Some("same"), &a), None),
        (P256.sign(ES256, Some("same"), &b), None),
        (OTHER_P256.sign(ES256, None, &b), None),
        // A signs as B, and the other way round, with the name of a key of either, or with none.
        (RSA.sign(RS256, Some("same"), &b), Some(Refusal::TokenAlgorithm)),
        (
            OTHER_RSA.sign(RS256, Some("same"), &b),
            Some(Refusal::TokenAlgorithm),
        ),
        (OTHER_RSA.sign(RS256, Some("a"), &b), Some(Refusal::TokenKey)),
        (RSA.sign(RS256, None, &b), Some(Refusal::TokenAlgorithm)),
        (P256.sign(ES256, Some("same"), &a), Some(Refusal::TokenAlgorithm)),
        (OTHER_P256.sign(ES256, None, &a), Some(Refusal::TokenAlgorithm)),
        // Somebody else, nobody, and both.
        (
            RSA.sign(RS256, Some("same"), &claims(json!("https://c"))),
            Some(Refusal::TokenIssuer),
        ),
        (RSA.sign(RS256, Some("same"), &nobody), Some(Refusal::TokenIssuer)),
        (
            RSA.sign(RS256, Some("same"), &claims(json!(issuers))),
            Some(Refusal::TokenIssuer),
        ),
    ] {
        assert_eq!(stage.verify(&token).await.0, expect, "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_set_all_issuers_use_it() {
    let config = config(&[A], &["https://a", "https://b"], |_| {});
    let stage = Stage::new(config, &[(A, answers(&[RSA.named("1")]))]);
    stage.fetches(1).await;
    for (issuer, expect) in [
        ("https://a", None),
        ("https://b", None),
        ("https://c", Some(Refusal::TokenIssuer)),
    ] {
        let mut claims = good();
        claims["iss"] = json!(issuer);
        let token = RSA.sign(jsonwebtoken::Algorithm::RS256, Some("1"), &claims);
        assert_eq!(stage.verify(&token).await.0, expect, "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn configured_keys_work_while_the_provider_is_away() {
    let config = config(&[A], &[], |material| {
        material.secret = Some(SECRET);
        material.previous_secret = Some("the-secret-of-before-with-32-bytes");
        material.pem = Some(&RSA.pem);
    });
    let stage = Stage::new(config, &[(A, Doing::Stalls)]);
    stage.fetches(1).await;
    for token in [
        hmac(SECRET, None),
        hmac("the-secret-of-before-with-32-bytes", Some("old")),
        RSA.token(None),
        RSA.token(Some("any")),
    ] {
        stage.lets_in_at_once(&token).await;
    }
    assert_eq!(
        stage
            .verify(&hmac("another-secret-another-secret-another", None))
            .await
            .0,
        Some(Refusal::TokenSignature)
    );
    assert_eq!(
        stage.verify(&OTHER_RSA.token(Some("1"))).await.0,
        Some(Refusal::KeysUnavailable)
    );
    stage.now(A, answers(&[OTHER_RSA.named("1")]));
    tokio::time::sleep(S * 61).await;
    stage.lets_in_at_once(&OTHER_RSA.token(Some("1"))).await;
    // From now on that name is the set's.
    assert_eq!(
        stage.verify(&RSA.token(Some("1"))).await.0,
        Some(Refusal::TokenSignature)
    );
    assert_eq!(
        stage.verify(&hmac(SECRET, Some("1"))).await.0,
        Some(Refusal::TokenAlgorithm)
    );
    stage.lets_in_at_once(&RSA.token(Some("2"))).await;
}
