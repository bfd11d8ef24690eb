//! What [`adapter_redis::SharedSets`] promises, checked in the same way on both implementations; and what only Redis can
//! show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use adapter_redis::{
    Bus, BusError, BusState, Item, MAX_ITEMS, MemoryHub, Metrics, NodeId, RedisBus, RedisConfig, SharedSets,
};
use bytes::Bytes;
use tokio::time::timeout;

use crate::support::redis_server::RedisServer;
use crate::support::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(10);
const SET: &str = "things";

/// Something that several nodes share.
enum World {
    Memory(MemoryHub),
    Redis(RedisConfig),
}

impl World {
    fn memory() -> Self {
        Self::Memory(MemoryHub::new())
    }

    /// The Redis that `REDIS_URL` names, with a prefix that no other test has.
    fn redis() -> Option<Self> {
        let Ok(url) = std::env::var("REDIS_URL") else {
            skipped("REDIS_URL not set");
            return None;
        };
        Some(Self::Redis(RedisConfig {
            prefix: format!("test-{}", NodeId::random()),
            ..RedisConfig::new(url)
        }))
    }

    async fn join(&self) -> Arc<dyn SharedSets> {
        match self {
            Self::Memory(hub) => Arc::new(hub.join(&NodeId::random()).0),
            Self::Redis(config) => connected(config).await,
        }
    }
}

async fn connected(config: &RedisConfig) -> Arc<RedisBus> {
    // What arrives is of no interest here.
    let (bus, _) = RedisBus::start(config.clone(), &NodeId::random(), Metrics::noop()).unwrap();
    let mut state = bus.state();
    let connected = state.wait_for(|state| *state == BusState::Connected);
    timeout(LIMIT, connected).await.unwrap().unwrap();
    Arc::new(bus)
}

fn item(text: &str, until_ms: u64) -> Item {
    Item {
        text: Bytes::copy_from_slice(text.as_bytes()),
        until_ms,
    }
}

async fn all(sets: &dyn SharedSets, set: &str) -> BTreeSet<Item> {
    let (mut found, mut from) = (BTreeSet::new(), None);
    loop {
        let part = sets.read(set, from).await.unwrap();
        found.extend(part.items);
        from = part.next;
        if from.is_none() {
            return found;
        }
    }
}

async fn the_later_end_stays(world: World) {
    let (one, two) = (world.join().await, world.join().await);
    assert!(all(&*one, SET).await.is_empty());
    let (first, again) = (
        [item("a", 2_000), item("b", 1_000)],
        [item("a", 1_000), item("b", 2_000)],
    );
    one.put(SET, &first).await.unwrap();
    two.put(SET, &again).await.unwrap();
    two.put(SET, &[]).await.unwrap();
    let expected: BTreeSet<Item> = [item("a", 2_000), item("b", 2_000)].into();
    for sets in [&one, &two] {
        assert_eq!(all(&**sets, SET).await, expected);
        assert!(all(&**sets, "others").await.is_empty(), "a set of another name");
    }
}

async fn texts_and_ends_stay_as_they_are(world: World) {
    let one = world.join().await;
    let items = [
        item("", 0),
        item("1700000000", 1_700_000_000_123),
        item("{\"user\":\"\u{fc}\"}", Item::LATEST),
        item("a b\r\nGT", 1),
        Item {
            text: Bytes::from_static(b"\xff\x00"),
            until_ms: Item::LATEST - 1,
        },
    ];
    one.put(SET, &items).await.unwrap();
    assert_eq!(all(&*one, SET).await, items.into());
}

async fn much_is_read_in_parts(world: World) {
    let one = world.join().await;
    let items: Vec<Item> = (0..5 * MAX_ITEMS as u64 + 7)
        .map(|n| item(&format!("item {n}"), n))
        .collect();
    for items in items.chunks(MAX_ITEMS) {
        one.put(SET, items).await.unwrap();
    }
    let part = one.read(SET, None).await.unwrap();
    assert!(
        part.next.is_some() && part.items.len() < 2 * MAX_ITEMS,
        "a part is small"
    );
    assert_eq!(all(&*one, SET).await.len(), items.len());
    assert_eq!(one.count(SET, 999).await, Ok(items.len() as u64 - 1_000));
}

async fn what_is_over_and_what_is_named_goes(world: World) {
    let (one, two) = (world.join().await, world.join().await);
    let items = [
        item("a", 1_000),
        item("b", 2_000),
        item("c", 3_000),
        item("d", 4_000),
    ];
    one.put(SET, &items).await.unwrap();
    assert_eq!(two.count(SET, 2_000).await, Ok(2), "those that end then are over");
    two.trim(SET, 2_000).await.unwrap();
    assert_eq!(all(&*one, SET).await, items[1..].iter().cloned().collect());
    let named = [Bytes::from_static(b"c"), Bytes::from_static(b"never there")];
    two.remove(SET, &named).await.unwrap();
    two.remove(SET, &[]).await.unwrap();
    let left: BTreeMap<_, _> = all(&*one, SET)
        .await
        .into_iter()
        .map(|i| (i.text, i.until_ms))
        .collect();
    assert_eq!(left, [("b".into(), 2_000), ("d".into(), 4_000)].into());
}

macro_rules! on_both {
    ($($check:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $check() {
                    super::$check(super::World::memory()).await;
                }
            )*
        }
        mod redis {
            $(
                #[tokio::test]
                async fn $check() {
                    if let Some(world) = super::World::redis() {
                        super::$check(world).await;
                    }
                }
            )*
        }
    };
}

on_both!(
    the_later_end_stays,
    texts_and_ends_stay_as_they_are,
    much_is_read_in_parts,
    what_is_over_and_what_is_named_goes,
);

#[tokio::test]
async fn a_node_that_is_cut_off_is_told_so_and_an_emptied_hub_holds_nothing() {
    let (hub, id) = (MemoryHub::new(), NodeId::random());
    let (sets, _arrivals) = hub.join(&id);
    sets.put(SET, &[item("a", 1)]).await.unwrap();
    hub.partition(&id);
    assert_eq!(sets.put(SET, &[item("b", 1)]).await, Err(BusError::Disconnected));
    assert_eq!(sets.read(SET, None).await, Err(BusError::Disconnected));
    hub.heal(&id);
    assert_eq!(all(&sets, SET).await, [item("a", 1)].into());
    hub.forget_sets();
    assert!(all(&sets, SET).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_and_without_the_right_it_is_said() {
    let Some(mut server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = "resetchannels &roomcast:* ~roomcast:* +hello +subscribe +ssubscribe +sunsubscribe +publish +spublish +time";
    let sets = "+zadd +zrem +zscan +zcount +zremrangebyscore";
    for (user, rights) in [("poor", node.to_owned()), ("node", format!("{node} {sets}"))] {
        let made = server.command(&format!("ACL SETUSER {user} reset on >pw {rights}"));
        assert_eq!(made, "+OK\r\n");
    }
    let poor = connected(&server.config_of("poor")).await;
    let refused = poor.put(SET, &[item("a", 1)]).await;
    assert!(
        matches!(&refused, Err(BusError::Refused(why)) if why.contains("NOPERM")),
        "{refused:?}"
    );
    // The documented rights are enough.
    let node = connected(&server.config_of("node")).await;
    node.put(SET, &[item("a", 1), item("b", 9)]).await.unwrap();
    node.trim(SET, 5).await.unwrap();
    assert_eq!(
        (all(&*node, SET).await, node.count(SET, 0).await),
        ([item("b", 9)].into(), Ok(1))
    );
    node.remove(SET, &[Bytes::from_static(b"b")]).await.unwrap();
    server.kill();
    eventually("the link is gone", LIMIT, || {
        *node.state().borrow() != BusState::Connected
    })
    .await;
    assert_eq!(node.read(SET, None).await, Err(BusError::Disconnected));
}
