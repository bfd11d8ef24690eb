//! What other nodes ask about a node's sockets, and order to be done with them: asked of one node directly.

use std::time::Duration;

use adapter_redis::{
    Acks, Answer, Args, Census, EventName, Gap, MemoryHub, Publication, Question, RoomName, SocketInfo,
    Target,
};
use loadtest::{Client, CloseReason};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Node, http, token, until};

const PATIENCE: Duration = Duration::from_secs(10);

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn user(name: &str) -> Target {
    Target::User(name.to_owned())
}

async fn list(node: &Node, target: Target, list: usize) -> Answer {
    node.local.answer(Question::Sockets { target, list }).await
}

async fn disconnect(node: &Node, target: Target, reconnect: bool) -> u64 {
    let reason = "a test".to_owned();
    let order = Question::Disconnect {
        target,
        reason,
        reconnect,
    };
    node.local.answer(order).await.count
}

async fn ended(node: &Node, reason: &str) -> f64 {
    node.metric(&format!("roomcast_disconnects_total{{reason=\"{reason}\"}}"))
        .await
}

#[tokio::test]
async fn sockets_are_counted_and_listed() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let first = node
        .connect(json!({"sub": "ann", "tenant_id": "t", "contacts": ["*"]}))
        .await;
    let second = node.connect(json!({"sub": "ann", "tenant_id": "t"})).await;
    let _other = node.connect(json!({"sub": "bob"})).await;
    first.call("subscribe:contact", &[json!("7")]).await.unwrap();

    let answer = list(&node, Target::Room(room("system")), 0).await;
    let mut users = vec![Census::hash("ann"), Census::hash("bob")];
    users.sort_unstable();
    assert_eq!((answer.count, answer.users, answer.sockets), (3, users, vec![]));

    let answer = list(&node, Target::Session(first.id().to_owned()), 5).await;
    let expected = SocketInfo {
        id: first.id().to_owned(),
        user: "ann".to_owned(),
        tenant: Some("t".to_owned()),
        connected_at_ms: answer.sockets[0].connected_at_ms,
        rooms: ["contact:7", "system", "tenant:t", "user:ann"]
            .map(str::to_owned)
            .into(),
    };
    assert_eq!((answer.count, answer.sockets), (1, vec![expected]));

    let answer = list(&node, user("ann"), 1).await;
    assert_eq!(
        (answer.count, answer.sockets.len()),
        (2, 1),
        "the count is exact nevertheless"
    );
    for nobody in [
        user("cid"),
        Target::Room(room("nowhere")),
        Target::Session("x".to_owned()),
    ] {
        assert_eq!(list(&node, nobody, 9).await, Answer::default());
    }
    let load = node.local.load();
    assert_eq!((load.connected, load.rooms), (3, 5));
    second.close().await;
    until("one socket less", async || {
        list(&node, user("ann"), 0).await.count == 1
    })
    .await;
}

#[tokio::test]
async fn sockets_are_put_into_rooms_and_taken_out() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let mut first = node.connect(json!({"sub": "ann"})).await;
    let mut second = node.connect(json!({"sub": "ann"})).await;
    let rooms = vec![room("a"), room("b")];
    let join = |target: Target, rooms: Vec<RoomName>| node.local.answer(Question::Join { target, rooms });
    assert_eq!(join(user("nobody"), rooms.clone()).await.count, 0);
    assert_eq!(
        join(Target::Session(first.id().to_owned()), vec![room("a")])
            .await
            .count,
        1
    );
    assert_eq!(
        join(user("ann"), rooms.clone()).await.count,
        2,
        "also who was in one already"
    );
    let (_, answer) = node.publish(json!({"room": "b", "event": "e"})).await;
    assert_eq!(answer["sockets"], 2);
    for client in [&mut first, &mut second] {
        assert_eq!(client.next().await.unwrap().name, "e");
    }
    let left = node.local.answer(Question::Leave {
        target: Target::Room(room("b")),
        rooms,
    });
    assert_eq!(left.await.count, 2);
    assert_eq!(list(&node, Target::Room(room("a")), 0).await.count, 0);
    assert_eq!(list(&node, user("ann"), 0).await.count, 2);
}

#[tokio::test]
async fn clients_are_sent_away_for_good_or_to_come_back() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    for (reconnect, seen, reason) in [
        (
            false,
            CloseReason::ServerDisconnect,
            "server_namespace_disconnect",
        ),
        (true, CloseReason::TransportClose, "server_transport_close"),
    ] {
        let mut client = node.connect(json!({"sub": "ann"})).await;
        let mut stays = node.connect(json!({"sub": "bob"})).await;
        assert_eq!(disconnect(&node, user("ann"), reconnect).await, 1);
        let members = list(&node, Target::Room(room("user:ann")), 0).await;
        assert_eq!(members.count, 0, "out of its rooms when the order is answered");
        assert_eq!(client.closed().await, seen);
        until("it is forgotten", async || ended(&node, reason).await == 1.0).await;
        assert_eq!(list(&node, user("ann"), 0).await.count, 0);
        assert_eq!(disconnect(&node, user("ann"), reconnect).await, 0);
        node.publish(json!({"room": "user:bob", "event": "still"})).await;
        assert_eq!(stays.next().await.unwrap().name, "still");
        stays.close().await;
        until("all are gone", async || node.local.load().connected == 0).await;
    }
    assert_eq!(node.local.load().rooms, 0);
}

/// A session by polling, connected as `ann`: its id, and the path of its requests.
async fn polling(node: &Node) -> (String, String) {
    let path = "/socket.io/?EIO=4&transport=polling";
    let (_, open) = http(node.address, "GET", path, &[], "").await;
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let id = open["sid"].as_str().unwrap().to_owned();
    let path = format!("{path}&sid={id}");
    let connect = format!("40{}", json!({"token": token(json!({"sub": "ann"}))}));
    let (status, _) = http(node.address, "POST", &path, &[], &connect).await;
    assert_eq!(status, 200);
    let (_, connected) = http(node.address, "GET", &path, &[], "").await;
    let (_, connected) = connected.split_once("40").expect("connected");
    let connected: serde_json::Value = serde_json::from_str(connected).unwrap();
    let socket = connected["sid"].as_str().unwrap().to_owned();
    assert_ne!(socket, id, "the one is public, the other is not");
    (socket, path)
}

#[tokio::test]
async fn polling_clients_are_told_by_their_polls() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let (id, path) = polling(&node).await;
    let open_poll = http(node.address, "GET", &path, &[], "");
    let order = disconnect(&node, Target::Session(id), false);
    let ((_, told), count) = tokio::join!(open_poll, order);
    assert_eq!((told.as_str(), count), ("41", 1));

    let (id, path) = polling(&node).await;
    let open_poll = http(node.address, "GET", &path, &[], "");
    let order = disconnect(&node, Target::Session(id), true);
    let ((status, told), count) = tokio::join!(open_poll, order);
    assert_eq!(count, 1);
    if status == 200 {
        assert_eq!(told, "1", "nothing of Socket.IO");
    }
    let (status, told) = http(node.address, "GET", &path, &[], "").await;
    assert_eq!(status, 400, "the session is gone: {told}");
    until("it is forgotten", async || {
        ended(&node, "server_transport_close").await == 1.0
    })
    .await;
    assert_eq!(node.local.load().connected, 0);
}

/// The least of a websocket: short texts, unmasked by a mask of zeros.
struct Websocket(TcpStream);

impl Websocket {
    async fn upgrade(node: &Node, path: &str) -> Websocket {
        let (_, id) = path.split_once("&sid=").unwrap();
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket&sid={id} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            node.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        let mut websocket = Websocket(stream);
        websocket.send("2probe").await;
        assert_eq!(websocket.read().await.unwrap(), "3probe");
        websocket.send("5").await;
        websocket
    }

    async fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next text; `None` when the websocket is closed.
    async fn read(&mut self) -> Option<String> {
        let read = async {
            match self.0.read_u8().await.ok()? {
                0x88 => return None,
                kind => assert_eq!(kind, 0x81, "a text"),
            }
            let mut text = vec![0; usize::from(self.0.read_u8().await.ok()?)];
            self.0.read_exact(&mut text).await.ok()?;
            String::from_utf8(text).ok()
        };
        timeout(PATIENCE, read).await.expect("in time")
    }
}

#[tokio::test]
async fn an_upgraded_client_is_closed_where_it_is_now() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let (id, path) = polling(&node).await;
    let mut websocket = Websocket::upgrade(&node, &path).await;
    until("it is upgraded", async || {
        node.metric("roomcast_connections{transport=\"websocket\"}").await == 1.0
    })
    .await;
    node.publish(json!({"room": "user:ann", "event": "e"})).await;
    assert_eq!(websocket.read().await.unwrap(), r#"42["e"]"#);
    assert_eq!(disconnect(&node, Target::Session(id), true).await, 1);
    assert_eq!(websocket.read().await, None);
    until("it is forgotten", async || {
        ended(&node, "server_transport_close").await == 1.0
    })
    .await;
}

fn publication(name: &str, except: Vec<String>) -> Publication {
    Publication {
        rooms: vec![room(name)],
        except,
        namespace: "/".to_owned(),
        volatile: false,
        event: EventName::new("question").unwrap(),
        args: Args::from_values(&[json!(1)]),
        published_at_ms: 0,
        stamp: None,
        trace: None,
    }
}

async fn answer(mut client: Client, args: &[serde_json::Value]) -> Client {
    let event = client.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.args.len()), ("question", 1));
    client.acknowledge(&event, args).await.unwrap();
    client
}

#[tokio::test]
async fn answers_are_collected_and_silence_is_counted() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let claims = json!({"sub": "ann"});
    let (first, second) = (
        node.connect(claims.clone()).await,
        node.connect(claims.clone()).await,
    );
    let (silent, left_out) = (node.connect(claims.clone()).await, node.connect(claims).await);
    let before = node.metric("roomcast_events_out_total").await;
    let asked = publication("user:ann", vec![left_out.id().to_owned()]);
    let words = [json!({"z": 1, "a": "é"}), json!(2)];
    let (acks, first, second) = tokio::join!(
        node.local.request(&asked, Duration::from_millis(500)),
        answer(first, &words),
        answer(second, &[]),
    );
    let Acks { mut acks, missing } = acks;
    acks.sort();
    assert_eq!(
        (acks, missing),
        (vec!["[]".to_owned(), r#"[{"z":1,"a":"é"},2]"#.to_owned()], 1)
    );
    assert_eq!(node.metric("roomcast_events_out_total").await - before, 3.0);

    // Who goes away is missing at once, and nobody waits for it until the end.
    drop((first, second, left_out));
    until("one is left", async || {
        list(&node, user("ann"), 0).await.count == 1
    })
    .await;
    let asked = publication("user:ann", vec![]);
    let waiting = node.local.request(&asked, Duration::from_secs(3600));
    drop(silent);
    let acks = timeout(PATIENCE, waiting).await.expect("before the hour is over");
    assert_eq!((acks.acks.len(), acks.missing), (0, 1));
    let nobody = node
        .local
        .request(&publication("nowhere", vec![]), PATIENCE)
        .await;
    assert_eq!(nobody, Acks::default());
}

#[tokio::test]
async fn gaps_are_counted_where_somebody_is() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let _client = node.connect(json!({"sub": "ann"})).await;
    node.local.gap(&Gap::All);
    node.local.gap(&Gap::Rooms(vec![
        room("user:ann"),
        room("system"),
        room("nowhere"),
    ]));
    assert_eq!(node.metric("roomcast_gaps_total{scope=\"all\"}").await, 1.0);
    assert_eq!(node.metric("roomcast_gaps_total{scope=\"room\"}").await, 2.0);
}
