//! The API for backends over real HTTP: every route, every refusal, every scope.

use std::time::Duration;

use adapter_redis::MemoryHub;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{API_KEY, Node, http_full};

const SCOPED: [(&str, &str); 3] = [
    ("API__KEYS", "key-admin"),
    ("API__PUBLISH_KEYS", "key-publish,other-publish"),
    ("API__READ_KEYS", "key-read"),
];

/// Every route, what its key has to be good for, and a body that is right.
const ROUTES: [(&str, &str, &str, &str); 14] = [
    ("POST", "/publish", "publish", r#"{"room":"r","event":"e"}"#),
    ("POST", "/publish/batch", "publish", r#"{"items":[]}"#),
    (
        "POST",
        "/request",
        "publish",
        r#"{"room":"r","event":"e","timeout":100}"#,
    ),
    ("POST", "/reply", "publish", r#"{"id":"0123456789abcdef-1"}"#),
    ("POST", "/join", "admin", r#"{"user":"u","rooms":["r"]}"#),
    ("POST", "/leave", "admin", r#"{"user":"u","rooms":["r"]}"#),
    ("POST", "/disconnect", "admin", r#"{"user":"u"}"#),
    ("POST", "/revoke", "admin", r#"{"user":"u"}"#),
    ("POST", "/explain", "read", r#"{"claims":{"sub":"u"}}"#),
    ("GET", "/rooms/{room}", "read", ""),
    ("GET", "/users/{id}", "read", ""),
    ("GET", "/nodes", "read", ""),
    ("GET", "/tail", "read", ""),
    ("GET", "/openapi.json", "", ""),
];

async fn call(node: &Node, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
    node.call(method, &format!("/api/v1{path}"), key, body).await
}

async fn post(node: &Node, path: &str, body: &str) -> (u16, Value) {
    call(node, "POST", path, Some(API_KEY), body).await
}

async fn get(node: &Node, path: &str) -> (u16, Value) {
    call(node, "GET", path, Some(API_KEY), "").await
}

#[tokio::test]
async fn every_scope_opens_its_own_routes() {
    let node = Node::start_with(&MemoryHub::new(), &SCOPED);
    for (method, path, needed, body) in ROUTES {
        for (key, scope) in [
            (None, ""),
            (Some("key"), ""),
            (Some("key-admin,key-publish"), ""),
            (Some("key-admin"), "admin"),
            (Some("key-publish"), "publish"),
            (Some("other-publish"), "publish"),
            (Some("key-read"), "read"),
        ] {
            // What would be a stream without an end is asked for wrongly.
            let asked = if path == "/tail" { "/tail?x=1" } else { path };
            let (status, answer) = call(&node, method, asked, key, body).await;
            let expect = match (needed, scope) {
                ("", _) | (_, "admin") => 200,
                (_, "") => 401,
                (needed, scope) if needed == scope => 200,
                // `{room}` and `{id}` are no names, but nobody without the scope is told.
                _ => 403,
            };
            let expect = match (expect, path) {
                (200, "/rooms/{room}" | "/tail") => 422,
                (200, "/reply") => 404, // nobody waits
                (expect, _) => expect,
            };
            assert_eq!(status, expect, "{method} {path} with {key:?}: {answer}");
            match status {
                401 => assert_eq!(answer["code"], "unauthorized"),
                403 => {
                    assert_eq!(answer["code"], "forbidden");
                    let detail = answer["detail"].as_str().unwrap();
                    assert!(detail.contains(&format!("scope `{needed}`")), "{detail}");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_narrow_key_is_enough_to_open_the_api() {
    let keys = [("API__KEYS", ""), ("API__READ_KEYS", "key-read")];
    let node = Node::start_with(&MemoryHub::new(), &keys);
    assert_eq!(call(&node, "GET", "/nodes", Some("key-read"), "").await.0, 200);
    let (status, problem) = call(&node, "POST", "/publish", Some("key-read"), "{}").await;
    assert_eq!(status, 403);
    let expect = "this needs a key of scope `publish`, one of api.publish_keys or api.keys; the one that was sent has \
                  scope `read`";
    assert_eq!(problem["detail"], expect);
}

#[tokio::test]
async fn the_document_knows_every_route_and_needs_no_key() {
    let node = Node::start(&MemoryHub::new());
    let (status, head, body) = http_full(node.operations, "GET", "/api/v1/openapi.json", &[], "").await;
    assert_eq!(status, 200);
    assert!(head.contains("application/json"), "{head}");
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), ROUTES.len());
    for (method, path, scope, _) in ROUTES {
        let operation = &paths[&format!("/api/v1{path}")][method.to_lowercase()];
        let documented = operation.pointer("/security/0/key/0").and_then(Value::as_str);
        assert_eq!(documented.unwrap_or_default(), scope, "{path}");
        // The route exists: the other method is refused as a method, not as a path.
        let other = if method == "GET" { "POST" } else { "GET" };
        let (status, problem) = call(&node, other, path, Some(API_KEY), "").await;
        assert_eq!(
            (status, &problem["code"]),
            (405, &json!("method_not_allowed")),
            "{path}"
        );
    }
    let (status, problem) = get(&node, "/nothing").await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
}

#[tokio::test]
async fn documented_examples_are_accepted() {
    let node = Node::start(&MemoryHub::new());
    let (_, document) = get(&node, "/openapi.json").await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(operation) = methods.get("post") else {
            continue;
        };
        let mut example = operation["requestBody"]["content"]["application/json"]["example"].clone();
        if example.get("timeout").is_some() {
            example["timeout"] = json!("100ms");
        }
        let (status, answer) = node.call("POST", path, Some(API_KEY), &example.to_string()).await;
        if path.ends_with("/reply") {
            assert_eq!(answer["code"], "not_waited_for");
            continue;
        }
        assert_eq!(status, 200, "{path}: {answer}");
        let documented = &operation["responses"]["200"]["content"]["application/json"]["example"];
        let fields = |answer: &Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&answer), fields(documented), "{path}");
    }
}

#[tokio::test]
async fn a_request_collects_acknowledgements() {
    let node = Node::start(&MemoryHub::new());
    let (status, answer) = post(
        &node,
        "/request",
        r#"{"room":"nobody","event":"e","timeout":"100ms"}"#,
    )
    .await;
    assert_eq!(
        (status, answer),
        (200, json!({"acks": [], "missing": 0, "complete": true}))
    );
}

// Nodes do not answer questions from their sockets yet: drop `ignore` here and below when they do.
#[tokio::test]
async fn acknowledgements_come_as_clients_wrote_them() {
    let node = Node::start(&MemoryHub::new());
    let mut client = node.connect(json!({"sub": "42"})).await;
    let silent = node.connect(json!({"sub": "42"})).await;
    let asked = post(
        &node,
        "/request",
        r#"{"room":"user:42","event":"e","data":1,"timeout":"500ms"}"#,
    );
    let answering = async {
        let event = client.next().await.unwrap();
        client
            .acknowledge(&event, &[json!({"b": 1, "a": 2}), json!(null)])
            .await
            .unwrap();
    };
    let ((status, answer), ()) = tokio::join!(asked, answering);
    let expect = json!({"acks": [[{"b": 1, "a": 2}, null]], "missing": 1, "complete": true});
    assert_eq!((status, answer), (200, expect));
    drop(silent);
}

#[tokio::test]
async fn sockets_are_found_moved_and_ended() {
    let node = Node::start(&MemoryHub::new());
    let this = node.stats().await["node"]["id"].clone();
    let mut client = node.connect(json!({"sub": "42", "tenant_id": "acme"})).await;
    let other = node.connect(json!({"sub": "42"})).await;
    let (_, room) = get(&node, "/rooms/user:42?list=1").await;
    assert_eq!(
        (&room["sockets"], &room["users"], &room["nodes"]),
        (&json!(2), &json!(1), &json!(1)),
        "{room}"
    );
    assert_eq!(room["members"].as_array().unwrap().len(), 1);
    let one = json!({"sockets": 1, "nodes": 1, "complete": true, "missing": []});
    let order = json!({"session": client.id(), "rooms": ["team:7"]}).to_string();
    assert_eq!(post(&node, "/join", &order).await, (200, one.clone()));
    let (_, user) = get(&node, "/users/42").await;
    assert_eq!((&user["connected"], &user["nodes"]), (&json!(2), &json!(1)));
    let sockets = user["sockets"].as_array().unwrap();
    let found = sockets.iter().find(|s| s["id"] == client.id()).unwrap();
    let rooms = json!(["system", "team:7", "tenant:acme", "user:42"]);
    let expect = json!({"id": client.id(), "user": "42", "tenant": "acme", "node": this, "rooms": rooms});
    assert_eq!(found, &expect);
    let (_, nodes) = get(&node, "/nodes").await;
    assert_eq!(nodes["nodes"][0]["connected"], 2);
    assert_eq!(post(&node, "/leave", &order).await, (200, one.clone()));
    assert_eq!(get(&node, "/rooms/team:7").await.1["sockets"], 0);
    let order = json!({"session": client.id()}).to_string();
    assert_eq!(post(&node, "/disconnect", &order).await, (200, one));
    client.closed().await;
    drop(other);
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let node = Node::start(&MemoryHub::new());
    for (body, code) in [
        ("", "not_json"),
        ("[]", "wrong_type"),
        (r#"{"timeout":"1s"}"#, "no_room"),
        (r#"{"room":"a","event":"e","timeuot":"1s"}"#, "unknown_field"),
        (r#"{"room":"a","room":"b","event":"e"}"#, "duplicate_field"),
        (r#"{"room":"a","event":"disconnect"}"#, "bad_event"),
        (r#"{"room":"a","event":"e","id":"1"}"#, "not_for_requests"),
        (r#"{"room":"a","event":"e","retain":false}"#, "not_for_requests"),
        (r#"{"room":"a","event":"e","count":true}"#, "not_for_requests"),
        (r#"{"room":"a","event":"e","timeout":0}"#, "bad_timeout"),
        (r#"{"room":"a","event":"e","timeout":"61s"}"#, "bad_timeout"),
        (r#"{"room":"a","event":"e","timeout":null}"#, "bad_timeout"),
        (
            r#"{"room":"a","event":"e","timeout":1,"timeout":1}"#,
            "bad_timeout",
        ),
    ] {
        let (status, problem) = post(&node, "/request", body).await;
        assert_eq!(
            (status, &problem["code"]),
            (422, &json!(code)),
            "{body}: {problem}"
        );
    }
    let deep = format!(
        r#"{{"room":"a","event":"e","data":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let (status, problem) = post(&node, "/request", &deep).await;
    assert_eq!((status, &problem["code"]), (422, &json!("not_json")));
    let (_, problem) = post(&node, "/publish", r#"{"room":"a","event":"e","timeout":1}"#).await;
    assert_eq!(problem["code"], "unknown_field", "only a request has a timeout");
}

#[tokio::test]
async fn orders_are_answered() {
    let node = Node::start(&MemoryHub::new());
    let nobody = json!({"sockets": 0, "nodes": 0, "complete": true, "missing": []});
    for (path, body) in [
        ("/disconnect", r#"{"user":"nobody"}"#),
        (
            "/disconnect",
            r#"{"session":"nobody","reason":"why","reconnect":true}"#,
        ),
        ("/disconnect", r#"{"room":"nobody","reconnect":false}"#),
        ("/join", r#"{"user":"nobody","rooms":["a","b"]}"#),
        ("/join", r#"{"session":"nobody","rooms":["a"]}"#),
        ("/leave", r#"{"room":"nobody","rooms":["a"]}"#),
    ] {
        assert_eq!(
            post(&node, path, body).await,
            (200, nobody.clone()),
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn bad_orders_are_refused() {
    let node = Node::start(&MemoryHub::new());
    let large = format!(r#"{{"user":"{}"}}"#, "x".repeat(1 << 20));
    for (path, body, code) in [
        ("/disconnect", "", "bad_order"),
        ("/disconnect", "[]", "bad_order"),
        ("/disconnect", r#"{"user":"a","resaon":"x"}"#, "bad_order"),
        ("/disconnect", r#"{"user":1}"#, "bad_order"),
        ("/disconnect", "{}", "bad_target"),
        ("/disconnect", r#"{"user":"a","session":"b"}"#, "bad_target"),
        ("/disconnect", r#"{"user":""}"#, "bad_target"),
        ("/disconnect", r#"{"room":"{a}"}"#, "bad_room"),
        ("/disconnect", r#"{"user":"a","reason":""}"#, "bad_reason"),
        ("/disconnect", large.as_str(), "too_large"),
        ("/join", r#"{"user":"a"}"#, "bad_order"),
        ("/join", r#"{"user":"a","rooms":[]}"#, "no_room"),
        ("/join", r#"{"user":"a","rooms":[""]}"#, "bad_room"),
        ("/leave", r#"{"rooms":["a"]}"#, "bad_target"),
        (
            "/leave",
            r#"{"user":"a","rooms":["a"],"reason":"x"}"#,
            "bad_order",
        ),
    ] {
        let (status, problem) = post(&node, path, body).await;
        assert_eq!(
            (status, &problem["code"]),
            (422, &json!(code)),
            "{path} {body:.80}: {problem}"
        );
    }
    let rooms: Vec<String> = (0..129).map(|n| n.to_string()).collect();
    let (status, problem) = post(&node, "/join", &json!({"user": "a", "rooms": rooms}).to_string()).await;
    assert_eq!((status, &problem["code"]), (422, &json!("too_many_rooms")));
    let (_, problem) = post(&node, "/disconnect", r#"{"usr":"a"}"#).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("unknown field `usr`, expected one of `user`"),
        "{detail}"
    );
}

#[tokio::test]
async fn rooms_and_users_that_are_not_there_are_zeros() {
    let node = Node::start(&MemoryHub::new());
    let nobody =
        json!({"room": "a b/é", "sockets": 0, "users": 0, "nodes": 0, "complete": true, "missing": []});
    assert_eq!(get(&node, "/rooms/a%20b%2F%C3%A9").await, (200, nobody.clone()));
    let (status, listed) = get(&node, "/rooms/a%20b%2F%C3%A9?list=10").await;
    let mut expect = nobody;
    expect["members"] = json!([]);
    assert_eq!((status, listed), (200, expect));
    let nobody =
        json!({"user": "4:2", "connected": 0, "sockets": [], "nodes": 0, "complete": true, "missing": []});
    assert_eq!(get(&node, "/users/4%3a2").await, (200, nobody));
}

#[tokio::test]
async fn bad_names_and_queries_are_refused() {
    let node = Node::start(&MemoryHub::new());
    let long = "x".repeat(257);
    for (path, code) in [
        ("/rooms/%7Ba%7D".to_owned(), "bad_room"),
        ("/rooms/a%0A".to_owned(), "bad_room"),
        ("/rooms/%ff".to_owned(), "bad_room"),
        (format!("/rooms/{long}"), "bad_room"),
        ("/rooms/a?list=0".to_owned(), "bad_query"),
        ("/rooms/a?list=1001".to_owned(), "bad_query"),
        ("/rooms/a?lsit=1".to_owned(), "bad_query"),
        ("/users/%ff".to_owned(), "bad_user"),
        ("/users/a%00".to_owned(), "bad_user"),
        (format!("/users/{long}"), "bad_user"),
    ] {
        let (status, problem) = get(&node, &path).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn nodes_are_listed() {
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__HANDSHAKES_PER_SECOND", "70")]);
    let (status, answer) = get(&node, "/nodes").await;
    let id = node.stats().await["node"]["id"].clone();
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["bus"], &answer["complete"]),
        (&json!("connected"), &json!(true))
    );
    let nodes = answer["nodes"].as_array().unwrap();
    let this: Vec<&Value> = nodes.iter().filter(|n| n["this"] == true).collect();
    assert_eq!(this.len(), 1, "{answer}");
    let expect = json!({"id": id, "version": env!("CARGO_PKG_VERSION"), "connected": 0, "rooms": 0, "draining": false, "admits": 70, "heard_ms_ago": 0, "this": true});
    assert_eq!(this[0], &expect);
}

#[tokio::test]
async fn a_body_far_too_large_is_answered_after_it_was_sent() {
    let node = Node::start(&MemoryHub::new());
    let large = json!({"room": "a", "event": "e", "data": "x".repeat(5 << 20)}).to_string();
    for path in ["/publish", "/request", "/disconnect"] {
        let (status, problem) = post(&node, path, &large).await;
        assert_eq!((status, &problem["code"]), (422, &json!("too_large")), "{path}");
    }
    // A body without an end is not read for ever.
    let mut stream = TcpStream::connect(node.operations).await.unwrap();
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\ncontent-length: 1000000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let endless = async {
        let chunk = vec![b' '; 1 << 20];
        let mut sent = 0;
        while sent < 200 && stream.write_all(&chunk).await.is_ok() {
            sent += 1;
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        sent
    };
    let sent = timeout(Duration::from_secs(20), endless).await.expect("an end");
    assert!((17..200).contains(&sent), "{sent} MiB were taken");
}
