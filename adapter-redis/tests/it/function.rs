//! The Redis function as a backend sees it, on a real Redis (`ROOMCAST_TEST_REDIS=1`): commands are sent raw, and what
//! they publish is seen by a node, and by whoever else listens.

use std::time::Duration;

use crate::support::backend::{Backend, Said};
use crate::support::eventually;
use crate::support::nodes::TestNode;
use crate::support::redis_server::RedisServer;

mod library;
mod refusals;
mod rights;

const LIMIT: Duration = Duration::from_secs(20);

/// A Redis, a node with a socket in the room `r`, and a backend.
struct World {
    server: RedisServer,
    node: TestNode,
    backend: Backend,
}

impl World {
    async fn start() -> Option<Self> {
        let server = RedisServer::start(&[]).await?;
        let node = TestNode::on_redis(server.config()).await;
        node.sockets.join("r", 1).await;
        let backend = server.backend();
        Some(Self {
            server,
            node,
            backend,
        })
    }

    /// Waits until the node has delivered so much, and answers with the arguments.
    async fn delivered(&self, count: usize) -> Vec<String> {
        delivered(&self.node, count).await
    }
}

async fn delivered(node: &TestNode, count: usize) -> Vec<String> {
    eventually("everything arrived", LIMIT, || node.sockets.seen_count() >= count).await;
    node.sockets.got()
}

fn envelope(data: &str) -> String {
    format!(r#"{{"event":"e","data":{data}}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_publishes_whether_a_node_runs_or_not() {
    let Some(World {
        server,
        node,
        mut backend,
    }) = World::start().await
    else {
        return;
    };
    let (first, receivers) = backend.publish("r", envelope("1")).accepted().unwrap();
    assert_eq!(receivers, 1);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    assert!(
        now.abs_diff(u128::from(first)) < 60_000_000,
        "{first} is a time in microseconds"
    );
    assert_eq!(delivered(&node, 1).await, ["1"]);
    assert_eq!(node.sockets.delivered()[0].stamp, Some(first));
    drop(node);
    eventually("nobody listens", LIMIT, || {
        server.command("PUBSUB SHARDCHANNELS") == "*0\r\n"
    })
    .await;
    let (second, receivers) = backend.publish("r", envelope("2")).accepted().unwrap();
    assert_eq!(receivers, 0);
    assert!(second > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_arrives_byte_for_byte() {
    let Some(mut world) = World::start().await else {
        return;
    };
    let payloads = [
        "1e400",
        "-0.0",
        "12345678901234567890",
        "0.1000000000000000055511151231257827",
        r#"{"$binary":"AQID"}"#,
        r#""\u00fc \ud83d\ude00 ü 😀 \/ \u0000""#,
        "{ \"b\" :\n\t1 ,\r\n \"a\" : [ ] }",
        r#"{"a":1,"a":2}"#,
        "null",
    ]
    .map(str::to_owned);
    for payload in &payloads {
        let said = world.backend.publish("r", envelope(payload));
        assert!(said.accepted().is_some(), "{payload}: {said:?}");
    }
    assert_eq!(world.delivered(payloads.len()).await, payloads);
    let said = world
        .backend
        .publish("r", r#" {"args":[ 1e400,  {"x" : "ü"} ,null ] , "event":"e"} "#);
    assert!(said.accepted().is_some(), "{said:?}");
    assert_eq!(
        world.delivered(payloads.len() + 1).await.last().unwrap(),
        r#" 1e400,  {"x" : "ü"} ,null "#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_rise_and_are_the_order_of_arrival() {
    const BURST: usize = 5_000;
    let Some(mut world) = World::start().await else {
        return;
    };
    let burst = (0..BURST).map(|number| ("r", envelope(&number.to_string()).into_bytes()));
    let said = world.backend.publish_all(burst);
    let offsets: Vec<_> = said.iter().map(|said| said.accepted().unwrap().0).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "each is higher");
    let numbers: Vec<_> = (0..BURST).map(|number| number.to_string()).collect();
    assert_eq!(world.delivered(BURST).await, numbers);
    let stamps: Vec<_> = world
        .node
        .sockets
        .delivered()
        .iter()
        .map(|publication| publication.stamp.unwrap())
        .collect();
    assert_eq!(stamps, offsets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_gets_the_first_answer_and_is_published_once() {
    let Some(mut world) = World::start().await else {
        return;
    };
    world.node.sockets.join("s", 1).await;
    let with_id = |data: &str, id: &str| format!(r#"{{"event":"e","data":{data},"id":"{id}"}}"#);
    let first = world.backend.publish("r", with_id("1", "x"));
    assert!(first.accepted().is_some(), "{first:?}");
    assert_eq!(world.backend.publish("r", with_id("1", "x")), first);
    assert_eq!(
        world.backend.publish("r", with_id(r#""other""#, "x")),
        first,
        "only the id decides"
    );
    let long = "y".repeat(256);
    let odd = r" :{}\u0000 ü";
    for (room, data, id) in [
        ("s", "2", "x"),
        ("r", "3", "y"),
        ("r", "4", long.as_str()),
        ("r", "5", odd),
    ] {
        let said = world.backend.publish(room, with_id(data, id));
        assert_ne!(said, first, "{room} {id}");
        assert_eq!(
            world.backend.publish(room, with_id(data, id)),
            said,
            "{room} {id}"
        );
    }
    world.backend.publish("r", envelope("6"));
    world.delivered(6).await;
    world.backend.publish("r", envelope("7"));
    assert_eq!(world.delivered(7).await, ["1", "2", "3", "4", "5", "6", "7"]);
    let life = world.backend.ask(&["PTTL", "roomcast:{r}:id:x"]);
    assert!(
        matches!(life, Said::Number(540_000..=600_000)),
        "ten minutes: {life:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_and_nodes_share_one_order() {
    let Some(mut world) = World::start().await else {
        return;
    };
    let mut last = 0;
    for number in 0..50 {
        let by_node = crate::support::nodes::event("r", &number.to_string());
        let published = world.node.cluster.publish(by_node).await.unwrap();
        let offset: u64 = published.offset.unwrap().parse().unwrap();
        assert!(offset > last);
        last = world.backend.publish("r", envelope("0")).accepted().unwrap().0;
        assert!(last > offset);
    }
    world.delivered(100).await;
    let delivered = world.node.sockets.delivered();
    assert!(delivered.is_sorted_by(|one, next| one.stamp < next.stamp));
}
