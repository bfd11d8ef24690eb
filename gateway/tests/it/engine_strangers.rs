//! What somebody who was not let in, or who does things in a wrong order, can make a node hold.

use std::time::Duration;

use adapter_redis::MemoryHub;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Node, http, token, until};

const PATIENCE: Duration = Duration::from_secs(10);
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Begins a session by polling: its id.
async fn begin(node: &Node) -> Option<String> {
    let (_, body) = http(node.address, "GET", POLLING, &[], "").await;
    let open: Value = serde_json::from_str(body.strip_prefix('0')?).unwrap();
    Some(open["sid"].as_str().unwrap().to_owned())
}

/// Lets a session in.
async fn connect(node: &Node, sid: &str) {
    let path = format!("{POLLING}&sid={sid}");
    let connect = format!("40{}", json!({"token": token(json!({"sub": "ann"}))}));
    assert_eq!(http(node.address, "POST", &path, &[], &connect).await.0, 200);
    assert!(
        http(node.address, "GET", &path, &[], "")
            .await
            .1
            .starts_with("40")
    );
}

/// Begins to bring packets, and does not go on.
async fn half_a_push(node: &Node, sid: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "POST {POLLING}&sid={sid} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n",
        node.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The node says so when it waits for the rest.
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 100 "));
    stream.write_all(b"42[").await.unwrap();
    stream
}

async fn websocket(node: &Node, sid: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 101 "));
    stream
}

/// The head of an answer.
async fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Moves to a websocket, as clients do.
async fn upgrade(stream: &mut TcpStream) {
    for text in ["2probe", "5"] {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).await.unwrap();
    }
    let mut probe = [0; 8];
    timeout(PATIENCE, stream.read_exact(&mut probe))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(probe, *b"\x81\x063probe");
}

/// Whoever is turned away by `limits.max_connections` sees it free again.
#[tokio::test]
async fn who_begins_to_bring_something_and_never_ends_keeps_no_seat() {
    let node = Node::start_with(
        &MemoryHub::new(),
        &[
            ("LIMITS__MAX_CONNECTIONS", "1"),
            ("ENGINE__PING_INTERVAL", "200ms"),
            ("ENGINE__PING_TIMEOUT", "200ms"),
        ],
    );
    let sid = begin(&node).await.unwrap();
    let _open = half_a_push(&node, &sid).await;
    until("the seat is free", async || begin(&node).await.is_some()).await;
}

#[tokio::test]
async fn who_is_not_in_may_bring_a_token_and_not_an_event() {
    let node = Node::start(&MemoryHub::new());
    let long = format!(r#"40{{"token":"{}"}}"#, "x".repeat(130 << 10));
    let sid = begin(&node).await.unwrap();
    let path = format!("{POLLING}&sid={sid}");
    assert_eq!(http(node.address, "POST", &path, &[], &long).await.0, 413);

    let sid = begin(&node).await.unwrap();
    connect(&node, &sid).await;
    let path = format!("{POLLING}&sid={sid}");
    let event = format!(r#"42["x","{}"]"#, "x".repeat(130 << 10));
    assert_eq!(http(node.address, "POST", &path, &[], &event).await.0, 200);
}

#[tokio::test]
async fn what_a_request_brings_does_not_pass_what_comes_over_a_websocket() {
    let node = Node::start(&MemoryHub::new());
    let sid = begin(&node).await.unwrap();
    connect(&node, &sid).await;
    let mut moved = websocket(&node, &sid).await;
    upgrade(&mut moved).await;
    until("it has moved", async || {
        node.metric("roomcast_connections{transport=\"websocket\"}").await == 1.0
    })
    .await;
    let path = format!("{POLLING}&sid={sid}");
    let (status, _) = http(node.address, "POST", &path, &[], r#"42["x"]"#).await;
    assert_eq!(status, 400);

    let sid = begin(&node).await.unwrap();
    connect(&node, &sid).await;
    let _open = half_a_push(&node, &sid).await;
    let mut stays = websocket(&node, &sid).await;
    upgrade(&mut stays).await;
    let mut rest = Vec::new();
    timeout(PATIENCE, stays.read_to_end(&mut rest))
        .await
        .expect("nobody knows what came first")
        .unwrap();
    assert_eq!(
        node.metric("roomcast_connections{transport=\"websocket\"}").await,
        1.0
    );
}
