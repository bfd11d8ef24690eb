//! What becomes of sessions that go wrong, without any I/O.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures_util::FutureExt;
use http::Request;
use serde_json::json;

use super::*;
use crate::engine::{
    AckId, Admitted, Application, Config, Event, Handshake, Malformed, Member, Packet, Recovery, Refused,
    engine_io::payload,
    socket_io::{
        msgpack::writing::write,
        outgoing::{Kind, Outgoing},
    },
};

/// Lets in who says so, and remembers what it is told.
#[derive(Default)]
struct Desk {
    gone: Arc<Mutex<Vec<CloseReason>>>,
}

struct Counterpart(Arc<Mutex<Vec<CloseReason>>>);

fn event(text: &str) -> Packet {
    Packet {
        text: text.to_owned(),
        attachments: Vec::new(),
    }
}

impl Application for Desk {
    type Member = Counterpart;

    async fn connect(&self, handshake: Handshake<'_>) -> Result<Admitted<Counterpart>, Refused> {
        if handshake.auth["later"] == true {
            tokio::task::yield_now().await;
        }
        match handshake.auth["as"].as_str() {
            Some("member") => Ok(Admitted {
                member: Arc::new(Counterpart(self.gone.clone())),
                rooms: Vec::new(),
                recovery: handshake.auth["pid"].as_str().map(|pid| Recovery {
                    pid: pid.to_owned(),
                    missed: ["[\"a\"]", "[\"b\"]"].map(event).to_vec(),
                }),
            }),
            Some("panic") => panic!("the application breaks"),
            _ => Err(Refused {
                message: "no".to_owned(),
                data: None,
            }),
        }
    }
}

impl Member for Counterpart {
    fn event(self: &Arc<Self>, event: Event<'_>, _: Option<AckId>) {
        assert_ne!(event.name(), "panic", "the counterpart breaks");
    }

    fn malformed(&self, _: Malformed) {}

    fn gone(&self, reason: CloseReason) {
        self.0.lock().unwrap().push(reason);
    }
}

/// A session, and what its counterpart is told.
fn begin(max_outbound: usize) -> (Arc<Connection>, Arc<Mutex<Vec<CloseReason>>>) {
    let config = Config {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        path: String::new(),
        websocket: true,
        polling: true,
        max_payload: 1 << 20,
        max_outbound,
        compression: None,
        write_deadline: Duration::from_secs(30),
    };
    let (hub, desk) = (Arc::new(Hub::new(config)), Desk::default());
    let gone = desk.gone.clone();
    hub.open(Arc::new(desk));
    let opening = Box::new(Opening {
        request: Request::new(()).into_parts().0,
        peer: None,
    });
    (Connection::polling(&hub, opening, None).unwrap(), gone)
}

/// Asks to be let in, and waits until that is decided.
async fn ask(connection: &Arc<Connection>, who: &str) -> Result<(), CloseReason> {
    let asked = connection.receive(&format!("40{}", json!({"as": who})));
    connection.hub.tasks.close();
    connection.hub.tasks.wait().await;
    asked
}

/// What a poll would be answered with.
fn poll(connection: &Connection) -> Option<Polled> {
    poll_fn(|cx| connection.poll_packets(cx)).now_or_never()
}

#[tokio::test]
async fn whoever_was_let_in_is_told_the_end_once() {
    type End = fn(&Arc<Connection>);
    let ends: [(End, CloseReason); 5] = [
        (
            |c| assert_eq!(c.receive("41"), Err(CloseReason::TransportClose)),
            CloseReason::ClientDisconnect,
        ),
        (|c| assert!(c.disconnect()), CloseReason::ServerDisconnect),
        (|c| c.hub.end_all(), CloseReason::ServerShutdown),
        (
            |c| assert!(catch_unwind(AssertUnwindSafe(|| c.receive(r#"42["panic"]"#))).is_err()),
            CloseReason::TransportError,
        ),
        (
            |c| {
                let bytes = r#"451-["panic",{"_placeholder":true,"num":0}]"#;
                assert_eq!(c.receive(bytes), Ok(()));
                assert!(catch_unwind(AssertUnwindSafe(|| c.receive_bytes(b"1"))).is_err());
            },
            CloseReason::TransportError,
        ),
    ];
    for (end, reason) in ends {
        let (connection, gone) = begin(usize::MAX);
        ask(&connection, "member").await.unwrap();
        end(&connection);
        assert_eq!(*gone.lock().unwrap(), [reason]);
        connection.close(CloseReason::TransportClose);
        assert!(!connection.disconnect());
        assert_eq!(*gone.lock().unwrap(), [reason], "once");
        assert!(matches!(poll(&connection), Some(Polled::Closed | Polled::Noop)));
        assert_eq!(connection.hub.rooms().count(), 0);
    }
}

#[tokio::test]
async fn who_is_gone_before_it_is_let_in_was_never_connected() {
    let (connection, gone) = begin(usize::MAX);
    connection.receive(r#"40{"as":"member","later":true}"#).unwrap();
    connection.close(CloseReason::TransportClose);
    connection.hub.tasks.close();
    connection.hub.tasks.wait().await;
    assert_eq!(*gone.lock().unwrap(), [CloseReason::NeverConnected]);
    assert_eq!(connection.hub.rooms().count(), 0);
}

#[tokio::test]
async fn who_asks_an_application_that_breaks_is_not_kept_waiting() {
    for (is_later, asks) in [
        (false, r#"40{"as":"panic"}"#),
        (true, r#"40{"as":"panic","later":true}"#),
    ] {
        let (connection, gone) = begin(usize::MAX);
        // Who decides at once is heard by whoever reads.
        let asked = catch_unwind(AssertUnwindSafe(|| connection.receive(asks)));
        assert_eq!(asked.is_ok(), is_later);
        connection.hub.tasks.close();
        connection.hub.tasks.wait().await;
        assert_eq!(connection.transport(), None);
        assert!(gone.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn who_was_refused_often_begins_anew() {
    let (connection, _) = begin(usize::MAX);
    for _ in 0..8 {
        ask(&connection, "nobody").await.unwrap();
    }
    assert_eq!(ask(&connection, "member").await, Err(CloseReason::ParseError));
}

#[tokio::test]
async fn who_is_not_in_says_little() {
    let (connection, _) = begin(usize::MAX);
    assert_eq!(connection.longest(), 128 << 10);
    ask(&connection, "nobody").await.unwrap();
    assert_eq!(connection.longest(), 128 << 10);
    ask(&connection, "member").await.unwrap();
    assert_eq!(connection.longest(), 1 << 20);
}

#[tokio::test]
async fn too_much_waits_for_who_is_just_let_in() {
    let waiting = Outgoing::refused("/x", "Invalid namespace", None);
    let (connection, gone) = begin(waiting.bytes(Transport::Polling).len());
    connection.receive("40/x,").unwrap();
    ask(&connection, "member").await.unwrap();
    for lane in 0..connection.hub.lanes.count() {
        assert_eq!(connection.hub.lanes.run(lane).now_or_never(), None);
    }
    assert_eq!(*gone.lock().unwrap(), [CloseReason::SlowConsumer]);
    assert_eq!(connection.transport(), None);
}

#[test]
fn a_session_is_small() {
    let sizes = (size_of::<Connection>(), size_of::<Out>(), size_of::<Inner>());
    assert!(sizes.0 <= 320, "each client has one: {sizes:?}");
}

#[derive(Default)]
struct Bell(std::sync::atomic::AtomicBool);

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_reads_from_a_websocket_is_woken_though_a_poll_ended_late() {
    let (connection, _) = begin(usize::MAX);
    connection.open_poll().unwrap();
    assert!(connection.set_moving(true) && connection.move_to(None));
    let bell = Arc::new(Bell::default());
    let waker = std::task::Waker::from(bell.clone());
    let waiting = connection.poll_task(&mut std::task::Context::from_waker(&waker), |_, slices| {
        std::task::Poll::Ready(Ok(slices.iter().map(|s| s.len()).sum()))
    });
    assert!(waiting.is_pending());
    connection.end_poll();
    connection.close(CloseReason::TransportClose);
    assert!(bell.0.load(Ordering::SeqCst));
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed_before_it_is_told_that_it_is_in() {
    let (connection, _) = begin(usize::MAX);
    connection.receive(r#"40{"as":"member","pid":"secret"}"#).unwrap();
    let packets = loop {
        match poll(&connection) {
            Some(Polled::Packets(packets)) => break packets,
            _ => tokio::task::yield_now().await,
        }
    };
    let told = format!(r#"40{{"sid":"{}","pid":"secret"}}"#, connection.id);
    assert_eq!(packets, [r#"42["a"]"#, r#"42["b"]"#, &told]);
}

/// A packet in MessagePack.
fn packed(kind: Kind, namespace: &str, data: &str) -> Vec<u8> {
    write(kind, namespace, None, data, &[]).unwrap()
}

/// Waits for what comes next, as a client that polls gets it.
async fn next(connection: &Connection) -> bytes::Bytes {
    loop {
        match poll(connection) {
            Some(Polled::Packets(packets)) => break packets[0].clone(),
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn whose_first_packet_is_in_messagepack_gets_all_like_that() {
    let (connection, gone) = begin(usize::MAX);
    let connect = |data| packed(Kind::Connect, "/", data);
    let as_body = |packet: Vec<u8>| payload::write_binary(&packet);
    connection
        .receive_bytes(&packed(Kind::Connect, "/x", "{}"))
        .unwrap();
    let unknown = packed(Kind::ConnectError, "/x", r#"{"message":"Invalid namespace"}"#);
    assert_eq!(next(&connection).await, as_body(unknown));
    connection.receive_bytes(&connect(r#"{"as":"nobody"}"#)).unwrap();
    let refused = packed(Kind::ConnectError, "/", r#"{"message":"no"}"#);
    assert_eq!(next(&connection).await, as_body(refused));
    connection.receive_bytes(&connect(r#"{"as":"member"}"#)).unwrap();
    let told = format!(r#"{{"sid":"{}"}}"#, connection.id);
    assert_eq!(next(&connection).await, as_body(connect(&told)));

    connection
        .receive_bytes(&packed(Kind::Event, "/", r#"["event",1]"#))
        .unwrap();
    connection.ping();
    assert_eq!(next(&connection).await, "2", "the engine's own are as ever");
    assert!(connection.send(&Outgoing::event(event(r#"["a",[1]]"#), None)));
    assert!(connection.set_moving(true) && connection.move_to(None));
    let frame = payload::to_frames(&as_body(packed(Kind::Event, "/", r#"["a",[1]]"#)));
    assert_eq!(connection.waiting(), (Some(Transport::Websocket), frame.len()));

    let leave = packed(Kind::Disconnect, "/", "");
    assert_eq!(connection.receive_bytes(&leave), Err(CloseReason::TransportClose));
    assert_eq!(*gone.lock().unwrap(), [CloseReason::ClientDisconnect]);
}

#[tokio::test]
async fn nobody_speaks_two_languages() {
    enum Sent {
        Text(&'static str),
        Bytes(Vec<u8>),
    }
    use Sent::{Bytes, Text};
    let connect = || Bytes(packed(Kind::Connect, "/", r#"{"as":"member"}"#));
    let elsewhere = || Bytes(packed(Kind::Connect, "/x", ""));
    let text = Text(r#"40{"as":"member"}"#);
    for (first, second) in [
        (Text("40/x,"), connect()),
        (Text(r#"40{"as":"member"}"#), connect()),
        (Text(r#"40{"as":"nobody"}"#), connect()),
        (Text("3"), Bytes(packed(Kind::Event, "/", r#"["a"]"#))),
        (Text("3"), Bytes(packed(Kind::Disconnect, "/", ""))),
        (Text("3"), Bytes(b"bytes".to_vec())),
        (elsewhere(), Text("40/x,")),
        (elsewhere(), text),
        (connect(), Text(r#"42["a"]"#)),
        (connect(), Text("41")),
        (connect(), Text(r#"451-["a",{"_placeholder":true,"num":0}]"#)),
        (connect(), Bytes(b"bytes".to_vec())),
        (connect(), connect()),
        (connect(), Bytes(packed(Kind::Event, "/x", r#"["a"]"#))),
        (
            connect(),
            Bytes(packed(Kind::ConnectError, "/", r#"{"message":""}"#)),
        ),
    ] {
        let (connection, _) = begin(usize::MAX);
        let receive = |sent: &Sent| match sent {
            Text(text) => connection.receive(text),
            Bytes(bytes) => connection.receive_bytes(bytes),
        };
        assert_eq!(receive(&first), Ok(()));
        // Whoever asked is let in, or refused.
        connection.hub.tasks.close();
        connection.hub.tasks.wait().await;
        assert_eq!(receive(&second), Err(CloseReason::ParseError));
    }
    let (connection, _) = begin(usize::MAX);
    let long = format!(r#"{{"as":"{}"}}"#, r"\u0000".repeat(40 << 10));
    let long = packed(Kind::Connect, "/", &long);
    assert!(long.len() < connection.longest());
    assert_eq!(
        connection.receive_bytes(&long),
        Err(CloseReason::ParseError),
        "as JSON it is longer"
    );
}
