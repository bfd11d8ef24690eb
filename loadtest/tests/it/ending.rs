use loadtest::{ClientError, CloseReason};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::peer::{connected, connected_with};

#[tokio::test]
async fn a_disconnect_by_the_server() {
    let (mut client, mut peer) = connected().await;
    peer.say(r#"42["last"]"#).await;
    peer.say("41").await;
    assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
    let over = ClientError::Closed(CloseReason::ServerDisconnect);
    assert_eq!(client.emit("x", &[]).await, Err(over.clone()));
    assert_eq!(client.call("x", &[]).await, Err(over.clone()));
    assert_eq!(client.next().await.unwrap().name, "last");
    assert_eq!(client.next().await, Err(over));
    assert_eq!(client.closed().await, CloseReason::ServerDisconnect);
    assert!(matches!(peer.hear().await, Message::Close(_)));
}

#[tokio::test]
async fn a_close_of_the_transport_with_and_without_a_frame() {
    let (mut client, mut peer) = connected().await;
    peer.send(Message::Close(Some(CloseFrame {
        code: CloseCode::Restart,
        reason: "".into(),
    })))
    .await;
    assert_eq!(client.closed().await, CloseReason::TransportClose);

    let (mut client, peer) = connected().await;
    drop(peer);
    assert_eq!(
        client.next().await,
        Err(ClientError::Closed(CloseReason::TransportClose))
    );
    assert_eq!(client.closed().await, CloseReason::TransportClose);
}

#[tokio::test]
async fn a_call_ends_with_the_connection() {
    let (client, mut peer) = connected().await;
    let (answer, ()) = tokio::join!(client.call("x", &[]), async {
        peer.expect(r#"420["x"]"#).await;
        peer.say("41").await;
    });
    assert_eq!(answer, Err(ClientError::Closed(CloseReason::ServerDisconnect)));
}

#[tokio::test]
async fn silence_is_a_ping_timeout() {
    let (mut client, _peer) = connected().await;
    tokio::time::pause(); // The 45 seconds pass at once.
    assert_eq!(client.closed().await, CloseReason::PingTimeout);
}

#[tokio::test]
async fn a_full_queue_is_told_after_its_events() {
    let (mut client, mut peer) = connected_with(|connect| connect.queue(2)).await;
    for _ in 0..3 {
        peer.say(r#"42["x"]"#).await;
    }
    assert_eq!(client.closed().await, CloseReason::Overflow);
    assert_eq!(client.next().await.unwrap().name, "x");
    assert_eq!(client.next().await.unwrap().name, "x");
    assert_eq!(client.next().await, Err(ClientError::Overflow));
    assert_eq!(client.emit("x", &[]).await, Err(ClientError::Overflow));
}

#[tokio::test]
async fn mistakes_of_the_server_end_the_connection() {
    let mistakes = [
        "",
        "9",
        "3",
        "4",
        "4abc",
        "42{}",
        "42[",
        "42[]",
        "42[1]",
        "43[]",
        r#"42/other,["x"]"#,
        r#"40{"sid":"again"}"#,
        r#"44{"message":"late"}"#,
        r#"4511-["x"]"#,
    ];
    for mistake in mistakes {
        let (mut client, mut peer) = connected().await;
        peer.say(mistake).await;
        let reason = client.closed().await;
        assert!(
            matches!(reason, CloseReason::Protocol(_)),
            "{mistake}: {reason:?}"
        );
    }
    let (mut client, mut peer) = connected().await;
    peer.say_binary(b"out of the blue").await;
    assert!(matches!(client.closed().await, CloseReason::Protocol(_)));
    let (mut client, mut peer) = connected().await;
    peer.say(r#"451-["x",{"_placeholder":true,"num":1}]"#).await;
    peer.say_binary(b"number 0").await;
    assert!(matches!(client.closed().await, CloseReason::Protocol(_)));
}

#[tokio::test]
async fn a_close_says_goodbye() {
    let (client, mut peer) = connected().await;
    client.emit("last", &[]).await.unwrap();
    let ((), ()) = tokio::join!(client.close(), async {
        peer.expect(r#"42["last"]"#).await;
        peer.expect("41").await;
        assert!(matches!(peer.hear().await, Message::Close(_)));
        drop(peer);
    });
}

#[tokio::test]
async fn a_drop_says_nothing() {
    let (client, peer) = connected().await;
    drop(client);
    assert!(peer.hears_nothing().await);
}
