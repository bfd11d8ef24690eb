//! Events between clients and messages of backends' own channels, on two nodes over the memory bus.

use adapter_redis::MemoryHub;
use loadtest::Client;
use serde_json::{Value, json};

use crate::support::{API_KEY, Node, until};

const FEED: &str = "waba.agent-portal.events";

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

async fn member(node: &Node, user: &str, contact: &str) -> Client {
    let client = node.connect(json!({"sub": user, "contacts": [contact]})).await;
    let ack = client.call("subscribe:contact", &[json!(contact)]).await.unwrap();
    assert_eq!(ack[0]["ok"], true);
    client
}

async fn indicator(client: &mut Client) -> (Value, Value) {
    let event = client.next().await.unwrap();
    assert_eq!(event.name, "typing:indicator");
    (event.args[0]["userId"].clone(), event.args[0]["isTyping"].clone())
}

#[tokio::test]
async fn typing_reaches_the_others_in_the_room_and_ends_with_the_client() {
    let hub = MemoryHub::new();
    let [one, two] = pair(&hub).await;
    let ann = member(&one, "ann", "1").await;
    let mut tab = member(&one, "ann", "1").await;
    let mut bob = member(&two, "bob", "1").await;
    let mut eve = member(&two, "eve", "2").await;

    let data = json!({"contactId": "1", "whatsappAccountId": "w", "userId": "forged", "timestamp": 0});
    let ack = ann
        .call("typing:start", std::slice::from_ref(&data))
        .await
        .unwrap();
    assert_eq!(ack, [json!({"ok": true})]);
    for client in [&mut tab, &mut bob] {
        assert_eq!(indicator(client).await, (json!("ann"), json!(true)));
    }
    let ack = eve
        .call("typing:start", std::slice::from_ref(&data))
        .await
        .unwrap();
    assert_eq!(
        (&ack[0]["ok"], &ack[0]["code"]),
        (&json!(false), &json!("not_in_room"))
    );

    ann.close().await;
    for client in [&mut tab, &mut bob] {
        assert_eq!(indicator(client).await, (json!("ann"), json!(false)));
    }
    // Nothing else came: the next event is the last one for everybody.
    one.publish(json!({"room": "system", "event": "last"})).await;
    for client in [&mut tab, &mut bob, &mut eve] {
        assert_eq!(client.next().await.unwrap().name, "last");
    }
    assert_eq!(
        two.metric("roomcast_dropped_total{reason=\"relay_refused\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn typing_ends_when_its_room_is_left() {
    let hub = MemoryHub::new();
    let [one, two] = pair(&hub).await;
    let ann = member(&one, "ann", "1").await;
    let mut bob = member(&two, "bob", "1").await;
    ann.call("typing:start", &[json!({"contactId": "1"})])
        .await
        .unwrap();
    assert_eq!(indicator(&mut bob).await, (json!("ann"), json!(true)));
    ann.call("unsubscribe:contact", &[json!("1")]).await.unwrap();
    assert_eq!(indicator(&mut bob).await, (json!("ann"), json!(false)));
    let ack = ann
        .call("typing:stop", &[json!({"contactId": "1"})])
        .await
        .unwrap();
    assert_eq!(ack[0]["code"], "not_in_room");
}

#[tokio::test]
async fn typing_ends_when_a_backend_takes_the_sender_out_of_the_room() {
    let hub = MemoryHub::new();
    let [one, two] = pair(&hub).await;
    let ann = member(&one, "ann", "1").await;
    let mut bob = member(&two, "bob", "1").await;
    ann.call("typing:start", &[json!({"contactId": "1"})])
        .await
        .unwrap();
    assert_eq!(indicator(&mut bob).await, (json!("ann"), json!(true)));
    let order = json!({"user": "ann", "rooms": ["contact:1"]}).to_string();
    let (status, answer) = two.call("POST", "/api/v1/leave", Some(API_KEY), &order).await;
    assert_eq!((status, &answer["sockets"]), (200, &json!(1)), "{answer}");
    assert_eq!(indicator(&mut bob).await, (json!("ann"), json!(false)));
}

#[tokio::test]
async fn a_feed_reaches_its_tenant_once_on_every_node() {
    let hub = MemoryHub::new();
    let [one, two] = pair(&hub).await;
    let mut ours = [
        one.connect(json!({"sub": "a", "tenant_id": "acme"})).await,
        two.connect(json!({"sub": "b", "tenant_id": "acme"})).await,
    ];
    let mut other = two.connect(json!({"sub": "c", "tenant_id": "evil"})).await;
    for garbage in [
        "{",
        "[]",
        r#"{"type":"x"}"#,
        r#"{"type":"x","tenantId":["acme"],"data":1}"#,
    ] {
        hub.publish_foreign(FEED, garbage);
    }
    hub.publish_foreign("another", r#"{"type":"x","tenantId":"acme","data":1}"#);
    hub.publish_foreign(
        FEED,
        r#"{"type":"new_message","tenantId":"acme","data":{"n":9007199254740993}}"#,
    );
    for client in &mut ours {
        let event = client.next().await.unwrap();
        assert_eq!(
            (event.name.as_str(), &event.args[0]["n"]),
            ("new_message", &json!(9_007_199_254_740_993_i64))
        );
    }
    one.publish(json!({"room": "system", "event": "last"})).await;
    for client in ours.iter_mut().chain([&mut other]) {
        assert_eq!(client.next().await.unwrap().name, "last");
    }
    assert_eq!(
        one.metric("roomcast_dropped_total{reason=\"untranslated\"}")
            .await,
        4.0
    );
}
