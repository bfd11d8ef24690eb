//! The bus over a Redis that the test starts, stops, kills and freezes (`ROOMCAST_TEST_REDIS=1`).

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_redis::{
    Arrival, Arrivals, Bus, BusError, BusState, Channel, Gap, Inbound, NodeId, RedisBus, RedisConfig,
};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::eventually;
use crate::support::nodes::{TestNode, event};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorded;
use crate::support::redis_server::RedisServer;

const LIMIT: Duration = Duration::from_secs(20);

struct Node {
    id: NodeId,
    bus: Arc<RedisBus>,
    arrivals: Arrivals,
    recorded: Recorded,
}

/// Everything faster than by default, so that tests need not wait for it.
fn config(url: impl Into<String>) -> RedisConfig {
    RedisConfig {
        command_timeout: Duration::from_millis(500),
        probe_interval: Duration::from_millis(500),
        reconnect_min: Duration::from_millis(20),
        reconnect_max: Duration::from_millis(200),
        ..RedisConfig::new(url)
    }
}

impl Node {
    fn start(config: RedisConfig) -> Self {
        let (id, recorded) = (NodeId::random(), Recorded::default());
        let (bus, arrivals) = RedisBus::start(config, &id, recorded.metrics()).unwrap();
        Self {
            id,
            bus: Arc::new(bus),
            arrivals,
            recorded,
        }
    }

    async fn connected(config: RedisConfig) -> Self {
        let node = Self::start(config);
        node.is(BusState::Connected).await;
        node
    }

    fn state(&self) -> BusState {
        *self.bus.state().borrow()
    }

    async fn is(&self, wanted: BusState) {
        let mut state = self.bus.state();
        let waited = timeout(LIMIT, state.wait_for(|state| *state == wanted)).await;
        assert!(waited.is_ok(), "not {wanted:?} but {:?}", self.state());
    }

    async fn publish(&self, payload: impl Into<Bytes>) -> Result<u64, BusError> {
        self.bus.publish(&Channel::Nodes, payload.into()).await
    }

    async fn next(&mut self) -> Bytes {
        self.next_inbound().await.payload
    }

    /// The next message; what is said of gaps is left out.
    async fn next_inbound(&mut self) -> Inbound {
        loop {
            let arrival = timeout(LIMIT, self.arrivals.recv())
                .await
                .expect("a message in time");
            if let Arrival::Message(inbound) = arrival.unwrap() {
                return inbound;
            }
        }
    }

    /// Publishes one message and reads until it is back.
    async fn round_trip(&mut self) {
        let payload = NodeId::random().to_string();
        self.publish(payload.clone()).await.unwrap();
        while self.next().await != payload.as_bytes() {}
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.recorded
            .value(&format!("roomcast_dropped_total{{reason={reason}}}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_come_later() {
    let Some(mut server) = RedisServer::prepare(&[]) else {
        return;
    };
    let mut node = Node::start(config(server.url()));
    let start = Instant::now();
    assert_eq!(node.publish("too early").await, Err(BusError::Disconnected));
    assert!(start.elapsed() < Duration::from_millis(100), "it fails at once");
    let mut state = node.bus.state();
    assert!(
        timeout(Duration::from_secs(1), state.changed()).await.is_err(),
        "it is connecting all the while"
    );
    assert_eq!(node.state(), BusState::Connecting);
    server.run().await;
    node.is(BusState::Connected).await;
    node.round_trip().await;
}

/// What is published once the state is connected arrives, every time, on every node and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_restart_under_a_stream_of_publications() {
    let Some(mut server) = RedisServer::start(&[]).await else {
        return;
    };
    let publisher = Node::connected(config(server.url())).await;
    let mut reader = Node::connected(config(server.url())).await;
    for round in 0..5 {
        // A stream that goes on while Redis goes away and comes back.
        let mut stream = JoinSet::new();
        let bus = Arc::clone(&publisher.bus);
        stream.spawn(async move {
            let mut number = 0_u64;
            loop {
                number += 1;
                let sent = bus
                    .publish(&Channel::Nodes, format!("{round} stream {number}").into())
                    .await;
                if sent == Err(BusError::Disconnected) {
                    tokio::task::yield_now().await;
                }
            }
        });
        let before = reader.next().await;
        assert!(before.starts_with(format!("{round} stream").as_bytes()));
        server.kill();
        publisher.is(BusState::Reconnecting).await;
        reader.is(BusState::Reconnecting).await;
        server.run().await;
        publisher.is(BusState::Connected).await;
        reader.is(BusState::Connected).await;
        let drain = async {
            for number in 0..2_000 {
                let payload = format!("{round} after {number}");
                assert_eq!(
                    publisher.publish(payload.clone()).await,
                    Ok(2),
                    "the state was connected"
                );
            }
        };
        let expected = async {
            let (mut number, mut last) = (0, 0);
            while number < 2_000 {
                let payload = String::from_utf8(reader.next().await.to_vec()).unwrap();
                match payload.split_once(" after ") {
                    Some((_, text)) => {
                        assert_eq!(
                            text.parse(),
                            Ok(number),
                            "nothing is missing and the order is kept"
                        );
                        number += 1;
                    }
                    None => {
                        let (of, text) = payload.split_once(" stream ").unwrap();
                        let text = text.parse::<u64>().unwrap();
                        assert!(
                            of == round.to_string() && text > last,
                            "the stream came twice or out of order"
                        );
                        last = text;
                    }
                }
            }
        };
        tokio::join!(drain, expected);
        stream.shutdown().await;
        // What the stream had on its way still arrives, and belongs to this round.
        publisher.publish("end").await.unwrap();
        while reader.next().await != b"end".as_slice() {}
    }
    assert_eq!(reader.dropped("bus_lag"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_come_back_after_the_connection_was_killed() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut node = Node::connected(config(server.url())).await;
    for _ in 0..20 {
        let mut state = node.bus.state();
        state.mark_unchanged();
        assert_eq!(server.command("CLIENT KILL TYPE pubsub"), ":1\r\n");
        timeout(LIMIT, state.changed()).await.unwrap().unwrap();
        node.is(BusState::Connected).await;
        for channel in [Channel::Publish, Channel::Nodes, Channel::Node(node.id.clone())] {
            assert_eq!(
                node.bus.publish(&channel, Bytes::from_static(b"hello")).await,
                Ok(1),
                "{channel:?}"
            );
            let inbound = node.next_inbound().await;
            assert_eq!(inbound.channel, channel);
        }
    }
    let mut state = node.bus.state();
    state.mark_unchanged();
    server.command("CLIENT KILL TYPE normal");
    // The publisher is missed; that may be over before anybody looks.
    timeout(LIMIT, state.changed()).await.unwrap().unwrap();
    node.is(BusState::Connected).await;
    node.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_is_noticed_and_left_alone() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut node = Node::connected(config(server.url())).await;
    server.signal("-STOP");
    let frozen = Instant::now();
    assert_eq!(
        node.publish("who knows").await,
        Err(BusError::Timeout),
        "whether it arrives is unknown"
    );
    node.is(BusState::Reconnecting).await;
    // The publication that was not answered is suspicious, so that no probe is waited for.
    assert!(
        frozen.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        frozen.elapsed()
    );
    assert_eq!(node.publish("down").await, Err(BusError::Disconnected));
    let rest = Duration::from_secs(3).saturating_sub(frozen.elapsed());
    let mut state = node.bus.state();
    let early = timeout(rest, state.wait_for(|state| *state == BusState::Connected)).await;
    assert!(early.is_err(), "connected to a frozen Redis");
    server.signal("-CONT");
    node.is(BusState::Connected).await;
    node.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_freeze_costs_nothing() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let patient = RedisConfig {
        command_timeout: Duration::from_secs(5),
        ..config(server.url())
    };
    let mut node = Node::connected(patient).await;
    let mut state = node.bus.state();
    state.mark_unchanged();
    server.signal("-STOP");
    let sent = async {
        let start = Instant::now();
        assert_eq!(node.publish("late").await, Ok(1));
        start.elapsed()
    };
    let thaw = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.signal("-CONT");
    };
    let (took, ()) = tokio::join!(sent, thaw);
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert_eq!(node.next().await, b"late".as_slice());
    assert!(!state.has_changed().unwrap());
}

/// Publishers do not pile up in front of a Redis that does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_publications_at_once_are_refused() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut node = Node::connected(config(server.url())).await;
    server.signal("-STOP");
    let sent = join_all((0..9_000).map(|_| node.publish("x"))).await;
    let refused = sent
        .iter()
        .filter(|sent| matches!(sent, Err(BusError::Refused(_))))
        .count();
    assert_eq!(refused, 9_000 - 8_192);
    assert_eq!(
        sent.iter()
            .filter(|sent| **sent == Err(BusError::Timeout))
            .count(),
        8_192
    );
    server.signal("-CONT");
    eventually("publishing works", LIMIT, || node.state() == BusState::Connected).await;
    node.round_trip().await;
}

/// Connected but deaf: everything is answered, and no message comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_link_is_noticed_and_made_anew() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::connected(config(proxy.url())).await;
    node.round_trip().await;
    proxy.deaf(true);
    assert_eq!(node.publish("unheard").await, Ok(1), "Redis counts the deaf");
    node.is(BusState::Reconnecting).await;
    let mut state = node.bus.state();
    let early = timeout(
        Duration::from_secs(2),
        state.wait_for(|state| *state == BusState::Connected),
    )
    .await;
    assert!(early.is_err(), "connected while deaf");
    proxy.deaf(false);
    node.is(BusState::Connected).await;
    node.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_a_failure_until_somebody_mends_it() {
    let Some(server) = RedisServer::start(&["--user", "gate", "on", ">right", "+@all", "&*", "~*"]).await
    else {
        return;
    };
    let url = |password: &str| format!("redis://gate:{password}@127.0.0.1:{}/3", server.port());
    Node::connected(config(url("right"))).await.round_trip().await;
    let mut node = Node::start(config(url("wrong")));
    node.is(BusState::Failed).await;
    assert_eq!(node.publish("no").await, Err(BusError::Disconnected));
    server.command("ACL SETUSER gate >wrong");
    node.is(BusState::Connected).await;
    node.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_few_and_missing_ones_are_a_failure() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let url = format!("redis://gate:pw@127.0.0.1:{}", server.port());
    let rights = "+hello +subscribe +ssubscribe +sunsubscribe +publish +spublish";
    for (missing, acl) in [
        ("nothing", format!("&roomcast:* {rights}")),
        ("channels", rights.to_owned()),
        (
            "some channels",
            format!("&roomcast:node:* &roomcast:nodes {rights}"),
        ),
        ("subscribe", format!("&roomcast:* {rights} -subscribe")),
        ("publish", format!("&roomcast:* {rights} -publish")),
    ] {
        assert_eq!(
            server.command(&format!("ACL SETUSER gate reset on >pw {acl}")),
            "+OK\r\n"
        );
        let mut node = Node::start(config(&url));
        if missing != "nothing" {
            node.is(BusState::Failed).await;
            server.command(&format!("ACL SETUSER gate reset on >pw &roomcast:* {rights}"));
        }
        node.is(BusState::Connected).await;
        node.round_trip().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_taken_away_are_noticed() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    server.command(
        "ACL SETUSER gate on >pw &roomcast:* +hello +subscribe +ssubscribe +sunsubscribe +publish +spublish",
    );
    let node = Node::connected(config(format!("redis://gate:pw@127.0.0.1:{}", server.port()))).await;
    server.command("ACL SETUSER gate -publish");
    assert!(matches!(node.publish("no").await, Err(BusError::Refused(why)) if why.starts_with("NOPERM")));
    node.is(BusState::Failed).await;
}

/// The queue is full, Redis keeps what comes for a second, and then messages are lost: each of them is either read or
/// counted, and a gap is where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_read_loses_messages_and_knows_how_many() {
    const SENT: u64 = 40_000;
    const QUEUE: u64 = 10;
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut slow = Node::connected(RedisConfig {
        queue: QUEUE as usize,
        ..config(server.url())
    })
    .await;
    let publisher = Node::connected(config(server.url())).await;
    for _ in 0..SENT / 1_000 {
        let thousand = (0..1_000).map(|_| publisher.bus.publish(&Channel::Publish, Bytes::from_static(b"x")));
        let receivers = join_all(thousand).await;
        assert!(receivers.iter().all(|receivers| *receivers == Ok(2)));
    }
    eventually("what does not fit is counted", LIMIT, || {
        slow.dropped("bus_lag") == SENT - QUEUE
    })
    .await;
    assert_eq!(
        slow.state(),
        BusState::Connected,
        "a slow node is not a broken link"
    );
    for _ in 0..QUEUE {
        assert!(matches!(slow.arrivals.recv().await, Some(Arrival::Message(_))));
    }
    assert_eq!(slow.arrivals.recv().await, Some(Arrival::Gap(Gap::All)));
    slow.round_trip().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_works_when_nobody_receives_any_more() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let Node {
        id,
        bus,
        arrivals,
        recorded,
    } = Node::connected(config(server.url())).await;
    drop(arrivals);
    let (_, unread) = adapter_redis::MemoryHub::new().join(&id);
    let node = Node {
        id,
        bus,
        arrivals: unread,
        recorded,
    };
    assert_eq!(node.publish("goodbye").await, Ok(1));
    eventually("it is counted", LIMIT, || node.dropped("bus_queue_closed") == 1).await;
    assert_eq!(node.state(), BusState::Connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_answers_what_is_on_its_way_and_leaves_no_connection() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = Node::connected(config(server.url())).await;
    // Some are on their way whenever it closes, and some begin just then.
    let answered = Cell::new(0);
    let publisher = async || {
        loop {
            match node.publish("x").await {
                Ok(1) => answered.set(answered.get() + 1),
                other => break other,
            }
        }
    };
    let closing = async {
        eventually("publications are on their way", LIMIT, || answered.get() > 100).await;
        node.bus.close().await;
    };
    let publishers = join_all((0..64).map(|_| publisher()));
    let (ends, ()) = tokio::join!(publishers, closing);
    assert!(
        ends.iter().all(|end| *end == Err(BusError::Disconnected)),
        "{ends:?}"
    );
    assert_eq!(node.publish("closed").await, Err(BusError::Disconnected));
    assert_eq!(node.state(), BusState::Reconnecting);
    let alone = || server.command("CLIENT LIST").matches("id=").count() == 1;
    eventually("no connection is left", LIMIT, alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_when_redis_answers_nothing() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = Node::connected(config(server.url())).await;
    server.signal("-STOP");
    // As many as may be on their way; those that begin when it is closing are not sent at all.
    let publishers = join_all((0..8_192).map(|_| node.publish("x")));
    let both = async { tokio::join!(publishers, node.bus.close()) };
    let (ends, ()) = timeout(LIMIT, both).await.expect("it does not wait for ever");
    assert!(
        ends.contains(&Err(BusError::Timeout)),
        "nobody knows what Redis did"
    );
    assert!(
        ends.iter()
            .all(|end| matches!(end, Err(BusError::Timeout | BusError::Disconnected))),
        "{ends:?}"
    );
    assert_eq!(node.publish("closed").await, Err(BusError::Disconnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_bus_leaves_no_connection() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = Node::connected(config(server.url())).await;
    let state = node.bus.state();
    assert_eq!(
        server.command("CLIENT LIST").matches("id=").count(),
        3,
        "two connections and this one"
    );
    drop(node);
    // In the middle of connecting, too.
    for _ in 0..20 {
        drop(Node::start(config(server.url())));
        tokio::task::yield_now().await;
    }
    assert_eq!(*state.borrow(), BusState::Reconnecting);
    let alone = || server.command("CLIENT LIST").matches("id=").count() == 1;
    eventually("no connection is left", LIMIT, alone).await;
}

/// The whole way: nodes with sockets, counting over Redis, a backend that publishes with `PUBLISH`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_counts_over_redis() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let Node {
            id,
            bus,
            arrivals,
            recorded,
        } = Node::connected(config(server.url())).await;
        nodes.push(TestNode::on(id, bus, arrivals, recorded));
    }
    eventually("all know each other", LIMIT, || {
        nodes.iter().all(|node| node.knows(3))
    })
    .await;
    for node in &nodes {
        node.sockets.join("r", 2).await;
    }
    let published = nodes[0]
        .cluster
        .publish(event("r", r#"{"ü": 1e400}"#))
        .await
        .unwrap();
    assert_eq!(
        (published.nodes, published.sockets, published.complete),
        (3, 6, true)
    );
    let receivers = server.command(r#"PUBLISH roomcast:publish '{"room":"r","event":"e","data":[1, 2]}'"#);
    assert_eq!(receivers, ":3\r\n");
    eventually("all have both", LIMIT, || {
        nodes
            .iter()
            .all(|node| node.sockets.got() == [r#"{"ü": 1e400}"#, "[1, 2]"])
    })
    .await;
    let census = nodes[1].cluster.census().await;
    assert!(census.complete);
    assert_eq!(census.rooms, 1);
}

/// What a Redis Cluster does to a subscriber when a slot moves away: it ends the subscription, without being asked and
/// with the connection left open. (One server with cluster mode on can play that alone.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_redis_ends_is_made_again_and_a_gap_is_said() {
    let file = std::env::temp_dir().join(format!("roomcast-nodes-{}.conf", NodeId::random()));
    let options = [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        file.to_str().unwrap(),
    ];
    let Some(server) = RedisServer::start(&options).await else {
        return;
    };
    server.command("CLUSTER ADDSLOTSRANGE 0 16383");
    eventually("the slots are served", LIMIT, || {
        server.command("SET x 1") == "+OK\r\n"
    })
    .await;
    let mut node = Node::connected(config(server.url())).await;
    let room = adapter_redis::RoomName::new("r").unwrap();
    let _interest = node.bus.interests().hold(&room).await.unwrap();
    let slot = server.command("CLUSTER KEYSLOT roomcast:{r}");
    let slot = slot.trim_start_matches(':').trim();
    server.command(&format!("CLUSTER DELSLOTS {slot}"));
    server.command(&format!("CLUSTER ADDSLOTS {slot}"));
    loop {
        let arrival = timeout(LIMIT, node.arrivals.recv()).await.expect("a gap in time");
        if matches!(arrival, Some(Arrival::Gap(_))) {
            break;
        }
    }
    node.is(BusState::Connected).await;
    let channel = Channel::Room(room);
    eventually("it is subscribed to again", LIMIT, || {
        server
            .command("PUBSUB SHARDNUMSUB roomcast:{r}")
            .ends_with(":1\r\n")
    })
    .await;
    node.bus
        .publish(&channel, Bytes::from_static(b"again"))
        .await
        .unwrap();
    assert_eq!(node.next().await, b"again".as_slice());
    let _ = std::fs::remove_file(file);
}
