use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Polling, with_cookies};
use crate::client::Door;
use crate::plan::Seat;

const OPEN: &str =
    r#"0{"sid":"engine","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// A server that answers polls with these bodies in turn, and then with none. It tells what it was asked: method, path,
/// cookie and body. It wants each connection anew, so that what a client keeps is kept by the client.
async fn serve(polls: Vec<&'static str>) -> (Door, mpsc::UnboundedReceiver<String>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = Door {
        target: format!("http://{}", listener.local_addr().unwrap()),
        path: "/socket.io/".to_owned(),
    };
    let (asked, requests) = mpsc::unbounded_channel();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut polls = polls.into_iter();
        let mut waiting = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut more = [0; 4096];
                let read = stream.read(&mut more).await.unwrap();
                bytes.extend_from_slice(&more[..read]);
                let text = String::from_utf8(bytes.clone()).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let line = head.lines().next().unwrap();
            let (method, path) = line.split_once(' ').unwrap();
            let sid = if path.contains("sid=engine") { "sid" } else { "no sid" };
            let cookie = header(&head, "cookie").unwrap_or_default();
            asked.send(format!("{method} {sid} [{cookie}] {body}")).unwrap();
            let answer = if method == "POST" { Some("ok") } else { polls.next() };
            let Some(answer) = answer else {
                waiting.push(stream);
                continue;
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nset-cookie: route=a; Path=/\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (door, requests, server)
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
}

async fn open(door: &Door, seat: &Seat) -> Result<Polling, String> {
    let http = with_cookies().build().unwrap();
    let (samples, _) = mpsc::channel(16);
    Polling::open(door, "token", seat, http, samples).await
}

#[tokio::test]
async fn the_cookie_of_a_load_balancer_is_kept_and_packets_are_told_apart() {
    let seat = Seat {
        subscriptions: vec![("join", "a".to_owned())],
        slow: false,
    };
    let polls = vec![
        OPEN,
        "40{\"sid\":\"socket\"}\u{1e}42[\"early\",1]",
        "430[{\"ok\":true}]",
        "2\u{1e}42[\"one\",{\"a\":1}]\u{1e}42[\"two\"]",
        "1",
    ];
    let (door, mut requests, _server) = serve(polls).await;
    let mut client = open(&door, &seat).await.unwrap();
    let mut names = Vec::new();
    let reason = loop {
        match timeout(Duration::from_secs(5), client.next()).await.unwrap() {
            Ok(event) => names.push(event.name),
            Err(reason) => break reason,
        }
    };
    assert_eq!(
        (names.join(" ").as_str(), reason.as_str()),
        ("early one two", "transport closed")
    );
    let mut asked = Vec::new();
    while let Ok(request) = requests.try_recv() {
        asked.push(request);
    }
    assert_eq!(
        asked,
        [
            "GET no sid [] ",
            "POST sid [route=a] 40{\"token\":\"token\"}",
            "GET sid [route=a] ",
            "POST sid [route=a] 420[\"join\",\"a\"]",
            "GET sid [route=a] ",
            "GET sid [route=a] ",
            "POST sid [route=a] 3",
            "GET sid [route=a] ",
        ]
    );
}

#[tokio::test]
async fn a_refusal_is_said() {
    let (door, _requests, _server) = serve(vec![OPEN, r#"44{"message":"no","data":{}}"#]).await;
    assert_eq!(open(&door, &Seat::default()).await.err().unwrap(), "refused: no");
    let (door, _requests, _server) = serve(vec!["6"]).await;
    assert_eq!(
        open(&door, &Seat::default()).await.err().unwrap(),
        "the first packet is no handshake"
    );
}

#[tokio::test]
async fn what_is_said_is_posted() {
    let (door, mut requests, _server) = serve(vec![OPEN, r#"40{"sid":"socket"}"#]).await;
    let client = open(&door, &Seat::default()).await.unwrap();
    client.emit("message", json!({ "a": "é" })).await.unwrap();
    client.close().await;
    let mut posts = Vec::new();
    while let Ok(request) = requests.try_recv() {
        posts.extend(request.strip_prefix("POST sid [route=a] ").map(str::to_owned));
    }
    assert_eq!(posts[1..], ["42[\"message\",{\"a\":\"é\"}]", "41\u{1e}1"]);
}
