use std::time::Duration;

use bytes::Bytes;
use loadtest::{ClientError, placeholder};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::peer::{connected, connected_with};

#[tokio::test]
async fn events_travel_both_ways_in_order() {
    let (mut client, mut peer) = connected().await;
    client
        .emit("hello", &[json!({ "a": [1, "é"] }), Value::Null])
        .await
        .unwrap();
    client.emit("again", &[]).await.unwrap();
    peer.expect(r#"42["hello",{"a":[1,"é"]},null]"#).await;
    peer.expect(r#"42["again"]"#).await;

    peer.say(r#"42["one",1,null]"#).await;
    peer.say("6").await;
    peer.say(r#"42["two"]"#).await;
    peer.say(r#"42["three"]"#).await;
    let one = client.next().await.unwrap();
    assert_eq!(
        (one.name.as_str(), one.args),
        ("one", vec![json!(1), Value::Null])
    );
    assert_eq!(client.next_named("three").await.unwrap().name, "three");
    assert_eq!(client.try_next(), None);
}

#[tokio::test]
async fn calls_get_their_own_answer() {
    let (client, mut peer) = connected().await;
    let serve = async {
        peer.expect(r#"420["first",1]"#).await;
        peer.expect(r#"421["second"]"#).await;
        peer.say(r#"431["b"]"#).await;
        peer.say(r#"4399["nobody's"]"#).await;
        peer.say(r#"430["a",2]"#).await;
    };
    let args = [json!(1)];
    let (first, second, ()) = tokio::join!(client.call("first", &args), client.call("second", &[]), serve);
    assert_eq!(first, Ok(vec![json!("a"), json!(2)]));
    assert_eq!(second, Ok(vec![json!("b")]));
}

#[tokio::test]
async fn an_event_can_be_acknowledged() {
    let (mut client, mut peer) = connected().await;
    peer.say(r#"427["question"]"#).await;
    let question = client.next().await.unwrap();
    client.acknowledge(&question, &[json!("answer")]).await.unwrap();
    peer.expect(r#"437["answer"]"#).await;
}

#[tokio::test]
async fn attachments_travel_both_ways() {
    let (mut client, mut peer) = connected().await;
    let (one, two) = (Bytes::from_static(&[0, 255]), Bytes::from_static(b""));
    let args = [placeholder(0), json!({ "deep": placeholder(1) })];
    client
        .emit_binary("up", &args, vec![one.clone(), two.clone()])
        .await
        .unwrap();
    peer.expect(r#"452-["up",{"_placeholder":true,"num":0},{"deep":{"_placeholder":true,"num":1}}]"#)
        .await;
    assert_eq!(peer.hear().await, Message::Binary(one));
    assert_eq!(peer.hear().await, Message::Binary(two));

    peer.say(r#"451-["down",{"_placeholder":true,"num":0}]"#).await;
    peer.say("2").await; // A ping may come in between.
    peer.say_binary(b"bytes").await;
    let down = client.next().await.unwrap();
    assert_eq!(down.args, [placeholder(0)]);
    assert_eq!(down.attachments, [Bytes::from_static(b"bytes")]);
    peer.expect("3").await;
}

#[tokio::test]
async fn a_binary_answer_is_inlined() {
    let (client, mut peer) = connected().await;
    let serve = async {
        peer.expect(r#"420["get"]"#).await;
        peer.say(r#"461-0[{"_placeholder":true,"num":0}]"#).await;
        peer.say_binary(&[1, 2]).await;
    };
    let (answer, ()) = tokio::join!(client.call("get", &[]), serve);
    assert_eq!(answer, Ok(vec![json!({ "type": "Buffer", "data": [1, 2] })]));
}

#[tokio::test]
async fn pings_are_answered() {
    let (_client, mut peer) = connected().await;
    for _ in 0..3 {
        peer.say("2").await;
        peer.expect("3").await;
    }
}

#[tokio::test]
async fn waiting_has_an_end() {
    let (mut client, mut peer) = connected().await;
    tokio::time::pause(); // From here on a deadline is reached as soon as there is nothing to do.
    assert_eq!(client.next().await, Err(ClientError::Timeout));
    assert_eq!(client.next_named("x").await, Err(ClientError::Timeout));
    assert_eq!(client.call("x", &[]).await, Err(ClientError::Timeout));
    tokio::time::resume();
    peer.expect(r#"420["x"]"#).await;
    peer.say("430[]").await; // Too late, and no error.
    peer.say(r#"42["still here"]"#).await;
    assert_eq!(client.next().await.unwrap().name, "still here");
}

#[tokio::test]
async fn who_reads_slowly_takes_that_time_for_each_frame() {
    let (mut client, mut peer) = connected_with(|connect| connect.receive_buffer(4096)).await;
    let pause = Duration::from_millis(100);
    client.read_slowly(pause);
    let began = Instant::now();
    for _ in 0..3 {
        peer.say(r#"42["tick"]"#).await;
    }
    for _ in 0..3 {
        client.next_named("tick").await.unwrap();
    }
    // Nothing is said about how much longer it took.
    assert!(began.elapsed() >= pause * 2);
}
