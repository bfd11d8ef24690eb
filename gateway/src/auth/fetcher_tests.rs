//! Handshakes while key sets are fetched.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{
    super::{
        refresh::MOST_WAITING,
        test_keys::{P256, P384, RSA, SECRET, hmac, set},
    },
    stage::{A, Doing, S, Stage, answers, config},
    *,
};
use crate::refusal::Refusal;

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_at_the_start_and_again_and_again() {
    let stage = Stage::with(&[RSA.named("1")]).await;
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
    stage.now(
        A,
        Doing::Answers(set(&[RSA.named("2"), P256.named("3")]), Some(S * 60)),
    );
    tokio::time::sleep(S * 299).await;
    assert_eq!(stage.asked(), 1);
    tokio::time::sleep(S).await;
    assert_eq!(stage.asked(), 2);
    stage.lets_in_at_once(&P256.token(Some("3"))).await;
    assert_eq!(stage.sample("roomcast_jwks_keys"), 2.0);
    assert!(stage.sample("roomcast_jwks_last_success_timestamp_seconds") > 0.0);
    tokio::time::sleep(S * 60).await;
    assert_eq!(stage.asked(), 3, "as the answer asked for");
    assert_eq!(
        stage.verify(&RSA.token(Some("1"))).await.0,
        Some(Refusal::TokenKey),
        "it was taken back"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_holds_up_nobody_whose_key_is_known() {
    for (doing, label) in [
        (Doing::Fails(FetchOutcome::Unreachable), "unreachable"),
        (Doing::Fails(FetchOutcome::BadAnswer), "bad_answer"),
        (Doing::Stalls, "timeout"),
        (Doing::Answers("<html>".to_owned(), None), "not_a_key_set"),
        (answers(&[]), "not_a_key_set"),
        (
            answers(&[json!({"kty": "oct", "k": "AAAA", "kid": "1"})]),
            "not_a_key_set",
        ),
    ] {
        let stage = Stage::with(&[RSA.named("1")]).await;
        stage.now(A, doing);
        let day = Instant::now() + S * 3600 * 24;
        tokio::time::sleep(S * 300).await;
        for _ in 0..100 {
            stage.lets_in_at_once(&RSA.token(Some("1"))).await;
            stage.lets_in_at_once(&RSA.token(None)).await;
            tokio::time::sleep(S).await;
        }
        let failed = format!("roomcast_jwks_fetches_total{{outcome=\"{label}\"}}");
        assert!(
            (5.0..=12.0).contains(&stage.sample(&failed)),
            "{label}: {}",
            stage.sample(&failed)
        );
        assert_eq!(stage.sample("roomcast_jwks_keys"), 1.0, "{label}");
        // It may be a key of now: trying again makes sense.
        let (refused, took) = stage.verify(&P256.token(Some("2"))).await;
        assert_eq!(refused, Some(Refusal::KeysUnavailable), "{label}");
        assert!(took <= S * 5, "{label}: {took:?}");
        tokio::time::sleep_until(day).await;
        stage.lets_in_at_once(&RSA.token(Some("1"))).await;

        stage.now(A, answers(&[P256.named("2")]));
        tokio::time::sleep(S * 61).await;
        stage.lets_in_at_once(&P256.token(Some("2"))).await;
        assert_eq!(
            stage.verify(&RSA.token(Some("1"))).await.0,
            Some(Refusal::TokenKey),
            "{label}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_come_with_a_new_key_wait_for_one_fetch() {
    let stage = Stage::with(&[RSA.named("1")]).await;
    stage.now(A, Doing::Takes(S, set(&[RSA.named("1"), P256.named("2")])));
    let (new, unknown) = (P256.token(Some("2")), P384.token(Some("3")));
    let known = RSA.token(Some("1"));
    let all = (0..50)
        .flat_map(|_| [&new, &unknown])
        .map(|token| stage.verify(token));
    let late = async {
        tokio::time::sleep(S / 2).await;
        stage.lets_in_at_once(&known).await;
        stage.verify(&new).await
    };
    let (all, late) = tokio::join!(join_all(all), late);
    for pair in all.chunks(2) {
        assert_eq!(pair, [(None, S), (Some(Refusal::TokenKey), S)]);
    }
    assert_eq!(late, (None, S / 2));
    assert_eq!(stage.asked(), 2, "the first, and one for all");
}

#[tokio::test(start_paused = true)]
async fn strangers_do_not_make_the_node_ask_all_the_time() {
    let stage = Stage::with(&[RSA.named("1")]).await;
    for n in 0..1000 {
        let (refused, took) = stage.verify(&P256.token(Some(&format!("x{n}")))).await;
        assert_eq!(refused, Some(Refusal::TokenKey));
        assert_eq!(took, Duration::ZERO, "the script answers at once");
        tokio::time::sleep(S / 10).await;
    }
    let asked = stage.asked();
    assert!(
        (10..=11).contains(&asked),
        "100 s, one each 10 s, and the first: {asked}"
    );
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
    // Only what may be in a key set is asked for.
    tokio::time::sleep(S * 20).await;
    for token in [
        hmac(SECRET, Some("x")),
        hmac(SECRET, None),
        P256.token(None),
        "x.y.z".to_owned(),
    ] {
        assert!(stage.verify(&token).await.0.is_some());
    }
    assert_eq!(stage.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_as_long_as_a_fetch_may_take_and_no_longer() {
    let stage = Stage::with(&[RSA.named("1")]).await;
    stage.now(A, Doing::Stalls);
    let unavailable = |took| (Some(Refusal::KeysUnavailable), took);
    assert_eq!(stage.verify(&P256.token(Some("2"))).await, unavailable(S * 5));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        stage.verify(&P256.token(Some("2"))).await,
        unavailable(Duration::ZERO),
        "it cools down"
    );
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
}

#[tokio::test(start_paused = true)]
async fn before_the_first_set_clients_are_told_to_try_again() {
    let stage = Stage::new(config(&[A], &[], |_| {}), &[(A, Doing::Stalls)]);
    let unavailable = (Some(Refusal::KeysUnavailable), S * 5);
    let token = RSA.token(Some("1"));
    let both = tokio::join!(stage.verify(&token), stage.verify(&token));
    assert_eq!(both, (unavailable, unavailable), "for the first fetch");
    tokio::time::sleep(S * 20).await;
    let (refused, took) = stage.verify(&RSA.token(None)).await;
    assert_eq!(refused, Some(Refusal::KeysUnavailable));
    assert!(
        took <= S * 5,
        "for the rest of one that is on its way, or for another: {took:?}"
    );
    assert_eq!(stage.sample("roomcast_jwks_last_success_timestamp_seconds"), 0.0);
    stage.now(A, answers(&[RSA.named("1")]));
    tokio::time::sleep(S * 61).await;
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
    stage.lets_in_at_once(&RSA.token(None)).await;
}

#[tokio::test(start_paused = true)]
async fn a_bounded_number_of_clients_waits_and_who_goes_leaves_a_place() {
    let stage = Stage::with(&[RSA.named("1")]).await;
    stage.now(A, Doing::Stalls);
    let token = P256.token(Some("2"));
    let crowd = join_all((0..MOST_WAITING).map(|_| stage.verify(&token)));
    let late = async {
        tokio::time::sleep(S).await;
        stage.verify(&token).await
    };
    let given_up = async {
        tokio::select! {
            crowd = crowd => panic!("{} answers too early", crowd.len()),
            late = late => late,
        }
    };
    assert_eq!(given_up.await, (Some(Refusal::KeysUnavailable), Duration::ZERO));
    assert_eq!(
        stage.sample("roomcast_dropped_total{reason=\"key_queue_full\"}"),
        1.0
    );
    let (refused, took) = stage.verify(&token).await;
    assert_eq!(
        (refused, took),
        (Some(Refusal::KeysUnavailable), S * 4),
        "there is room again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_too_old_verifies_nothing_where_that_is_wanted() {
    let limited = config(&[A], &[], |material| material.timing.max_stale = S * 600);
    let stage = Stage::new(limited, &[(A, answers(&[RSA.named("1")]))]);
    stage.fetches(1).await;
    stage.now(A, Doing::Fails(FetchOutcome::Unreachable));
    tokio::time::sleep(S * 599).await;
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
    tokio::time::sleep(S * 2).await;
    for kid in [Some("1"), None] {
        assert_eq!(
            stage.verify(&RSA.token(kid)).await.0,
            Some(Refusal::KeysUnavailable)
        );
    }
    stage.now(A, answers(&[RSA.named("1")]));
    tokio::time::sleep(S * 61).await;
    stage.lets_in_at_once(&RSA.token(Some("1"))).await;
}

#[test]
fn logs_show_no_query() {
    let provider = Provider::new(A.parse().unwrap(), Timing::default(), Arc::default());
    assert_eq!(provider.shown(), "https://a.example/keys");
}
