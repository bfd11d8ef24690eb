//! Messages of channels that are not ours.

use std::sync::Arc;
use std::time::Duration;

use adapter_redis::{
    BusState, ClusterConfig, Envelope, Limits, MemoryHub, NodeId, RedisBus, RedisConfig, Translate,
    Untranslated,
};

use crate::support::eventually;
use crate::support::nodes::{SOON, TestNode};
use crate::support::recorder::Recorded;
use crate::support::redis_server::RedisServer;

const LIMIT: Duration = Duration::from_secs(20);
const CHANNEL: &str = "crm.events";

/// Takes lines of `room json`; an empty message is of no concern.
struct Lines;

impl Translate for Lines {
    fn translate(&self, channel: &str, payload: &[u8]) -> Vec<Result<Envelope, Untranslated>> {
        assert_eq!(channel, CHANNEL);
        let Ok(text) = std::str::from_utf8(payload) else {
            return vec![Err(Untranslated { reason: "not_utf8" })];
        };
        let line = |line: &str| {
            let (room, data) = line.split_once(' ').ok_or(Untranslated { reason: "no_line" })?;
            Envelope::from_parts(&[room], "e", &[data], &Limits::default()).map_err(|error| Untranslated {
                reason: error.reason(),
            })
        };
        text.lines().map(line).collect()
    }
}

fn config() -> ClusterConfig {
    ClusterConfig {
        translator: Some(Arc::new(Lines)),
        ..TestNode::config()
    }
}

fn node(hub: &MemoryHub, config: ClusterConfig) -> TestNode {
    let (id, recorded) = (NodeId::random(), Recorded::default());
    let (bus, arrivals) = hub.join(&id);
    let node = TestNode::with_config(id, Arc::new(bus), arrivals, recorded, config);
    node.sockets.put("r", 1);
    node
}

#[tokio::test(start_paused = true)]
async fn every_node_applies_a_message_to_its_own_sockets_once() {
    let hub = MemoryHub::new();
    let nodes = [node(&hub, config()), node(&hub, config())];
    let text = "r {\"b\": 1e400, \"a\":12345678901234567890123}\nnobody 2\nr 3";
    assert_eq!(hub.publish_foreign(CHANNEL, text), 2);
    for node in &nodes {
        eventually("it is delivered", SOON, || node.sockets.seen_count() == 3).await;
        tokio::time::sleep(SOON).await;
        assert_eq!(
            node.sockets.got(),
            ["{\"b\": 1e400, \"a\":12345678901234567890123}", "2", "3"]
        );
        assert_eq!(node.published("ingest", "reached"), 2);
        assert_eq!(node.published("ingest", "uncounted"), 1);
        assert_eq!(node.dropped("untranslated"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_translated_is_counted_and_costs_nothing_else() {
    let hub = MemoryHub::new();
    let node = node(&hub, config());
    let long = format!("r \"{}\"", "x".repeat(10_000));
    for payload in [&b"\xff"[..], b"noline", b"{ 1", b"r {", b"", long.as_bytes()] {
        hub.publish_foreign(CHANNEL, payload.to_vec());
    }
    hub.publish_foreign(CHANNEL, "noline\nr 1");
    eventually("the good part is delivered", SOON, || node.sockets.got() == ["1"]).await;
    assert_eq!(node.dropped("untranslated"), 6);
    assert_eq!(node.published("ingest", "invalid"), 6);
    assert_eq!(node.dropped("envelope_invalid"), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_translator_messages_are_dropped_and_counted() {
    let hub = MemoryHub::new();
    let node = node(&hub, TestNode::config());
    hub.publish_foreign(CHANNEL, "r 1");
    eventually("it is counted", SOON, || node.dropped("untranslated") == 1).await;
    assert!(node.sockets.got().is_empty());
}

fn with_channels(config: RedisConfig, channels: &[&str]) -> RedisConfig {
    RedisConfig {
        channels: channels.iter().map(|&name| name.to_owned()).collect(),
        ..config
    }
}

fn starting(config: RedisConfig) -> TestNode {
    let (id, recorded) = (NodeId::random(), Recorded::default());
    let (bus, arrivals) = RedisBus::start(config, &id, recorded.metrics()).unwrap();
    TestNode::with_config(id, Arc::new(bus), arrivals, recorded, self::config())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_publishes_on_its_own_channel_also_after_the_link_was_lost() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let config = || with_channels(server.config(), &["a b", CHANNEL, "{x}"]);
    let nodes = [starting(config()), starting(config())];
    for node in &nodes {
        node.connected().await;
        node.sockets.join("r", 1).await;
    }
    let mut expected = Vec::new();
    for round in 0..4 {
        for number in 0..50 {
            let data = (round * 50 + number).to_string();
            let said = server.backend().ask(&["PUBLISH", CHANNEL, &format!("r {data}")]);
            assert_eq!(said, crate::support::backend::Said::Number(2));
            expected.push(data);
        }
        server.backend().ask(&["PUBLISH", CHANNEL, "garbage"]);
        for node in &nodes {
            eventually("all is delivered, once and in order", LIMIT, || {
                node.sockets.got() == expected
            })
            .await;
        }
        let mut watched = nodes.each_ref().map(|node| node.cluster.watch_bus());
        watched.iter_mut().for_each(|state| state.mark_unchanged());
        assert_eq!(server.command("CLIENT KILL TYPE pubsub"), ":2\r\n");
        for (node, state) in nodes.iter().zip(&mut watched) {
            let changed = tokio::time::timeout(LIMIT, state.changed()).await;
            changed.expect("the link is missed").unwrap();
            node.connected().await;
        }
    }
    for node in &nodes {
        assert_eq!(node.sockets.got(), expected);
        assert_eq!(node.dropped("untranslated"), 4);
        assert_eq!(node.dropped("frame_malformed"), 0);
        assert!(
            !node.sockets.gaps().is_empty(),
            "messages of any channel may be missing"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_redis_refuses_is_a_failure_until_somebody_mends_it() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    server.command("ACL SETUSER few reset on >pw ~* &roomcast:* &other +@all");
    let config = || with_channels(server.config_of("few"), &["other", CHANNEL]);
    let node = starting(config());
    eventually("it has failed", LIMIT, || {
        node.cluster.bus_state() == BusState::Failed
    })
    .await;
    server.command("ACL SETUSER few &crm.*");
    node.connected().await;
    node.sockets.join("r", 1).await;
    server.backend().ask(&["PUBLISH", CHANNEL, "r 1"]);
    eventually("it is delivered", LIMIT, || node.sockets.got() == ["1"]).await;
}
