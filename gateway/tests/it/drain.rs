//! Stopping: clients are sent elsewhere, never away.

use std::time::Duration;

use adapter_redis::MemoryHub;
use loadtest::CloseReason;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{Node, http, reached};

#[tokio::test]
async fn clients_see_their_transport_close() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let survivor = Node::start(&hub);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(node.connect(json!({"sub": "42"})).await);
    }
    let address = node.address;
    let ended = node.stop();
    for client in &mut clients {
        assert_eq!(client.closed().await, CloseReason::TransportClose);
    }
    timeout(Duration::from_secs(10), ended)
        .await
        .expect("in time")
        .unwrap()
        .expect("without a fault");
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody listens any more");
    let mut client = survivor.connect(json!({"sub": "42"})).await;
    let (_, answer) = survivor.publish(json!({"room": "user:42", "event": "e"})).await;
    assert_eq!(
        reached(&answer),
        json!({"nodes": 1, "sockets": 1, "complete": true}),
        "it said goodbye"
    );
    assert_eq!(client.next().await.unwrap().name, "e");
}

#[tokio::test]
async fn an_idle_poll_does_not_hold_the_node() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let (status, open) = http(
        node.address,
        "GET",
        "/socket.io/?EIO=4&transport=polling",
        &[],
        "",
    )
    .await;
    assert_eq!(status, 200);
    assert!(open.starts_with("0{"), "{open}");
    let ended = node.stop();
    timeout(Duration::from_secs(10), ended)
        .await
        .expect("in time")
        .unwrap()
        .expect("without a fault");
}
