//! The listeners: what is served where, to whom, and with which errors.

use std::net::SocketAddr;

use adapter_redis::MemoryHub;
use serde_json::{Value, json};

use crate::{
    cli::roomcast,
    config::Folder,
    support::{API_KEY, Node, http, http_full, reached, token},
};

#[tokio::test]
async fn the_public_listener_serves_nothing_else() {
    let node = Node::start(&MemoryHub::new());
    for (path, expect) in [
        ("/healthz", 200),
        ("/", 404),
        ("/metrics", 404),
        ("/stats", 404),
        ("/readyz", 404),
        ("/api/v1/publish", 404),
        ("/socket.io/socket.io.js", 400),
        ("/socket.iox/?EIO=4&transport=polling", 404),
        ("/socket.io/?EIO=4&transport=polling", 200),
        ("/socket.io/?EIO=3&transport=polling", 400),
        ("/socket.io/?EIO=4&transport=carrier-pigeon", 400),
        ("/socket.io/?EIO=4&transport=polling&sid=unknown", 400),
    ] {
        let (status, body) = http(node.address, "GET", path, &[], "").await;
        // The engine answers everything below its own path in its own words.
        let engine = path.starts_with("/socket.io/") && expect == 400;
        assert!(
            status == expect || (engine && (400..500).contains(&status)),
            "{path}: {status} {body}"
        );
    }
}

#[tokio::test]
async fn the_operations_listener_answers_operators() {
    let node = Node::start(&MemoryHub::new());
    assert_eq!(
        http(node.operations, "GET", "/livez", &[], "").await,
        (200, "ok".to_owned())
    );
    let (status, ready) = node.call("GET", "/readyz", None, "").await;
    assert_eq!(
        (status, ready),
        (
            200,
            json!({"ready": true, "draining": false, "bus": {"state": "connected"}})
        )
    );
    let (status, problem) = node.call("GET", "/nowhere", None, "").await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    let (_, metrics) = http(node.operations, "GET", "/metrics", &[], "").await;
    for name in [
        "roomcast_connections{transport=\"polling\"} 0",
        "roomcast_users 0",
        "roomcast_rooms 0",
        "roomcast_handshakes_total{outcome=\"accepted\"} 0",
        "roomcast_handshakes_total{outcome=\"token_expired\"} 0",
        "roomcast_disconnects_total{reason=\"ping_timeout\"} 0",
        "roomcast_events_in_total 0",
        "roomcast_events_out_total 0",
        "roomcast_bytes_out_total 0",
        "roomcast_publish_total{source=\"api\",outcome=\"reached\"} 0",
        "roomcast_publish_unreached_total 0",
        "roomcast_dropped_total{reason=\"slow_consumer\"} 0",
        "roomcast_dropped_total{reason=\"bus_lag\"} 0",
        "roomcast_bus_connected 1",
        "roomcast_bus_received_total{used=\"true\"} 0",
        "roomcast_draining 0",
        "roomcast_build_info{version=",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_alive_whatever_its_configuration_says_by_now() {
    let node = Node::start(&MemoryHub::new());
    let folder = Folder::new("health");
    // No policy, no keys, and a mistake: nothing that a node could start with.
    let health = |address: SocketAddr| {
        let text = format!("[ops]\nlisten = \"{address}\"\nlisten_to = \"me\"\n");
        let file = folder.file("roomcast.toml", &text);
        let output = roomcast(&["health", "--config", file.to_str().unwrap()]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    assert_eq!(health(node.operations), (Some(0), "ok\n".to_owned()));
    let url = format!("http://{}", node.address);
    let public = roomcast(&["health", "--url", &url]);
    assert_eq!(public.status.code(), Some(69), "another listener is not healthy");
    let (code, said) = health(SocketAddr::from(([127, 0, 0, 1], 1)));
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("ops.listen_to"), "{said}");
}

#[tokio::test]
async fn only_a_key_opens_the_api() {
    let node = Node::start_with(&MemoryHub::new(), &[("API__KEYS", "one,test-key")]);
    let envelope = json!({"room": "user:42", "event": "e"}).to_string();
    for (key, expect) in [
        (None, 401),
        (Some(""), 401),
        (Some("on"), 401),
        (Some("one,test-key"), 401),
        (Some("one"), 200),
        (Some(API_KEY), 200),
    ] {
        let (status, body) = node.call("POST", "/api/v1/publish", key, &envelope).await;
        assert_eq!(status, expect, "{key:?} {body}");
        if expect == 401 {
            assert_eq!(body["code"], "unauthorized");
        }
    }
    let none = Node::start_with(&MemoryHub::new(), &[("API__KEYS", "")]);
    let (status, body) = none.call("POST", "/api/v1/publish", Some(""), &envelope).await;
    assert_eq!(status, 401, "no keys: the API is shut, not open; {body}");
}

#[tokio::test]
async fn bad_envelopes_are_refused_whole() {
    let node = Node::start(&MemoryHub::new());
    for (envelope, code) in [
        ("", "not_json"),
        ("{", "not_json"),
        (r#"{"event":"e"}"#, "no_room"),
        (r#"{"room":"a"}"#, "no_event"),
        (r#"{"room":"a{b}","event":"e"}"#, "bad_room"),
        (r#"{"room":"a","event":"disconnect"}"#, "bad_event"),
        (r#"{"room":"a","rooms":["b"],"event":"e"}"#, "room_and_rooms"),
        (r#"{"room":"a","event":"e","data":1,"args":[]}"#, "data_and_args"),
        (r#"{"room":"a","event":"e","dat":1}"#, "unknown_field"),
        (r#"{"room":"a","event":"e","data":{"$binary":"?"}}"#, "bad_binary"),
    ] {
        let (status, head, body) = http_full(
            node.operations,
            "POST",
            "/api/v1/publish",
            &[&format!("authorization: Bearer {API_KEY}")],
            envelope,
        )
        .await;
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, problem["code"].as_str().unwrap()),
            (422, code),
            "{envelope}"
        );
        assert!(head.contains("application/problem+json"), "{head}");
    }
    let large = json!({"room": "a", "event": "e", "data": "x".repeat(2 << 20)}).to_string();
    let (status, problem) = node.call("POST", "/api/v1/publish", Some(API_KEY), &large).await;
    assert_eq!((status, &problem["code"]), (422, &json!("too_large")));
    assert_eq!(
        node.metric("roomcast_publish_total{source=\"api\",outcome=\"invalid\"}")
            .await,
        10.0
    );
}

#[tokio::test]
async fn origins() {
    let node = Node::start_with(
        &MemoryHub::new(),
        &[("CORS__ALLOWED_ORIGINS", "https://app.example")],
    );
    let own = format!("http://{}", node.address);
    for (origin, status, allowed) in [
        ("https://app.example", 200, Some("https://app.example")),
        (own.as_str(), 200, None),
        ("https://evil.example", 403, None),
        ("https://app.example.evil.example", 403, None),
        ("null", 403, None),
    ] {
        let (got, head, body) = http_full(
            node.address,
            "GET",
            "/socket.io/?EIO=4&transport=polling",
            &[&format!("origin: {origin}")],
            "",
        )
        .await;
        assert_eq!(got, status, "{origin}: {body}");
        let header = head
            .lines()
            .find_map(|l| l.strip_prefix("access-control-allow-origin: "));
        assert_eq!(header, allowed, "{origin}");
        if status == 403 {
            assert!(!head.contains("access-control"), "{head}");
            assert_eq!(body, r#"{"code":4,"message":"Forbidden"}"#);
        }
    }
}

#[tokio::test]
async fn refusals_are_told_and_counted() {
    let node = Node::start(&MemoryHub::new());
    for (token, message, code) in [
        (
            "rubbish".to_owned(),
            "the token is not a valid JWT",
            "token_malformed",
        ),
        (
            token(json!({"sub": "42", "exp": 1})),
            "the token has expired",
            "token_expired",
        ),
        (
            token(json!({"x": 1})),
            "the token lacks a claim that is needed to connect",
            "claim_missing",
        ),
    ] {
        let error = node.connecting(&token).open().await.expect_err("refused");
        assert!(
            matches!(&error, loadtest::ConnectError::Refused { message: m, .. } if m == message),
            "{error:?}"
        );
        assert_eq!(
            node.metric(&format!("roomcast_handshakes_total{{outcome=\"{code}\"}}"))
                .await,
            1.0
        );
    }
    assert_eq!(node.stats().await["node"]["connected"], 0);
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_survives_a_bad_item() {
    let node = Node::start(&MemoryHub::new());
    let mut client = node.connect(json!({"sub": "42"})).await;
    let mut items: Vec<Value> = (0..300)
        .map(|n| json!({"room": "user:42", "event": "n", "data": n}))
        .collect();
    items[7] = json!({"room": "user:42"});
    items[8] = json!("no envelope");
    let batch = json!({"items": items}).to_string();
    let (status, answer) = node
        .call("POST", "/api/v1/publish/batch", Some(API_KEY), &batch)
        .await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 300);
    assert_eq!(
        reached(&results[0]),
        json!({"nodes": 1, "sockets": 1, "complete": true})
    );
    assert_eq!(
        (&results[7]["status"], &results[7]["code"]),
        (&json!(422), &json!("no_event"))
    );
    assert_eq!(results[8]["status"], 422);
    for n in (0..300).filter(|n| *n != 7 && *n != 8) {
        assert_eq!(client.next().await.unwrap().args[0], n);
    }
    let many = json!({"items": vec![1; 1001]}).to_string();
    for (body, code) in [
        ("[]", "bad_batch"),
        (r#"[[{"room":"a","event":"e"}]]"#, "bad_batch"),
        (r#"{"item":[]}"#, "bad_batch"),
        (many.as_str(), "too_many_items"),
    ] {
        let (status, problem) = node
            .call("POST", "/api/v1/publish/batch", Some(API_KEY), body)
            .await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{problem}");
    }
    let (status, empty) = node
        .call("POST", "/api/v1/publish/batch", Some(API_KEY), r#"{"items":[]}"#)
        .await;
    assert_eq!((status, empty), (200, json!({"results": []})));
    let (status, _) = node.call("POST", "/api/v1/publish/batch", None, "{}").await;
    assert_eq!(status, 401);
    let (status, problem) = node.call("GET", "/api/v1/publish", Some(API_KEY), "").await;
    assert_eq!((status, &problem["code"]), (405, &json!("method_not_allowed")));
}
