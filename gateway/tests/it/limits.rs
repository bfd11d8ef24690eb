//! Limits: what is turned away before a session begins, what happens to a user's sockets, what a client is told.

use std::time::Duration;

use adapter_redis::{MemoryHub, Question, Target};
use futures_util::future::join_all;
use loadtest::{CloseReason, ConnectError};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::support::{Node, http, http_full, token, until};

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for what the condition finds.
async fn found<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let finding = async {
        loop {
            match condition().await {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, finding)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

/// Tries to begin a session by polling: the status, and the session's path.
async fn begin(node: &Node, headers: &[&str]) -> (u16, String) {
    let (status, body) = http(node.address, "GET", OPEN, headers, "").await;
    let sid = body
        .strip_prefix('0')
        .and_then(|open| serde_json::from_str::<Value>(open).ok())
        .map(|open| open["sid"].as_str().unwrap().to_owned());
    (status, format!("{OPEN}&sid={}", sid.unwrap_or_default()))
}

async fn end(node: &Node, path: &str) {
    let (status, _) = http(node.address, "POST", path, &[], "1").await;
    assert_eq!(status, 200);
}

async fn connect_by_polling(node: &Node, path: &str, token: &str) -> String {
    let connect = format!("40{}", json!({"token": token}));
    http(node.address, "POST", path, &[], &connect).await;
    http(node.address, "GET", path, &[], "").await.1
}

async fn limited(node: &Node, limit: &str) -> f64 {
    node.metric(&format!("roomcast_limited_total{{limit=\"{limit}\"}}"))
        .await
}

/// A seat is free: somebody may begin, who leaves again at once.
async fn is_free(node: &Node) -> bool {
    let (status, path) = begin(node, &[]).await;
    if status == 200 {
        // A session that never connects keeps its seat until its time is over, so it connects before it goes.
        connect_by_polling(node, &path, &token(json!({"sub": "next"}))).await;
        end(node, &path).await;
    }
    status == 200
}

fn refused_with(result: Result<loadtest::Client, ConnectError>) -> u16 {
    match result {
        Err(ConnectError::Http { status }) => status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_node_turns_away_and_a_seat_is_free_when_its_session_ends() {
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__MAX_CONNECTIONS", "1")]);
    let ann = token(json!({"sub": "ann"}));

    let client = node.connecting(&ann).open().await.unwrap();
    let (status, head, body) = http_full(node.address, "GET", OPEN, &[], "").await;
    assert_eq!((status, body.as_str()), (503, "max_connections"));
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\nretry-after: 5"), "{head}");
    assert!(head.contains("\r\nconnection: close"), "{head}");
    assert_eq!(refused_with(node.connecting(&ann).open().await), 503);
    let counted = node
        .metric("roomcast_handshakes_total{outcome=\"limited\"}")
        .await;
    assert_eq!((counted, limited(&node, "max_connections").await), (2.0, 2.0));
    client.close().await;
    until("a websocket that was closed", async || is_free(&node).await).await;

    until("one that was dropped", async || {
        let dropped = node.connecting(&ann).open().await;
        dropped.is_ok()
    })
    .await;
    until("one that was dropped is forgotten", async || is_free(&node).await).await;

    let path = found("a seat for a session by polling", async || {
        let (status, path) = begin(&node, &[]).await;
        (status == 200).then_some(path)
    })
    .await;
    assert!(connect_by_polling(&node, &path, &ann).await.contains("40"));
    assert_eq!(begin(&node, &[]).await.0, 503);
    let (status, _) = http(node.address, "OPTIONS", &path, &[], "").await;
    assert_ne!(status, 503, "no session begins");
    let (status, _) = http(node.address, "POST", &path, &[], "42[\"ping\"]").await;
    assert_eq!(status, 200, "a session that is there goes on");
    end(&node, &path).await;
    until("a session by polling that was ended", async || {
        is_free(&node).await
    })
    .await;

    // What the engine does not take for a session's id is none.
    let client = node.connecting(&ann).open().await;
    let client = match client {
        Ok(client) => client,
        Err(_) => {
            until("the last one is forgotten", async || is_free(&node).await).await;
            node.connecting(&ann).open().await.unwrap()
        }
    };
    for disguise in ["%73id=1", "sid", "xsid=1"] {
        let path = format!("{OPEN}&{disguise}");
        assert_eq!(
            http(node.address, "GET", &path, &[], "").await.0,
            503,
            "{disguise}"
        );
    }
    client.close().await;
}

/// Opens a websocket, for a session of its own or for one by polling, and leaves the connection to the caller.
async fn websocket(node: &Node, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    stream
}

async fn say(stream: &mut TcpStream, text: &str) {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).await.unwrap();
}

/// Of those that never connected the engine forgets nothing before their time is over, ten seconds; so this takes them.
#[tokio::test]
async fn no_way_to_go_keeps_a_seat() {
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__MAX_CONNECTIONS", "6")]);
    let ann = token(json!({"sub": "ann"}));

    let silent = websocket(&node, "").await;
    let (_, _silent_by_polling) = begin(&node, &[]).await;
    drop(websocket(&node, "").await);
    let refused = node.connecting("no token").open().await;
    assert!(
        matches!(refused, Err(ConnectError::Refused { .. })),
        "{refused:?}"
    );
    let (_, path) = begin(&node, &[]).await;
    let answer = connect_by_polling(&node, &path, "no token").await;
    assert!(answer.contains("44"), "{answer}");
    end(&node, &path).await;

    // From polling to a websocket, whose connection then breaks.
    let (_, path) = begin(&node, &[]).await;
    assert!(connect_by_polling(&node, &path, &ann).await.contains("40"));
    let sid = path.rsplit_once("sid=").unwrap().1.to_owned();
    let mut upgraded = websocket(&node, &format!("&sid={sid}")).await;
    say(&mut upgraded, "2probe").await;
    say(&mut upgraded, "5").await;
    until("it is upgraded", async || {
        node.metric("roomcast_connections{transport=\"websocket\"}").await == 1.0
    })
    .await;
    // Who is gone has no seat any more: three are taken, by two that are silent and by this one.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(begin(&node, &[]).await);
    }
    assert!(others.iter().all(|(status, _)| *status == 200));
    assert_eq!(begin(&node, &[]).await.0, 503, "all six have a seat");
    drop(upgraded);
    until("the broken one is forgotten", async || is_free(&node).await).await;
    for (_, path) in others {
        end(&node, &path).await;
    }

    // All six can be had again: nothing was kept.
    let all = async {
        loop {
            let mut clients = Vec::new();
            while let Ok(client) = node.connecting(&ann).open().await {
                clients.push(client);
            }
            if clients.len() == 6 {
                return;
            }
            drop(clients);
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), all).await.expect("six seats");
    drop(silent);
}

#[tokio::test]
async fn an_address_has_its_own_seats_and_proxies_are_believed_when_trusted() {
    let limits = [("LIMITS__MAX_CONNECTIONS_PER_IP", "2")];
    let behind = ("SERVER__TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8");
    let node = Node::start_with(&MemoryHub::new(), &[limits[0], behind]);
    let from = async |address: &str| begin(&node, &[&format!("x-forwarded-for: {address}")]).await.0;
    assert_eq!(
        (from("1.1.1.1").await, from("6.6.6.6, 1.1.1.1, 10.0.0.9").await),
        (200, 200)
    );
    assert_eq!(from("1.1.1.1").await, 429);
    assert_eq!(from("6.6.6.6").await, 200, "that was only what a client said");
    assert_eq!(
        (from("2001:db8::1").await, from("[2001:db8::2]:80").await),
        (200, 200)
    );
    assert_eq!(
        (from("2001:db8::3").await, from("2001:db8:0:1::").await),
        (429, 200)
    );
    assert_eq!(limited(&node, "max_connections_per_ip").await, 2.0);

    let node = Node::start_with(&MemoryHub::new(), &limits);
    let from = async |address: &str| begin(&node, &[&format!("x-forwarded-for: {address}")]).await.0;
    assert_eq!((from("1.1.1.1").await, from("2.2.2.2").await), (200, 200));
    assert_eq!(
        from("3.3.3.3").await,
        429,
        "nobody is trusted, so that all are one"
    );
}

#[tokio::test]
async fn new_sessions_are_paced() {
    let node = Node::start_with(
        &MemoryHub::new(),
        &[
            ("LIMITS__HANDSHAKES_PER_SECOND", "4"),
            ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ],
    );
    let from = async |address: &str| begin(&node, &[&format!("x-forwarded-for: {address}")]).await.0;
    // At once, so that a slow machine gives it no time for more.
    let wave = async |address: &str| join_all((0..40).map(|_| from(address))).await;
    let got = wave("1.1.1.1").await;
    assert!(got.contains(&200) && got.contains(&429), "{got:?}");
    assert!(!got.contains(&503), "it is not the node that is full: {got:?}");
    assert_eq!(from("2.2.2.2").await, 200, "somebody else");
    found("the node has none left", async || {
        let others = ["3.3.3.3", "4.4.4.4", "5.5.5.5"].map(&from);
        join_all(others).await.contains(&503).then_some(())
    })
    .await;
    until("it goes on", async || from("1.1.1.1").await == 200).await;
    assert!(limited(&node, "handshakes_per_second_address").await >= 1.0);
    assert!(limited(&node, "handshakes_per_second").await >= 1.0);
}

async fn known(nodes: &[&Node]) {
    for node in nodes {
        until("the nodes know one another", async || {
            node.stats().await["cluster"]["nodes"] == nodes.len()
        })
        .await;
    }
}

async fn sockets_of(node: &Node, user: &str) -> Vec<String> {
    let question = Question::Sockets {
        target: Target::User(user.to_owned()),
        list: 10,
    };
    node.local
        .answer(question)
        .await
        .sockets
        .into_iter()
        .map(|s| s.id)
        .collect()
}

#[tokio::test]
async fn a_users_oldest_socket_is_sent_away() {
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__MAX_CONNECTIONS_PER_USER", "2")]);
    let connect = async || node.connect(json!({"sub": "ann"})).await;
    let (mut first, mut second) = (connect().await, connect().await);
    let mut other = node.connect(json!({"sub": "bob"})).await;
    let third = connect().await;
    assert_eq!(first.closed().await, CloseReason::ServerDisconnect);
    let fourth = connect().await;
    assert_eq!(second.closed().await, CloseReason::ServerDisconnect);
    until("two are left, the newest", async || {
        sockets_of(&node, "ann").await == [third.id(), fourth.id()]
    })
    .await;
    assert_eq!(limited(&node, "max_connections_per_user").await, 2.0);
    node.publish(json!({"room": "user:bob", "event": "still"})).await;
    assert_eq!(other.next().await.unwrap().name, "still");
}

#[tokio::test]
async fn a_users_sockets_are_counted_over_all_nodes() {
    let hub = MemoryHub::new();
    let limits = [("LIMITS__MAX_CONNECTIONS_PER_USER", "2")];
    let (here, there) = (Node::start_with(&hub, &limits), Node::start_with(&hub, &limits));
    known(&[&here, &there]).await;
    let mut first = here.connect(json!({"sub": "ann"})).await;
    let second = there.connect(json!({"sub": "ann"})).await;
    // The order of clocks is that of milliseconds.
    let third = there.connect(json!({"sub": "ann"})).await;
    assert_eq!(
        first.closed().await,
        CloseReason::ServerDisconnect,
        "from the other node"
    );
    until("the others stay", async || {
        let ids = [sockets_of(&here, "ann").await, sockets_of(&there, "ann").await].concat();
        ids == [second.id(), third.id()]
    })
    .await;
    let counted =
        limited(&here, "max_connections_per_user").await + limited(&there, "max_connections_per_user").await;
    assert_eq!(counted, 1.0);
}

/// Many tabs at once, on three nodes: so many as may be stay, and no two nodes work against each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_are_opened_at_once_leave_as_many_as_may_be() {
    let hub = MemoryHub::new();
    let limits = [("LIMITS__MAX_CONNECTIONS_PER_USER", "3")];
    let nodes = [(); 3].map(|()| Node::start_with(&hub, &limits));
    known(&nodes.iter().collect::<Vec<_>>()).await;
    let token = token(json!({"sub": "ann"}));
    let mut opening = JoinSet::new();
    for number in 0..12 {
        opening.spawn(nodes[number % 3].connecting(&token).open());
    }
    // One that is sent away before it hears that it is in is refused, in the eyes of its client.
    let clients: Vec<_> = opening
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    let ids = found("three are left", async || {
        let mut ids = Vec::new();
        for node in &nodes {
            ids.extend(sockets_of(node, "ann").await);
        }
        (ids.len() == 3).then_some(ids)
    })
    .await;
    assert!(clients.len() >= 3);
    let mut stays = 0;
    for mut client in clients {
        if ids.iter().any(|id| id == client.id()) {
            stays += 1;
        } else {
            assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
        }
    }
    assert_eq!(stays, 3, "they are there");
}

#[tokio::test]
async fn or_a_users_new_socket_is_refused() {
    let limits = [
        ("LIMITS__MAX_CONNECTIONS_PER_USER", "1"),
        ("LIMITS__USER_OVERFLOW", "refuse"),
    ];
    let node = Node::start_with(&MemoryHub::new(), &limits);
    let ann = token(json!({"sub": "ann"}));
    let first = node.connecting(&ann).open().await.unwrap();
    match node.connecting(&ann).open().await {
        Err(ConnectError::Refused { message, .. }) => {
            assert_eq!(message, "the user has too many connections")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(limited(&node, "max_connections_per_user").await, 1.0);
    let refused = "roomcast_handshakes_total{outcome=\"too_many_connections\"}";
    assert_eq!(node.metric(refused).await, 1.0);
    node.connect(json!({"sub": "bob"})).await;
    first.close().await;
    until("there is room again", async || {
        node.connecting(&ann).open().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn who_sends_too_fast_is_told_once_a_second() {
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__EVENTS_PER_SECOND", "1")]);
    let mut client = node.connect(json!({"sub": "ann"})).await;
    let mut refused = found("it was too fast", async || {
        let answer = client.call("ping", &[]).await.unwrap().remove(0);
        (answer["ok"] == false).then_some(answer)
    })
    .await;
    let wait = refused["retryAfter"].as_u64().unwrap();
    assert!((1..=1000).contains(&wait), "{refused}");
    refused.as_object_mut().unwrap().remove("retryAfter");
    let expected = json!({
        "ok": false, "code": "rate_limited", "message": "too many events, send them more slowly", "retry": true
    });
    assert_eq!(refused, expected);
    let told = found("it is told without an ack", async || {
        client.emit("ping", &[]).await.unwrap();
        let mut told = None;
        while let Some(event) = client.try_next() {
            told = (event.name == "limit:exceeded").then_some(event.args).or(told);
        }
        told
    })
    .await;
    let expected = json!({
        "limit": "events_per_second", "event": "ping", "code": "rate_limited",
        "message": "too many events, send them more slowly"
    });
    assert_eq!(told, [expected]);
    assert!(limited(&node, "events_per_second").await >= 2.0);
}

#[tokio::test]
async fn a_long_event_is_answered_and_a_far_too_long_one_ends_the_connection() {
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__MAX_EVENT_BYTES", "1KiB")]);
    let mut client = node.connect(json!({"sub": "ann"})).await;
    let ping = async |client: &loadtest::Client, bytes: usize| {
        client.call("ping", &[json!("x".repeat(bytes))]).await
    };
    assert!(ping(&client, 900).await.unwrap()[0]["timestamp"].is_number());
    for bytes in [1100, 2000, 100_000] {
        let expected = json!({"ok": false, "code": "event_too_large", "message": "the event is too large", "retry": false});
        assert_eq!(ping(&client, bytes).await.unwrap(), [expected], "{bytes}");
    }
    client
        .emit("subscribe:contact", &[json!("x".repeat(1100))])
        .await
        .unwrap();
    client.emit("ping", &[]).await.unwrap();
    let mut names = vec![client.next().await.unwrap().name];
    names.extend(client.try_next().map(|event| event.name));
    assert!(
        !names.contains(&"subscribe:error".to_owned()),
        "it is not looked at: {names:?}"
    );
    assert!(ping(&client, 200_000).await.is_err());
    assert_eq!(client.closed().await, CloseReason::TransportClose);
}

#[tokio::test]
async fn a_socket_enters_so_many_rooms() {
    // Two rooms on connect, `user:ann` and `system`.
    let node = Node::start_with(&MemoryHub::new(), &[("LIMITS__MAX_ROOMS_PER_SOCKET", "3")]);
    let mut client = node.connect(json!({"sub": "ann", "contacts": ["*"]})).await;
    let ask = async |client: &loadtest::Client, event: &str, contact: &str| {
        client.call(event, &[json!(contact)]).await.unwrap().remove(0)
    };
    assert_eq!(ask(&client, "subscribe:contact", "1").await["ok"], true);
    assert_eq!(
        ask(&client, "subscribe:contact", "1").await["ok"],
        true,
        "once more"
    );
    let message = "too many rooms, leave one before entering another";
    let expected = json!({"ok": false, "code": "too_many_rooms", "message": message});
    assert_eq!(ask(&client, "subscribe:contact", "2").await, expected);
    client.emit("subscribe:contact", &[json!("2")]).await.unwrap();
    let event = client.next_named("subscribe:error").await.unwrap();
    let expected = json!({"event": "subscribe:contact", "code": "too_many_rooms", "message": message});
    assert_eq!(event.args, [expected]);
    assert_eq!(ask(&client, "unsubscribe:contact", "1").await["ok"], true);
    assert_eq!(ask(&client, "subscribe:contact", "2").await["ok"], true);
    assert_eq!(limited(&node, "max_rooms_per_socket").await, 2.0);
}
