//! The stream of envelopes, on a Redis that the test starts (`ROOMCAST_TEST_REDIS=1`).

use std::sync::Arc;
use std::time::Duration;

use adapter_redis::{BusState, Ingest, NodeId, RedisBus, RedisConfig};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::eventually;
use crate::support::nodes::TestNode;
use crate::support::recorder::Recorded;
use crate::support::redis_server::RedisServer;

const LIMIT: Duration = Duration::from_secs(20);

struct Reader {
    node: TestNode,
    bus: Arc<RedisBus>,
    reader: Ingest,
    ingest: JoinSet<()>,
}

impl Reader {
    async fn start(server: &RedisServer) -> Self {
        let config = RedisConfig {
            command_timeout: Duration::from_millis(500),
            reconnect_min: Duration::from_millis(20),
            reconnect_max: Duration::from_millis(200),
            ..RedisConfig::new(server.url())
        };
        let (id, recorded) = (NodeId::random(), Recorded::default());
        let (bus, arrivals) = RedisBus::start(config.clone(), &id, recorded.metrics()).unwrap();
        let bus = Arc::new(bus);
        let node = TestNode::on(id, Arc::clone(&bus) as _, arrivals, recorded);
        let mut state = node.cluster.watch_bus();
        timeout(LIMIT, state.wait_for(|state| *state == BusState::Connected))
            .await
            .unwrap()
            .unwrap();
        let ingest = Ingest::new(node.cluster.clone(), config);
        let mut tasks = JoinSet::new();
        let reader = ingest.clone();
        tasks.spawn(async move { reader.run().await });
        Self {
            node,
            bus,
            reader: ingest,
            ingest: tasks,
        }
    }

    /// What a killed process does.
    async fn kill(mut self) {
        self.ingest.shutdown().await;
        self.node.kill();
        self.bus.close().await;
    }
}

fn add(server: &RedisServer, room: &str, number: usize) {
    let json = format!(r#"{{"room":"{room}","event":"e","data":{number}}}"#);
    server.command(&format!("XADD roomcast:ingest * envelope '{json}'"));
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_arrive_in_order_and_leave_nothing_behind() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    // Before any node was there.
    for number in 0..50 {
        add(&server, "a", number);
    }
    let (one, two) = (Reader::start(&server).await, Reader::start(&server).await);
    one.node.sockets.join("b", 1).await;
    two.node.sockets.join("b", 1).await;
    for number in 0..300 {
        add(&server, "b", number);
    }
    eventually("all arrive on both nodes", LIMIT, || {
        [&one, &two]
            .iter()
            .all(|reader| reader.node.sockets.got() == numbers(0..300))
    })
    .await;
    // Entries are deleted first, and then let go of.
    eventually(
        "the stream is empty, and nobody has anything in hand",
        LIMIT,
        || {
            let pending = server.command("XPENDING roomcast:ingest roomcast");
            server.command("XLEN roomcast:ingest") == ":0\r\n" && pending.starts_with("*4\r\n:0\r\n")
        },
    )
    .await;
    let published = |reader: &Reader| reader.node.published("stream", "uncounted");
    assert_eq!(published(&one) + published(&two), 350);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_dies_with_entries_in_hand_loses_none_and_doubles_none() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let watcher = Reader::start(&server).await;
    watcher.node.sockets.join("a", 1).await;
    let mut sent = 0;
    for _ in 0..3 {
        // Whoever reads now is not the one who is killed, at first; the lease passes on when it dies.
        let victim = Reader::start(&server).await;
        for _ in 0..100 {
            add(&server, "a", sent);
            sent += 1;
        }
        victim.kill().await;
    }
    // And the one that held it all the time hangs, as it were: somebody else has the lease for a while.
    server.command("SET roomcast:ingest:lease somebody-else PX 3000");
    for _ in 0..100 {
        add(&server, "a", sent);
        sent += 1;
    }
    eventually("all arrive", LIMIT, || watcher.node.sockets.got().len() >= sent).await;
    assert_eq!(watcher.node.sockets.got(), numbers(0..sent), "once, and in order");
}

/// What is in hand when its reader dies is the next one's: read, not acknowledged, and published before what is new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_hand_comes_first() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    server.command("XGROUP CREATE roomcast:ingest roomcast 0 MKSTREAM");
    for number in 0..10 {
        add(&server, "a", number);
    }
    server.command("XREADGROUP GROUP roomcast roomcast COUNT 5 STREAMS roomcast:ingest >");
    let reader = Reader::start(&server).await;
    reader.node.sockets.join("a", 1).await;
    add(&server, "a", 10);
    eventually("the last arrives", LIMIT, || {
        reader.node.sockets.got().last().is_some_and(|last| last == "10")
    })
    .await;
    eventually("the stream is empty", LIMIT, || {
        server.command("XLEN roomcast:ingest") == ":0\r\n"
    })
    .await;
    let got = reader.node.sockets.got();
    assert!(
        got.is_sorted_by_key(|number| number.parse::<usize>().unwrap()),
        "{got:?}"
    );
}

/// A rolling restart must not stop the stream for as long as a lease takes to run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_hands_over() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let first = Reader::start(&server).await;
    let lease = || server.command("GET roomcast:ingest:lease");
    eventually("it reads", LIMIT, || lease().contains(first.node.id.as_str())).await;
    first.reader.hand_over(LIMIT).await;
    assert_eq!(lease(), "$-1\r\n", "given back, and not taken again");
    let second = Reader::start(&server).await;
    second.node.sockets.join("a", 1).await;
    add(&server, "a", 0);
    eventually("the other one reads", LIMIT, || {
        second.node.sockets.got() == ["0"]
    })
    .await;
    assert!(lease().contains(second.node.id.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_published_is_put_aside_with_its_reason() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let reader = Reader::start(&server).await;
    reader.node.sockets.join("a", 1).await;
    server.command("XADD roomcast:ingest * envelope '{' ");
    server.command("XADD roomcast:ingest * other 1");
    server.command(r#"XADD roomcast:ingest * envelope '{"room":"a","event":"connect"}'"#);
    add(&server, "a", 1);
    eventually("the good one arrives", LIMIT, || {
        reader.node.sockets.got() == ["1"]
    })
    .await;
    eventually("the stream is empty", LIMIT, || {
        server.command("XLEN roomcast:ingest") == ":0\r\n"
    })
    .await;
    let refused = server.command("XRANGE roomcast:ingest:refused - +");
    for reason in ["not_json", "no_envelope", "bad_event"] {
        assert!(refused.contains(reason), "{reason} in {refused}");
    }
    assert_eq!(reader.node.published("stream", "invalid"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_survives_an_emptied_and_a_restarted_redis() {
    let Some(mut server) = RedisServer::start(&[]).await else {
        return;
    };
    let reader = Reader::start(&server).await;
    reader.node.sockets.join("a", 1).await;
    add(&server, "a", 0);
    eventually("it arrives", LIMIT, || reader.node.sockets.got() == ["0"]).await;
    server.command("FLUSHALL");
    add(&server, "a", 1);
    eventually("it arrives", LIMIT, || reader.node.sockets.got() == ["0", "1"]).await;
    server.kill();
    server.run().await;
    add(&server, "a", 2);
    let mut state = reader.node.cluster.watch_bus();
    timeout(LIMIT, state.wait_for(|state| *state == BusState::Connected))
        .await
        .unwrap()
        .unwrap();
    add(&server, "a", 3);
    eventually("it arrives", LIMIT, || {
        reader.node.sockets.got().last().is_some_and(|last| last == "3")
    })
    .await;
}
