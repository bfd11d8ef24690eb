//! Handshakes while the bus takes its time.

use std::time::Duration;

use adapter_redis::{Refused, Tokens};
use arc_swap::ArcSwap;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::{
    auth::{self, Keys, Verifier},
    engine::Sockets,
    expiry::Expiry,
    joining::{self, bell::Bell},
    limits::CurrentLimits,
    metrics::Metrics,
    policy::Policy,
    revocation::Ending,
    rules::{InForce, Rules},
};

const SECRET: &str = "a-secret-of-more-than-32-bytes-for-tests";

fn sessions(bell: &Bell) -> Sessions {
    let keys = || Keys::new(Some(SECRET), None, &[]).unwrap();
    let config = auth::Config {
        keys: keys(),
        issuers: vec![],
        audiences: vec![],
        leeway: Duration::ZERO,
        query_token: false,
    };
    let (limits, metrics) = (CurrentLimits::default(), Metrics::new().unwrap());
    let loaded = InForce {
        policy: Arc::new(Policy::parse(crate::policy::WHATSAPP_CRM).unwrap()),
        shadow: None,
    };
    let common = Common {
        verifier: ArcSwap::from_pointee(Verifier::new(config)),
        rules: Rules::new(loaded, metrics.clone()),
        sockets: Sockets::default(),
        tails: crate::tail::Tails::default(),
        doors: Box::new(bell.clone()),
        joining: joining::channel().0,
        relaying: Box::new(crate::relaying::Nobody),
        forwarding: crate::forwarding::Forwarding::nowhere(&metrics),
        hooks: crate::hooks::Hooks::none(&metrics),
        population: Arc::default(),
        metrics: metrics.clone(),
        limits: limits.clone(),
        roster: Arc::default(),
        revocations: crate::revocation::Revocations::default(),
        expiry: Expiry::new(SystemTime::now),
    };
    Sessions::new(common, crate::limits::channel(&limits, &metrics).0)
}

async fn connect(sessions: &Sessions) -> Result<Admitted<Session>, String> {
    let keys = Keys::new(Some(SECRET), None, &[]).unwrap();
    let claims = json!({"sub": "42", "tenant_id": "t", "jti": "a"})
        .as_object()
        .unwrap()
        .clone();
    let token = auth::sign(&keys, claims, Duration::from_secs(60), SystemTime::now()).unwrap();
    let (request, ()) = http::Request::new(()).into_parts();
    let handshake = Handshake {
        socket: "socket-0000000000001".parse().unwrap(),
        auth: json!({"token": token}),
        request: &request,
        peer: None,
    };
    let connected = sessions.connect(handshake);
    timeout(Duration::from_secs(10), connected)
        .await
        .expect("in time")
        .map_err(|refused| refused.message)
}

#[tokio::test]
async fn a_client_is_let_in_when_all_its_rooms_are_open() {
    let bell = Bell::default();
    let sessions = sessions(&bell);
    let opening = async {
        let mut asked = [bell.asked().await, bell.asked().await, bell.asked().await];
        assert!(bell.is_silent(), "all were asked for at once");
        asked.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<String> = asked.iter().map(|(name, _)| name.clone()).collect();
        for (_, confirm) in asked {
            assert_eq!(sessions.population().connected(), 0, "nobody is in yet");
            confirm.send(Ok(Box::new(()))).ok().unwrap();
        }
        names
    };
    let (admitted, names) = tokio::join!(connect(&sessions), opening);
    assert_eq!(names, ["system", "tenant:t", "user:42"]);
    let admitted = admitted.unwrap();
    assert_eq!(admitted.rooms.len(), 3);
    assert_eq!(sessions.population().connected(), 1);
    drop(admitted);
    assert_eq!(sessions.population().connected(), 0);
}

#[tokio::test]
async fn a_client_is_refused_with_one_of_its_rooms_and_holds_none() {
    let bell = Bell::default();
    let sessions = sessions(&bell);
    let opening = async {
        let (_, mut first) = bell.asked().await;
        let (_, second) = bell.asked().await;
        second.send(Err(Refused)).ok().unwrap();
        timeout(Duration::from_secs(10), first.closed())
            .await
            .expect("given up");
    };
    let (admitted, ()) = tokio::join!(connect(&sessions), opening);
    assert_eq!(
        admitted.err().as_deref(),
        Some(Refusal::ServerUnavailable.message())
    );
    assert_eq!(sessions.population().connected(), 0);
    let text = sessions.common.metrics.render();
    assert!(
        text.contains("roomcast_handshakes_total{outcome=\"unavailable\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_gets_the_rooms_of_the_policy_that_is_in_force_when_it_is_let_in() {
    let bell = Bell::default();
    let sessions = sessions(&bell);
    let opening = async {
        let asked = [bell.asked().await, bell.asked().await, bell.asked().await];
        let text = "[identity]\nuser = \"claims.sub\"\n[[join]]\nroom = \"new\"\n";
        sessions.rules().set(InForce {
            policy: Arc::new(Policy::parse(text).unwrap()),
            shadow: None,
        });
        for (_, confirm) in asked {
            confirm.send(Ok(Box::new(()))).ok().unwrap();
        }
        let (name, confirm) = bell.asked().await;
        confirm.send(Ok(Box::new(()))).ok().unwrap();
        name
    };
    let (admitted, name) = tokio::join!(connect(&sessions), opening);
    let rooms: Vec<String> = admitted
        .unwrap()
        .rooms
        .iter()
        .map(|(r, _)| r.to_string())
        .collect();
    assert_eq!((name.as_str(), rooms), ("new", vec!["new".to_owned()]));
}

fn revoker(sessions: &Sessions) -> Ending {
    let common = &sessions.common;
    Ending {
        revocations: common.revocations.clone(),
        roster: common.roster.clone(),
        population: common.population.clone(),
        sockets: common.sockets.clone(),
    }
}

fn revoked() -> Tokens {
    Tokens::Jti { jti: "a".to_owned() }
}

#[tokio::test]
async fn a_token_that_was_revoked_asks_for_no_room() {
    let bell = Bell::default();
    let sessions = sessions(&bell);
    assert_eq!(
        revoker(&sessions).revoke(&revoked(), u64::MAX >> 12).await,
        Some(0)
    );
    let admitted = connect(&sessions).await;
    assert_eq!(admitted.err().as_deref(), Some(Refusal::TokenRevoked.message()));
    assert!(bell.is_silent());
    let text = sessions.common.metrics.render();
    assert!(
        text.contains("roomcast_handshakes_total{outcome=\"token_revoked\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_token_that_is_revoked_while_its_client_is_let_in_is_refused() {
    let bell = Bell::default();
    let sessions = sessions(&bell);
    let opening = async {
        let asked = [bell.asked().await, bell.asked().await, bell.asked().await];
        assert_eq!(
            revoker(&sessions).revoke(&revoked(), u64::MAX >> 12).await,
            Some(0)
        );
        for (_, confirm) in asked {
            confirm.send(Ok(Box::new(()))).ok().unwrap();
        }
    };
    let (admitted, ()) = tokio::join!(connect(&sessions), opening);
    assert_eq!(admitted.err().as_deref(), Some(Refusal::TokenRevoked.message()));
    assert_eq!(sessions.population().connected(), 0);
    assert!(sessions.common.roster.all().is_empty());
}
