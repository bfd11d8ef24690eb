//! Revoked tokens: sockets of all nodes, handshakes, and nodes that were not there at the time.

use adapter_redis::{MemoryHub, NodeId, Question, Tokens};
use gateway::reload::Reload;
use loadtest::CloseReason;
use serde_json::{Value, json};

use crate::cli::roomcast;
use crate::support::{API_KEY, Node, config_layers, token, until};

async fn nodes(hub: &MemoryHub, count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| Node::start(hub)).collect();
    for node in &nodes {
        until("the nodes know one another", async || {
            node.stats().await["cluster"]["nodes"] == count
        })
        .await;
    }
    nodes
}

async fn revoke(node: &Node, body: Value) -> Value {
    let (status, answer) = node
        .call("POST", "/api/v1/revoke", Some(API_KEY), &body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn refused(node: &Node, token: &str) -> bool {
    match node.connecting(token).open().await {
        Ok(client) => {
            client.close().await;
            false
        }
        Err(error) => {
            assert!(
                error.to_string().contains("the token has been revoked"),
                "{error}"
            );
            true
        }
    }
}

#[tokio::test]
async fn a_token_is_revoked_on_every_node() {
    let hub = MemoryHub::new();
    let nodes = nodes(&hub, 3).await;
    let (revoked, other) = (
        token(json!({"sub": "ann", "jti": "a"})),
        token(json!({"sub": "ann", "jti": "b"})),
    );
    let (mut gone, mut stay) = (Vec::new(), Vec::new());
    for node in &nodes {
        gone.push(node.connecting(&revoked).open().await.unwrap());
        stay.push(node.connecting(&other).open().await.unwrap());
    }
    let answer = revoke(&nodes[1], json!({"jti": "a"})).await;
    assert_eq!(
        answer,
        json!({"sockets": 3, "nodes": 3, "complete": true, "missing": []})
    );
    for client in &mut gone {
        assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
    }
    for node in &nodes {
        assert!(refused(node, &revoked).await);
        assert!(!refused(node, &other).await);
        assert_eq!(node.metric("roomcast_revoked_total").await, 1.0);
        assert_eq!(node.metric("roomcast_revocations ").await, 1.0);
        assert_eq!(
            node.metric("roomcast_handshakes_total{outcome=\"token_revoked\"}")
                .await,
            1.0
        );
    }
    nodes[0]
        .publish(json!({"room": "user:ann", "event": "still"}))
        .await;
    for client in &mut stay {
        assert_eq!(client.next().await.unwrap().name, "still");
    }
    let again = revoke(&nodes[2], json!({"jti": "a"})).await;
    assert_eq!(again["sockets"], 0);
}

#[tokio::test]
async fn a_users_tokens_are_revoked_by_the_time_of_their_issue() {
    let hub = MemoryHub::new();
    let nodes = nodes(&hub, 2).await;
    let of = |user: &str, issued_at: Value| token(json!({"sub": user, "iat": issued_at}));
    let (old, new, unsaid) = (
        of("ann", json!(1_000)),
        of("ann", json!(2_000)),
        token(json!({"sub": "ann"})),
    );
    let others = of("bob", json!(1_000));
    let mut clients = Vec::new();
    for (node, token) in [(0, &old), (1, &unsaid), (0, &new), (1, &others)] {
        clients.push(nodes[node].connecting(token).open().await.unwrap());
    }
    let answer = revoke(&nodes[0], json!({"user": "ann", "issued_before": 1_999.5})).await;
    assert_eq!(
        answer,
        json!({"sockets": 2, "nodes": 2, "complete": true, "missing": []})
    );
    for client in &mut clients[..2] {
        assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
    }
    for node in &nodes {
        assert!(refused(node, &old).await && refused(node, &unsaid).await);
        assert!(!refused(node, &new).await && !refused(node, &others).await);
    }
    // Without a time it is now.
    assert_eq!(revoke(&nodes[1], json!({"user": "ann"})).await["sockets"], 1);
    assert!(refused(&nodes[0], &new).await && !refused(&nodes[0], &others).await);
}

#[tokio::test]
async fn a_node_that_was_cut_off_sends_away_who_is_connected() {
    let hub = MemoryHub::new();
    let nodes = nodes(&hub, 2).await;
    let revoked = token(json!({"sub": "ann", "jti": "a"}));
    let mut client = nodes[1].connecting(&revoked).open().await.unwrap();
    let id = nodes[1].stats().await["node"]["id"].as_str().unwrap().to_owned();
    hub.partition(&NodeId::parse(&id).unwrap());
    let answer = revoke(&nodes[0], json!({"jti": "a"})).await;
    assert_eq!(
        answer,
        json!({"sockets": 0, "nodes": 0, "complete": false, "missing": [id]})
    );
    assert!(!refused(&nodes[1], &revoked).await, "it cannot know");
    hub.heal(&NodeId::parse(&id).unwrap());
    assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
    assert!(refused(&nodes[1], &revoked).await);
}

#[tokio::test]
async fn a_node_that_starts_refuses_from_its_first_client_on() {
    let hub = MemoryHub::new();
    let first = nodes(&hub, 1).await;
    let revoked = token(json!({"sub": "ann", "jti": "a"}));
    revoke(&first[0], json!({"jti": "a"})).await;
    for _ in 0..5 {
        let late = Node::start(&hub);
        assert!(refused(&late, &revoked).await);
    }
}

/// Whoever is let in while the token is being revoked is refused, or sent away.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_slips_in_while_a_token_is_being_revoked() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    for round in 0..20 {
        let id = format!("token {round}");
        let revoked = token(json!({"sub": "ann", "jti": id}));
        let connecting = futures_util::future::join_all((0..16).map(|_| node.connecting(&revoked).open()));
        let revoking = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            revoke(&node, json!({"jti": id})).await;
        };
        let (clients, ()) = tokio::join!(connecting, revoking);
        for mut client in clients.into_iter().flatten() {
            assert_eq!(
                client.closed().await,
                CloseReason::ServerDisconnect,
                "round {round}"
            );
        }
        until("nobody is counted", async || node.local.load().connected == 0).await;
    }
}

#[tokio::test]
async fn a_node_without_a_place_refuses_and_its_limit_is_live() {
    let hub = MemoryHub::new();
    let max = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(1));
    let current = max.clone();
    let (node, reload): (Node, Reload) = Node::start_from(&hub, move || {
        let max = current.load(std::sync::atomic::Ordering::SeqCst).to_string();
        config_layers(&[("AUTH__REVOCATIONS__MAX", &max)])
    });
    revoke(&node, json!({"jti": "a"})).await;
    let call = async || {
        node.call("POST", "/api/v1/revoke", Some(API_KEY), r#"{"jti":"b"}"#)
            .await
    };
    let (status, problem) = call().await;
    assert_eq!(
        (status, &problem["code"], &problem["retry"]),
        (503, &json!("revocations_full"), &json!(true))
    );
    let order = Question::Revoke {
        tokens: Tokens::Jti { jti: "c".to_owned() },
        until_ms: u64::MAX >> 12,
    };
    assert!(
        node.local.answer(order).await.unsupported,
        "for another node it is missing"
    );
    assert_eq!(node.metric("roomcast_revocations_full_total").await, 2.0);
    max.store(2, std::sync::atomic::Ordering::SeqCst);
    reload.ask();
    until("the new limit holds", async || call().await.0 == 200).await;
}

#[tokio::test]
async fn what_is_no_revocation_is_a_problem_and_a_small_key_does_not_open_it() {
    let hub = MemoryHub::new();
    let node = Node::start_with(&hub, &[("API__READ_KEYS", "reader")]);
    for (body, code) in [
        ("{}", "bad_revocation"),
        (r#"{"jti":"a","user":"b"}"#, "bad_revocation"),
        (r#"{"user":"a","issued_before":1e12}"#, "bad_time"),
        (r#"{"jti":7}"#, "bad_order"),
        ("[]", "bad_order"),
    ] {
        let (status, problem) = node.call("POST", "/api/v1/revoke", Some(API_KEY), body).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{body}");
    }
    let (status, _) = node
        .call("POST", "/api/v1/revoke", Some("reader"), r#"{"jti":"a"}"#)
        .await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn the_command_line_revokes() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let revoked = token(json!({"sub": "ann", "jti": "a"}));
    let mut client = node.connecting(&revoked).open().await.unwrap();
    let url = format!("http://{}", node.operations);
    let run = async |arguments: &[&str]| {
        let common = ["revoke", "--url", &url, "--api-key", API_KEY];
        let arguments: Vec<String> = common.iter().chain(arguments).map(|a| (*a).to_owned()).collect();
        let run = move || roomcast(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let output = run(&["--jti", "a", "--expires-at", "4000000000"]).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer,
        json!({"sockets": 1, "nodes": 1, "complete": true, "missing": []})
    );
    assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
    let output = run(&["--user", "ann", "--issued-before", "4000000000"]).await;
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        message.contains("bad_time: `issued_before` is still to come"),
        "{message}"
    );
}
