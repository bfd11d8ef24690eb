//! What somebody sees who looks at a node: every kind of line, and nothing that was not asked for.

use std::{collections::BTreeSet, time::Duration};

use adapter_redis::MemoryHub;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{API_KEY, Node, config_layers, until};

const SCOPED: [(&str, &str); 3] = [
    ("API__KEYS", API_KEY),
    ("API__PUBLISH_KEYS", "key-publish"),
    ("API__READ_KEYS", "key-read"),
];
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who looks.
struct Tail(BufReader<TcpStream>);

impl Tail {
    async fn open(node: &Node, query: &str) -> Tail {
        let (status, tail) = Tail::ask(node, API_KEY, query).await;
        assert_eq!(status, 200);
        tail
    }

    /// The status, and what follows it: lines, or a problem.
    async fn ask(node: &Node, key: &str, query: &str) -> (u16, Tail) {
        let socket = TcpSocket::new_v4().unwrap();
        // Who does not read is soon noticed.
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let mut stream = socket.connect(node.operations).await.unwrap();
        // By HTTP/1.0, lines come without chunks around them.
        let request = format!("GET /api/v1/tail?{query} HTTP/1.0\r\nauthorization: Bearer {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut tail = Tail(BufReader::new(stream));
        let status = tail.line().await.unwrap();
        while tail.line().await.is_some_and(|line| !line.trim().is_empty()) {}
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 200 {
            assert_eq!(tail.next().await.unwrap()["kind"], "begin");
        }
        (status, tail)
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
        (read.expect("a line in time").unwrap() > 0).then_some(line)
    }

    /// The next line that is no heartbeat; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let line: Value = serde_json::from_str(&self.line().await?).unwrap();
            if line["kind"] != "heartbeat" {
                return Some(line);
            }
        }
    }

    /// The next line of this kind.
    async fn of(&mut self, kind: &str) -> Value {
        loop {
            let line = self
                .next()
                .await
                .unwrap_or_else(|| panic!("it ended before {kind}"));
            if line["kind"] == kind {
                return line;
            }
        }
    }

    /// All lines up to the one about this event.
    async fn before(&mut self, event: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            let line = self.next().await.expect("it goes on");
            if line["event"] == event {
                return lines;
            }
            lines.push(line);
        }
    }
}

async fn pair(hub: &MemoryHub) -> [Node; 2] {
    let nodes = [Node::start(hub), Node::start(hub)];
    for node in &nodes {
        until("the nodes know one another", async || {
            node.stats().await["cluster"]["nodes"] == 2
        })
        .await;
    }
    nodes
}

async fn id(node: &Node) -> Value {
    node.stats().await["node"]["id"].clone()
}

#[tokio::test]
async fn a_publication_is_seen_with_its_hops_on_every_node() {
    let hub = MemoryHub::new();
    let [one, two] = pair(&hub).await;
    let _clients = [
        one.connect(json!({"sub": "42"})).await,
        two.connect(json!({"sub": "42"})).await,
        two.connect(json!({"sub": "42"})).await,
    ];
    let (first, second) = (id(&one).await, id(&two).await);
    let mut tails = [Tail::open(&one, "").await, Tail::open(&two, "").await];
    let (_, answer) = one
        .publish(json!({"room": "user:42", "event": "news", "data": "private"}))
        .await;
    let place = &answer["offset"];

    let mut expect = BTreeSet::from([
        (first.as_str().unwrap().to_owned(), 1),
        (second.as_str().unwrap().to_owned(), 2),
    ]);
    for (tail, (node, sockets)) in tails.iter_mut().zip([(&first, 1), (&second, 2)]) {
        let line = tail.of("delivery").await;
        assert_eq!(
            (
                &line["node"],
                &line["from"],
                &line["publication"],
                &line["sockets"]
            ),
            (node, &first, place, &json!(sockets)),
            "{line}"
        );
        assert_eq!(
            (&line["source"], &line["rooms"]),
            (&json!("node"), &json!(["user:42"]))
        );
        for time in ["since_entry_ms", "since_bus_ms", "took_ms"] {
            assert!(
                line[time]
                    .as_f64()
                    .is_some_and(|ms| (0.0..10_000.0).contains(&ms)),
                "{line}"
            );
        }
        assert!(line["data"].is_null(), "nobody asked for it: {line}");
    }
    let line = tails[0].of("publish").await;
    assert_eq!(
        (
            &line["source"],
            &line["publication"],
            &line["outcome"],
            &line["sockets"]
        ),
        (&json!("api"), place, &json!("reached"), &json!(3)),
        "{line}"
    );
    assert_eq!(
        (&line["subscribers"], &line["complete"]),
        (&json!(2), &json!(true))
    );
    for hop in line["nodes"].as_array().unwrap() {
        let hop = (
            hop["node"].as_str().unwrap().to_owned(),
            hop["sockets"].as_i64().unwrap(),
        );
        assert!(expect.remove(&hop), "{line}");
    }
    assert!(expect.is_empty(), "{line}");
    assert!(line["took_ms"].as_f64() >= line["bus_ms"].as_f64(), "{line}");
}

#[tokio::test]
async fn every_way_of_a_publication_has_its_words() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let _client = node.connect(json!({"sub": "42"})).await;
    let mut tail = Tail::open(&node, "").await;

    node.publish(json!({"rooms": ["user:42", "user:43"], "event": "both"}))
        .await;
    let line = tail.of("publish").await;
    assert_eq!(line["publications"].as_array().map(Vec::len), Some(2), "{line}");

    node.publish(json!({"room": "user:42", "event": "light", "volatile": true}))
        .await;
    let (delivered, published) = (tail.of("delivery").await, tail.of("publish").await);
    assert_eq!(
        (&delivered["source"], &delivered["from"]),
        (&json!("api"), &id(&node).await),
        "{delivered}"
    );
    assert_eq!(
        (&published["event"], &published["nodes"][0]["sockets"]),
        (&json!("light"), &json!(1))
    );

    node.publish(json!({"room": "user:nobody", "event": "void"}))
        .await;
    assert_eq!(tail.of("publish").await["outcome"], "unreached");

    for _ in 0..2 {
        node.publish(json!({"room": "user:42", "event": "once", "id": "1"}))
            .await;
    }
    assert_eq!(tail.of("publish").await["outcome"], "reached");
    assert_eq!(tail.of("publish").await["outcome"], "repeated");

    node.publish(json!({"room": "user:42"})).await;
    let line = tail.of("drop").await;
    assert_eq!(
        (&line["source"], &line["reason"]),
        (&json!("api"), &json!("no_event")),
        "{line}"
    );
    assert_eq!(line["bytes"], 18);

    node.publish(json!({"room": "user:42", "event": "lost", "namespace": "/other"}))
        .await;
    let line = tail.of("drop").await;
    assert_eq!(
        (&line["event"], &line["reason"]),
        (&json!("lost"), &json!("unknown_namespace")),
        "{line}"
    );
}

#[tokio::test]
async fn everything_that_a_client_does_is_seen() {
    let hub = MemoryHub::new();
    let [one, two] = pair(&hub).await;
    let mut tail = Tail::open(&one, "").await;
    let mut other = Tail::open(&two, "").await;
    let listener = two.connect(json!({"sub": "bob", "contacts": ["1"]})).await;
    listener.call("subscribe:contact", &[json!("1")]).await.unwrap();

    let client = one.connect(json!({"sub": "ann", "contacts": ["1"]})).await;
    let line = tail.of("connect").await;
    assert_eq!(
        (&line["user"], &line["session"]),
        (&json!("ann"), &json!(client.id())),
        "{line}"
    );
    assert!(
        line["rooms"].as_array().unwrap().contains(&json!("user:ann")),
        "{line}"
    );

    let said = |line: &Value, event: &str, reason: Value| {
        assert_eq!(
            (&line["user"], &line["event"]),
            (&json!("ann"), &json!(event)),
            "{line}"
        );
        assert_eq!(
            (&line["reason"], &line["source"]),
            (&reason, &json!("client")),
            "{line}"
        );
    };
    client.call("subscribe:contact", &[json!("1")]).await.unwrap();
    let line = tail.of("subscribe").await;
    said(&line, "subscribe:contact", Value::Null);
    assert_eq!(line["rooms"], json!(["contact:1"]));
    client.call("subscribe:contact", &[json!("2")]).await.unwrap();
    said(
        &tail.of("refusal").await,
        "subscribe:contact",
        json!("not_allowed"),
    );
    client.call("nobody:knows", &[]).await.unwrap();
    said(&tail.of("refusal").await, "nobody:knows", json!("unknown_event"));
    client.call(&"x".repeat(10_000), &[]).await.unwrap();
    said(
        &tail.of("refusal").await,
        &"x".repeat(256),
        json!("unknown_event"),
    );
    client.call("ping", &[]).await.unwrap();
    said(&tail.of("reply").await, "ping", Value::Null);

    let data = json!({"contactId": "1", "whatsappAccountId": "w"});
    client.call("typing:start", &[data]).await.unwrap();
    let here = tail.of("delivery").await;
    let line = tail.of("relay").await;
    said(&line, "typing:start", Value::Null);
    assert_eq!(
        (&line["emit"], &line["outcome"]),
        (&json!("typing:indicator"), &json!("queued")),
        "{line}"
    );
    let there = other.of("delivery").await;
    assert_eq!(
        (&there["sockets"], &there["from"]),
        (&json!(1), &id(&one).await),
        "{there}"
    );
    for hop in [&here, &there] {
        assert_eq!(
            hop["publication"], line["publication"],
            "it can be followed: {hop}"
        );
    }

    client.call("unsubscribe:contact", &[json!("1")]).await.unwrap();
    said(&tail.of("leave").await, "unsubscribe:contact", Value::Null);
    let session = client.id().to_owned();
    client.close().await;
    let line = tail.of("disconnect").await;
    assert_eq!(
        (&line["session"], &line["user"]),
        (&json!(session), &json!("ann")),
        "{line}"
    );
    assert!(line["reason"].is_string(), "{line}");

    assert!(one.connecting("no token").open().await.is_err());
    let line = tail.of("refusal").await;
    assert_eq!(
        (&line["reason"], &line["user"]),
        (&json!("token_malformed"), &Value::Null),
        "{line}"
    );
}

#[tokio::test]
async fn nothing_is_seen_of_what_was_not_asked_for() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let ann = node.connect(json!({"sub": "ann", "contacts": ["*"]})).await;
    let bob = node.connect(json!({"sub": "bob", "contacts": ["*"]})).await;
    let mut by_room = Tail::open(&node, "room=user:ann").await;
    let mut by_event = Tail::open(&node, "event=phone_*").await;
    let mut by_user = Tail::open(&node, "user=ann").await;
    let mut by_session = Tail::open(&node, &format!("session={}", bob.id())).await;

    for (room, event) in [
        ("user:ann", "news"),
        ("user:bob", "news"),
        ("user:ann", "phone_status"),
        ("user:bob", "phone_status"),
    ] {
        node.publish(json!({"room": room, "event": event})).await;
    }
    ann.call("subscribe:contact", &[json!("1")]).await.unwrap();
    bob.call("subscribe:contact", &[json!("1")]).await.unwrap();
    // To both of them, and the last that anybody sees.
    node.publish(json!({"rooms": ["user:ann", "user:bob"], "event": "phone_end"}))
        .await;

    let short = |lines: Vec<Value>| -> Vec<String> {
        let mut lines: Vec<String> = lines
            .iter()
            .map(|line| {
                let words = ["kind", "event"].map(|name| line[name].as_str().unwrap_or("-"));
                format!(
                    "{} {} {}",
                    words[0],
                    words[1],
                    line["rooms"][0].as_str().unwrap_or("-")
                )
            })
            .collect();
        lines.sort();
        lines
    };
    let of_ann =
        ["news", "phone_status"].map(|e| [format!("delivery {e} user:ann"), format!("publish {e} user:ann")]);
    let of_bob =
        ["news", "phone_status"].map(|e| [format!("delivery {e} user:bob"), format!("publish {e} user:bob")]);
    let subscribed = ["subscribe subscribe:contact contact:1".to_owned()];
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(short(by_room.before("phone_end").await), sorted(of_ann.concat()));
    assert_eq!(
        short(by_event.before("phone_end").await),
        [
            "delivery phone_status user:ann",
            "delivery phone_status user:bob",
            "publish phone_status user:ann",
            "publish phone_status user:bob"
        ]
    );
    assert_eq!(
        short(by_user.before("phone_end").await),
        sorted([of_ann.concat(), subscribed.to_vec()].concat())
    );
    assert_eq!(
        short(by_session.before("phone_end").await),
        sorted([of_bob.concat(), subscribed.to_vec()].concat())
    );
}

#[tokio::test]
async fn only_who_may_sees_payloads() {
    let node = Node::start_with(&MemoryHub::new(), &SCOPED);
    for (key, query, expect) in [
        ("", "", 401),
        ("wrong", "", 401),
        ("key-publish", "", 403),
        ("key-publish", "data=true", 403),
        ("key-read", "data=true", 403),
        ("key-read", "datum=true", 422),
        ("key-read", "room=a*b", 422),
        ("key-read", "data=false", 200),
        (API_KEY, "data=true", 200),
    ] {
        let (status, mut tail) = Tail::ask(&node, key, query).await;
        assert_eq!(status, expect, "{key} {query}");
        if status != 200 {
            let mut body = String::new();
            tail.0.read_to_string(&mut body).await.unwrap();
            let problem: Value = serde_json::from_str(&body).unwrap();
            let code = ["unauthorized", "forbidden", "bad_filter"];
            let at = [401, 403, 422].iter().position(|s| *s == status).unwrap();
            assert_eq!(problem["code"], code[at]);
            continue;
        }
        let data = json!({"text": "private", "n": 12_345_678_901_234_567_890_u64});
        node.publish(json!({"room": "user:42", "event": "news", "data": data}))
            .await;
        let line = tail.of("publish").await;
        let expect = if query == "data=true" {
            json!([data])
        } else {
            Value::Null
        };
        assert_eq!(line["data"], expect, "{key} {query}");
    }
}

#[tokio::test]
async fn as_many_look_as_may() {
    let node = Node::start(&MemoryHub::new());
    let mut tails = Vec::new();
    for _ in 0..gateway::tail::MAX_TAILS {
        tails.push(Tail::open(&node, "").await);
    }
    let most = gateway::tail::MAX_TAILS as f64;
    assert_eq!(node.metric("roomcast_tails ").await, most);
    let (status, mut refused) = Tail::ask(&node, API_KEY, "").await;
    let mut body = String::new();
    refused.0.read_to_string(&mut body).await.unwrap();
    assert_eq!(status, 503);
    assert!(
        body.contains("too_many_tails") && body.contains("\"retry\":true"),
        "{body}"
    );
    tails.pop();
    until("the place of one that went is free", async || {
        node.publish(json!({"room": "r", "event": "e"})).await;
        node.metric("roomcast_tails ").await == most - 1.0
    })
    .await;
    Tail::open(&node, "").await;
}

#[tokio::test]
async fn who_does_not_read_misses_lines_and_is_told_so() {
    let node = Node::start(&MemoryHub::new());
    let mut tail = Tail::open(&node, "event=flood&data=true").await;
    let item = json!({"room": "r", "event": "flood", "data": "x".repeat(2000), "count": false});
    let batch = json!({"items": vec![item; 1000]}).to_string();
    until("lines are missed", async || {
        let (status, _) = node
            .call("POST", "/api/v1/publish/batch", Some(API_KEY), &batch)
            .await;
        assert_eq!(status, 200);
        node.metric("roomcast_tail_missed_lines_total ").await > 0.0
    })
    .await;
    let missed = tail.of("missed").await;
    assert!(
        missed["lines"].as_u64().is_some_and(|lines| lines > 0),
        "{missed}"
    );
    node.publish(json!({"room": "last", "event": "flood"})).await;
    loop {
        if tail.of("publish").await["rooms"] == json!(["last"]) {
            break;
        }
    }
    assert_eq!(
        node.metric("roomcast_dropped_total{reason=\"slow_consumer\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn a_key_that_is_taken_away_ends_it() {
    let key = std::sync::Arc::new(std::sync::Mutex::new(API_KEY));
    let now = key.clone();
    let (node, reload) = Node::start_from(&MemoryHub::new(), move || {
        config_layers(&[("API__KEYS", *now.lock().unwrap())])
    });
    let mut tail = Tail::open(&node, "").await;
    *key.lock().unwrap() = "another-key";
    reload.ask();
    assert_eq!(tail.of("end").await["reason"], "key_removed");
    assert_eq!(tail.next().await, None);
}

#[tokio::test]
async fn it_ends_with_the_node_and_shows_how_that_goes() {
    let node = Node::start(&MemoryHub::new());
    let _client = node.connect(json!({"sub": "42"})).await;
    let mut tail = Tail::open(&node, "").await;
    let stopped = node.stop();
    assert_eq!(tail.of("disconnect").await["reason"], "server_shutting_down");
    assert_eq!(tail.of("end").await["reason"], "node_stopping");
    assert_eq!(tail.next().await, None);
    stopped.await.unwrap().unwrap();
}
