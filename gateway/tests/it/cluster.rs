//! Several nodes in one process over the memory bus: events reach everybody once, nobody else, and the numbers are
//! right.

use adapter_redis::MemoryHub;
use serde_json::{Value, json};

use crate::support::{Node, reached, until};

async fn nodes(hub: &MemoryHub, count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| Node::start(hub)).collect();
    for node in &nodes {
        until("the nodes know one another", async || {
            node.stats().await["cluster"]["nodes"] == count
        })
        .await;
    }
    nodes
}

#[tokio::test]
async fn an_event_reaches_every_node_once() {
    let hub = MemoryHub::new();
    let nodes = nodes(&hub, 3).await;
    let mut clients = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        clients.push(
            node.connect(json!({"sub": format!("u{index}"), "tenant_id": "acme"}))
                .await,
        );
        clients.push(node.connect(json!({"sub": "both", "tenant_id": "acme"})).await);
    }
    let mut stranger = nodes[0].connect(json!({"sub": "u9", "tenant_id": "evil"})).await;
    for (index, node) in nodes.iter().enumerate() {
        let envelope =
            json!({"rooms": ["tenant:acme", "user:both"], "event": "e", "args": [index, {"n": 1}]});
        let (status, answer) = node.publish(envelope).await;
        assert_eq!(
            (status, &reached(&answer)),
            (200, &json!({"nodes": 3, "sockets": 6, "complete": true}))
        );
    }
    for client in &mut clients {
        for index in 0..3 {
            let event = client.next().await.unwrap();
            assert_eq!(
                (event.name.as_str(), &event.args[0]),
                ("e", &json!(index)),
                "once, and in order"
            );
        }
    }
    nodes[1].publish(json!({"room": "system", "event": "last"})).await;
    assert_eq!(
        stranger.next().await.unwrap().name,
        "last",
        "another tenant got nothing before"
    );
    for client in &mut clients {
        assert_eq!(client.next().await.unwrap().name, "last");
    }
    let stats = nodes[2].stats().await;
    assert_eq!(stats["cluster"]["connected"], 7);
    assert_eq!(stats["cluster"]["users"], 5);
    assert_eq!(stats["cluster"]["complete"], true);
}

#[tokio::test]
async fn connected_means_reached() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    for round in 0..50 {
        let mut client = node.connect(json!({"sub": format!("u{round}")})).await;
        let (_, answer) = node
            .publish(json!({"room": format!("user:u{round}"), "event": "now"}))
            .await;
        assert_eq!(answer["sockets"], 1);
        assert_eq!(client.next().await.unwrap().name, "now");
    }
}

#[tokio::test]
async fn nothing_stays_behind() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let mut clients = Vec::new();
    for index in 0..20 {
        let client = node
            .connect(json!({"sub": format!("u{}", index % 5), "contacts": ["*"]}))
            .await;
        let ack = client.call("subscribe:contact", &[json!(index)]).await.unwrap();
        assert_eq!(ack, vec![json!({"ok": true, "room": format!("contact:{index}")})]);
        clients.push(client);
    }
    let stats = node.stats().await;
    assert_eq!(stats["node"]["connected"], 20);
    assert_eq!(stats["node"]["users"], 5);
    assert_eq!(stats["node"]["rooms"], 1 + 5 + 20);
    // Half of them say goodbye, half just vanish.
    for (index, client) in clients.into_iter().enumerate() {
        if index % 2 == 0 {
            client.close().await
        } else {
            drop(client)
        }
    }
    until("everybody is gone", async || {
        let stats = node.stats().await;
        ["connected", "users", "rooms"]
            .iter()
            .all(|n| stats["node"][n] == 0)
    })
    .await;
    assert_eq!(
        node.metric("roomcast_connections{transport=\"websocket\"}").await,
        0.0
    );
}

#[tokio::test]
async fn two_tabs_and_leaving_a_room() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let claims = json!({"sub": "42", "contacts": ["7"]});
    let mut first = node.connect(claims.clone()).await;
    let mut second = node.connect(claims).await;
    for client in [&first, &second] {
        let ack = client.call("subscribe:contact", &[json!("7")]).await.unwrap();
        assert_eq!(ack[0]["ok"], true);
        let ack = client.call("subscribe:contact", &[json!("8")]).await.unwrap();
        assert_eq!(ack[0]["code"], "not_allowed");
        let ack = client.call("no:such:event", &[]).await.unwrap();
        assert_eq!(ack[0]["code"], "unknown_event");
    }
    first.call("unsubscribe:contact", &[json!("7")]).await.unwrap();
    let (_, answer) = node
        .publish(json!({"room": "contact:7", "event": "contact:updated"}))
        .await;
    assert_eq!(answer["sockets"], 1);
    assert_eq!(second.next().await.unwrap().name, "contact:updated");
    second
        .emit("subscribe:contact", &[json!({"x": 1})])
        .await
        .unwrap();
    let refused = second.next().await.unwrap();
    assert_eq!(refused.name, "subscribe:error");
    assert_eq!(refused.args[0]["code"], "bad_argument");
    second.close().await;
    node.publish(json!({"room": "user:42", "event": "still"})).await;
    assert_eq!(first.next().await.unwrap().name, "still");
    let none = first.try_next();
    assert!(none.is_none(), "{none:?}");
}

#[tokio::test]
async fn except_names_rooms_and_sockets() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let mut left = node.connect(json!({"sub": "left", "tenant_id": "t"})).await;
    let mut right = node.connect(json!({"sub": "right", "tenant_id": "t"})).await;
    let reach = async |except: Value| {
        let (_, answer) = node
            .publish(json!({"room": "tenant:t", "event": "e", "except": except}))
            .await;
        answer["sockets"].clone()
    };
    assert_eq!(reach(json!([])).await, 2);
    assert_eq!(reach(json!(["user:left"])).await, 1);
    assert_eq!(reach(json!([left.id()])).await, 1);
    assert_eq!(reach(json!(["tenant:t"])).await, 0);
    node.publish(json!({"room": "system", "event": "end"})).await;
    let mut counts = [0, 0];
    for (count, client) in counts.iter_mut().zip([&mut left, &mut right]) {
        while client.next().await.unwrap().name == "e" {
            *count += 1;
        }
    }
    assert_eq!(counts, [1, 3]);
}

#[tokio::test]
async fn payloads_pass_untouched() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let mut client = node.connect(json!({"sub": "42"})).await;
    let envelope =
        r#"{"room":"user:42","event":"e","args":[1.0,{"b":{"$binary":"AAEC/w=="},"z":1,"a":"\u00e9"},null]}"#;
    let (status, _) = node
        .call("POST", "/api/v1/publish", Some(crate::support::API_KEY), envelope)
        .await;
    assert_eq!(status, 200);
    let event = client.next().await.unwrap();
    assert_eq!(event.args.len(), 3);
    assert_eq!(
        event.attachments,
        vec![bytes::Bytes::from_static(&[0, 1, 2, 255])]
    );
    assert_eq!(event.args[2], Value::Null);
}
