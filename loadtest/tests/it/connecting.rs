use loadtest::{Connect, ConnectError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::{OPEN, Peer, connected, listen, open};

#[tokio::test]
async fn the_server_gives_the_id() {
    let (client, peer) = connected().await;
    assert_eq!((client.id(), client.pid()), ("socket", None));
    assert_eq!(peer.request.uri(), "/socket.io/?EIO=4&transport=websocket");
}

#[tokio::test]
async fn the_builder_decides_what_the_server_sees() {
    let (address, listener) = listen().await;
    let connect = Connect::to(address)
        .path("/rt/")
        .query("a=b")
        .query("c=%20")
        .header("X-One", "1")
        .namespace("/admin")
        .token("secret")
        .auth(json!({ "device": 7 }));
    let connects = r#"40/admin,{"device":7,"token":"secret"}"#;
    let (client, peer) = open(&listener, connect, connects, &[r#"40/admin,{"sid":"x"}"#]).await;
    assert_eq!(client.unwrap().id(), "x");
    assert_eq!(peer.request.uri(), "/rt/?EIO=4&transport=websocket&a=b&c=%20");
    assert_eq!(peer.request.headers().get("x-one").unwrap(), "1");
}

#[tokio::test]
async fn events_before_the_answer_come_first() {
    let (address, listener) = listen().await;
    let answers = [
        r#"42["missed",1]"#,
        r#"42["missed",2]"#,
        r#"40{"sid":"x","pid":"p"}"#,
        r#"42["new"]"#,
    ];
    let (client, _peer) = open(&listener, Connect::to(address), "40", &answers).await;
    let mut client = client.unwrap();
    assert_eq!(client.pid(), Some("p"));
    for (name, args) in [
        ("missed", vec![json!(1)]),
        ("missed", vec![json!(2)]),
        ("new", vec![]),
    ] {
        let event = client.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.args), (name, args));
    }
}

#[tokio::test]
async fn refusals_carry_message_and_data() {
    let table = [
        (
            r#"44{"message":"no","data":{"code":"x"}}"#,
            "no",
            json!({ "code": "x" }),
        ),
        (r#"44{"message":"no"}"#, "no", Value::Null),
        (r#"44"no""#, "no", Value::Null),
    ];
    for (answer, expected_message, expected_data) in table {
        let (address, listener) = listen().await;
        let (refused, _peer) = open(&listener, Connect::to(address), "40", &[answer]).await;
        let Err(ConnectError::Refused { message, data }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((message.as_str(), data), (expected_message, expected_data));
    }
}

#[tokio::test]
async fn an_http_refusal_carries_the_status() {
    let (address, listener) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let (refused, _stream) = tokio::join!(Connect::to(address).open(), serve);
    assert!(
        matches!(refused, Err(ConnectError::Http { status: 503 })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let (address, listener) = listen().await;
    drop(listener);
    let refused = Connect::to(address).open().await;
    assert!(matches!(refused, Err(ConnectError::Io(_))), "{refused:?}");
}

#[tokio::test]
async fn the_connection_ends_before_the_answer() {
    let (address, listener) = listen().await;
    let (refused, _) = tokio::join!(Connect::to(address).open(), async {
        let mut peer = Peer::accept(&listener).await;
        peer.say(OPEN).await;
        peer.expect("40").await;
    });
    assert!(matches!(refused, Err(ConnectError::Io(_))), "{refused:?}");
}

#[tokio::test]
async fn the_connection_ends_before_the_websocket() {
    let (address, listener) = listen().await;
    let (refused, ()) = tokio::join!(Connect::to(address).open(), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Read, so that closing is no reset.
        let _request = stream.read(&mut [0; 4096]).await.unwrap();
    });
    assert!(matches!(refused, Err(ConnectError::Io(_))), "{refused:?}");
}

#[tokio::test]
async fn a_first_packet_that_is_no_handshake() {
    let (address, listener) = listen().await;
    let (refused, _peer) = tokio::join!(Connect::to(address).open(), async {
        let mut peer = Peer::accept(&listener).await;
        peer.say("2").await;
        peer
    });
    assert!(matches!(refused, Err(ConnectError::Protocol(_))), "{refused:?}");
}

#[tokio::test]
async fn nonsense_is_refused_before_it_is_sent() {
    let refused = Connect::to("127.0.0.1:9").header("no name", "x").open().await;
    assert!(matches!(refused, Err(ConnectError::Protocol(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer() {
    let (address, _listener) = listen().await;
    let refused = Connect::to(address).open().await;
    assert!(matches!(refused, Err(ConnectError::Timeout)), "{refused:?}");
}
