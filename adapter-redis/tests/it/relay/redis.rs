//! What only a real Redis can show (`ROOMCAST_TEST_REDIS=1`).

use std::time::Duration;

use adapter_redis::Phase;

use super::{STOP, begins};
use crate::support::eventually;
use crate::support::nodes::TestNode;
use crate::support::redis_server::RedisServer;

const LIMIT: Duration = Duration::from_secs(20);

async fn nodes<const N: usize>(server: &RedisServer) -> Vec<TestNode> {
    let mut nodes = Vec::new();
    for _ in 0..N {
        let node = TestNode::on_redis(server.config()).await;
        node.sockets.join("r", 1).await;
        nodes.push(node);
    }
    eventually("all know each other", LIMIT, || {
        nodes.iter().all(|node| node.knows(N))
    })
    .await;
    nodes
}

/// Bursts as large as the queue, so that far more are on their way than are asked for at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_relays_to_a_room_arrive_in_order() {
    const BURST: usize = 4_000;
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let nodes = nodes::<2>(&server).await;
    for burst in 1..=5 {
        for number in (burst - 1) * BURST..burst * BURST {
            let relayed = nodes[0].relay(&number.to_string(), Phase::Once);
            assert_eq!((relayed.sockets, relayed.queued), (1, true));
        }
        eventually("the burst has arrived", LIMIT, || {
            nodes[1].sockets.seen_count() == burst * BURST
        })
        .await;
    }
    let expected: Vec<_> = (0..5 * BURST).map(|number| format!("\"{number}\"")).collect();
    assert!(nodes[1].sockets.got() == expected, "out of order");
    assert!(nodes[0].sockets.got() == expected, "or twice at home");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_began_ends_elsewhere() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut nodes = nodes::<3>(&server).await;
    nodes[0].relay("on", begins(None));
    eventually("it began", LIMIT, || nodes.iter().all(|node| node.has(&["on"]))).await;
    nodes.remove(0).kill();
    eventually("it ends", LIMIT, || {
        nodes.iter().all(|node| node.has(&["on", STOP]))
    })
    .await;
}
