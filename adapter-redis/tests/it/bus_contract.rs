//! What [`adapter_redis::Bus`] promises, checked in the same way on every implementation: the memory bus can only stand
//! in for Redis because it passes what Redis passes.

use std::sync::Arc;
use std::time::Duration;

use adapter_redis::{
    Arrival, Arrivals, Bus, BusState, Channel, Inbound, Interest, MemoryHub, Metrics, NodeId, Receipt,
    RedisBus, RedisConfig, RoomName, Stored, StoredBody,
};
use bytes::Bytes;
use tokio::time::timeout;

use crate::support::skipped;

const LIMIT: Duration = Duration::from_secs(10);

/// Something that nodes can join.
enum World {
    Memory(MemoryHub),
    Redis { url: String, prefix: String },
}

struct Member {
    id: NodeId,
    bus: Arc<dyn Bus>,
    arrivals: Arrivals,
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
        Some(Self::Redis {
            url,
            prefix: format!("test-{}", NodeId::random()),
        })
    }

    /// A channel of somebody else, which every member listens to.
    fn foreign(&self) -> Channel {
        match self {
            Self::Memory(_) => Channel::Foreign("crm.events".into()),
            Self::Redis { prefix, .. } => Channel::Foreign(format!("crm.{prefix}").into()),
        }
    }

    async fn join(&self) -> Member {
        let id = NodeId::random();
        let (bus, arrivals): (Arc<dyn Bus>, _) = match self {
            Self::Memory(hub) => {
                let (bus, arrivals) = hub.join(&id);
                (Arc::new(bus), arrivals)
            }
            Self::Redis { url, prefix } => {
                let config = RedisConfig {
                    prefix: prefix.clone(),
                    unsubscribe_delay: Duration::from_millis(50),
                    channels: vec!["crm {x}".to_owned(), self.foreign().name(prefix)],
                    ..RedisConfig::new(url)
                };
                let (bus, arrivals) = RedisBus::start(config, &id, Metrics::noop()).unwrap();
                (Arc::new(bus), arrivals)
            }
        };
        let mut state = bus.state();
        timeout(LIMIT, state.wait_for(|state| *state == BusState::Connected))
            .await
            .unwrap()
            .unwrap();
        Member { id, bus, arrivals }
    }

    /// Another world on the same server.
    fn neighbour(&self) -> Self {
        match self {
            Self::Memory(_) => Self::memory(),
            Self::Redis { url, .. } => Self::Redis {
                url: url.clone(),
                prefix: format!("test-{}", NodeId::random()),
            },
        }
    }
}

impl Member {
    async fn publish(&self, channel: &Channel, payload: impl Into<Bytes>) -> u64 {
        self.bus.publish(channel, payload.into()).await.unwrap()
    }

    /// The next message, which has to be this one: nothing else may have come before it.
    async fn expect(&mut self, channel: Channel, payload: impl Into<Bytes>) {
        let inbound = self.next().await;
        assert_eq!(
            inbound,
            Inbound {
                channel,
                payload: payload.into()
            }
        );
    }

    async fn next(&mut self) -> Inbound {
        let arrival = timeout(LIMIT, self.arrivals.recv())
            .await
            .expect("a message in time")
            .expect("a bus");
        match arrival {
            Arrival::Message(inbound) => inbound,
            Arrival::Gap(gap) => panic!("a gap: {gap:?}"),
        }
    }
}

async fn everybody_gets_what_is_for_all(world: World) {
    let (mut one, mut two, mut three) = (world.join().await, world.join().await, world.join().await);
    for channel in [Channel::Nodes, Channel::Publish] {
        assert_eq!(one.publish(&channel, "hello").await, 3);
        for member in [&mut one, &mut two, &mut three] {
            member.expect(channel.clone(), "hello").await;
        }
    }
}

async fn everybody_gets_what_others_say_on_their_channels(world: World) {
    let (mut one, mut two) = (world.join().await, world.join().await);
    for payload in ["{\"any\": shape", "", "roomcast:publish"] {
        assert_eq!(one.publish(&world.foreign(), payload).await, 2);
        for member in [&mut one, &mut two] {
            member.expect(world.foreign(), payload).await;
        }
    }
}

async fn only_one_gets_what_is_for_one(world: World) {
    let (mut one, mut two, mut three) = (world.join().await, world.join().await, world.join().await);
    assert_eq!(one.publish(&Channel::Node(two.id.clone()), "for two").await, 1);
    assert_eq!(one.publish(&Channel::Node(one.id.clone()), "for one").await, 1);
    assert_eq!(one.publish(&Channel::Nodes, "for all").await, 3);
    two.expect(Channel::Node(two.id.clone()), "for two").await;
    two.expect(Channel::Nodes, "for all").await;
    one.expect(Channel::Node(one.id.clone()), "for one").await;
    one.expect(Channel::Nodes, "for all").await;
    three.expect(Channel::Nodes, "for all").await;
}

async fn nobody_is_counted_where_nobody_listens(world: World) {
    let one = world.join().await;
    assert_eq!(one.publish(&Channel::Node(NodeId::random()), "hello?").await, 0);
}

async fn order_is_kept(world: World) {
    let (mut one, mut two) = (world.join().await, world.join().await);
    for number in 0..2_000 {
        one.publish(&Channel::Nodes, number.to_string()).await;
    }
    for number in 0..2_000 {
        one.expect(Channel::Nodes, number.to_string()).await;
        two.expect(Channel::Nodes, number.to_string()).await;
    }
}

/// What is text and what is not, what means something to Redis, what is long, what is nothing.
async fn payloads_arrive_as_they_are(world: World) {
    let (one, mut two) = (world.join().await, world.join().await);
    let payloads = [
        Bytes::new(),
        Bytes::from_static(b"\xff\x00\xfe"),
        Bytes::from_static(b"123456789012345678901234567890"),
        Bytes::from_static(b"QUEUED"),
        Bytes::from_static(b"OK\r\n"),
        Bytes::from_static(b"-ERR not an error"),
        Bytes::from((0..=255).collect::<Vec<u8>>()),
        Bytes::from("ü".repeat(500_000)),
        Bytes::from(vec![0x80; 1_000_000]),
    ];
    for payload in payloads {
        assert_eq!(one.publish(&Channel::Publish, payload.clone()).await, 2);
        two.expect(Channel::Publish, payload).await;
    }
}

async fn many_publishers_at_the_same_time(world: World) {
    let (one, mut two) = (world.join().await, world.join().await);
    let publish = |number: usize| {
        let bus = Arc::clone(&one.bus);
        async move {
            bus.publish(&Channel::Nodes, number.to_string().into())
                .await
                .unwrap()
        }
    };
    let receivers = futures_util::future::join_all((0..1_000).map(publish)).await;
    assert!(receivers.iter().all(|receivers| *receivers == 2));
    let mut numbers = Vec::new();
    for _ in 0..1_000 {
        let inbound = two.next().await;
        numbers.push(
            String::from_utf8(inbound.payload.to_vec())
                .unwrap()
                .parse::<usize>()
                .unwrap(),
        );
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
}

async fn neighbours_hear_nothing(world: World) {
    let (one, mut stranger) = (world.join().await, world.neighbour().join().await);
    assert_eq!(one.publish(&Channel::Nodes, "ours").await, 1);
    assert_eq!(one.publish(&Channel::Node(stranger.id.clone()), "ours").await, 0);
    stranger.publish(&Channel::Nodes, "theirs").await;
    stranger.expect(Channel::Nodes, "theirs").await;
}

async fn who_left_is_not_counted(world: World) {
    let (one, two) = (world.join().await, world.join().await);
    drop(two);
    let all_but_two = async { while one.publish(&Channel::Nodes, "hello").await != 1 {} };
    timeout(LIMIT, all_but_two)
        .await
        .expect("the other member is gone");
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn channel(name: &str) -> Channel {
    Channel::Room(room(name))
}

fn plain(name: &str, frame: &'static str) -> (Channel, Bytes) {
    (channel(name), Bytes::from_static(frame.as_bytes()))
}

impl Member {
    async fn hold(&self, name: &str) -> Interest {
        let held = timeout(LIMIT, self.bus.interests().hold(&room(name))).await;
        held.expect("granted in time").unwrap()
    }

    async fn store(&self, name: &str, frame: &'static str, id: Option<&str>) -> Receipt {
        let room = room(name);
        let stored = self.bus.store(&room, Bytes::from_static(frame.as_bytes()), id);
        timeout(LIMIT, stored).await.expect("an answer in time").unwrap()
    }

    /// The next message, which has to be this frame of this room, with this stamp in front.
    async fn expect_stored(&mut self, name: &str, frame: &'static str, stamp: u64) {
        let Inbound { channel: on, payload } = self.next().await;
        assert_eq!(on, channel(name));
        let body = StoredBody::Frame(Bytes::from_static(frame.as_bytes()));
        assert_eq!(Stored::decode(&payload).unwrap(), Some(Stored { stamp, body }));
    }
}

async fn only_who_holds_a_room_hears_of_it(world: World) {
    let (mut one, mut two, three) = (world.join().await, world.join().await, world.join().await);
    let _one = (one.hold("a").await, one.hold("b").await);
    let _two = two.hold("b").await;
    for (name, frame, receivers) in [("a", "1", 1), ("b", "2", 2), ("c", "3", 0)] {
        let (channel, frame) = plain(name, frame);
        assert_eq!(three.publish(&channel, frame).await, receivers, "{name}");
    }
    three.publish(&Channel::Nodes, "end").await;
    for (name, frame) in [("a", "1"), ("b", "2")] {
        let (channel, frame) = plain(name, frame);
        one.expect(channel, frame).await;
    }
    let (channel, frame) = plain("b", "2");
    two.expect(channel, frame).await;
    two.expect(Channel::Nodes, "end").await;
}

/// Names that mean something to Redis, to its channels, or to nobody.
async fn every_name_of_a_room_works(world: World) {
    let (mut one, two) = (world.join().await, world.join().await);
    let long = "x".repeat(256);
    for name in [
        "a b",
        "*",
        "räume:ü",
        "nodes",
        "publish",
        "$6",
        "\u{1f600}",
        "node:0123456789abcdef",
        long.as_str(),
    ] {
        let _held = one.hold(name).await;
        let receipt = two.store(name, "frame", None).await;
        assert_eq!(receipt.receivers, 1, "{name}");
        one.expect_stored(name, "frame", receipt.stamp).await;
    }
}

async fn what_is_published_once_a_room_is_held_arrives(world: World) {
    let (mut one, two) = (world.join().await, world.join().await);
    let mut held = Vec::new();
    for number in 0..300 {
        let name = format!("room:{number}");
        held.push(one.hold(&name).await);
        let receipt = two.store(&name, "now", None).await;
        one.expect_stored(&name, "now", receipt.stamp).await;
    }
}

async fn a_room_is_held_until_its_last_holder_goes(world: World) {
    let (mut one, two) = (world.join().await, world.join().await);
    let (first, second) = (one.hold("a").await, one.hold("a").await);
    drop(first);
    let receipt = two.store("a", "still", None).await;
    one.expect_stored("a", "still", receipt.stamp).await;
    drop(second);
    // After a while, in which it is not asked for again.
    let left = async { while two.store("a", "gone", None).await.receivers > 0 {} };
    timeout(LIMIT, left).await.expect("the room is left");
    let _again = one.hold("a").await;
    assert_eq!(two.store("a", "back", None).await.receivers, 1);
}

async fn stamps_rise_and_an_id_is_stored_once(world: World) {
    let (mut one, two) = (world.join().await, world.join().await);
    let _held = (one.hold("a").await, one.hold("b").await);
    let first = two.store("a", "1", Some("i")).await;
    assert!(!first.repeated);
    let again = one.store("a", "2", Some("i")).await;
    assert_eq!(
        again,
        Receipt {
            repeated: true,
            ..first
        }
    );
    let elsewhere = two.store("b", "3", Some("i")).await;
    assert!(!elsewhere.repeated && elsewhere.stamp > first.stamp);
    let mut last = elsewhere.stamp;
    one.expect_stored("a", "1", first.stamp).await;
    one.expect_stored("b", "3", elsewhere.stamp).await;
    for _ in 0..500 {
        let receipt = two.store("a", "n", None).await;
        assert!(receipt.stamp > last);
        last = receipt.stamp;
        one.expect_stored("a", "n", last).await;
    }
}

async fn the_order_of_a_room_is_that_of_its_stamps(world: World) {
    let (one, two, mut three) = (world.join().await, world.join().await, world.join().await);
    let _held = three.hold("a").await;
    let publish = |member: &Member| {
        let bus = Arc::clone(&member.bus);
        async move {
            let name = room("a");
            for _ in 0..300 {
                bus.store(&name, Bytes::from_static(b"x"), None).await.unwrap();
            }
        }
    };
    tokio::join!(publish(&one), publish(&two));
    let mut last = 0;
    for _ in 0..600 {
        let stamp = Stored::decode(&three.next().await.payload)
            .unwrap()
            .unwrap()
            .stamp;
        assert!(stamp > last, "{stamp} after {last}");
        last = stamp;
    }
}

async fn what_is_looped_back_comes_after_what_has_arrived(world: World) {
    let mut one = world.join().await;
    assert!(one.bus.loop_back(channel("a"), Bytes::from_static(b"own")));
    one.expect(channel("a"), "own").await;
}

/// Each check, on memory always and on Redis where there is one.
async fn what_is_appended_stands_in_the_order_of_the_calls(world: World) {
    let one = world.join().await;
    let append = |number: u8| {
        let fields = vec![("n", Bytes::from(number.to_string())), ("empty", Bytes::new())];
        one.bus.append("inbound", fields, 1000)
    };
    let places = futures_util::future::join_all((0..100).map(append)).await;
    let place = |place: Result<String, _>| -> (u64, u64) {
        let text = place.unwrap();
        let (time, number) = text.split_once('-').unwrap();
        (time.parse().unwrap(), number.parse().unwrap())
    };
    let places: Vec<_> = places.into_iter().map(place).collect();
    assert!(places.is_sorted_by(|before, after| before < after), "{places:?}");
}

macro_rules! contract {
    ($($check:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $check() { super::$check(super::World::memory()).await; })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                if let Some(world) = super::World::redis() {
                    super::$check(world).await;
                }
            })+
        }
    };
}

contract!(
    everybody_gets_what_is_for_all,
    everybody_gets_what_others_say_on_their_channels,
    only_one_gets_what_is_for_one,
    nobody_is_counted_where_nobody_listens,
    order_is_kept,
    payloads_arrive_as_they_are,
    many_publishers_at_the_same_time,
    neighbours_hear_nothing,
    who_left_is_not_counted,
    only_who_holds_a_room_hears_of_it,
    every_name_of_a_room_works,
    what_is_published_once_a_room_is_held_arrives,
    a_room_is_held_until_its_last_holder_goes,
    stamps_rise_and_an_id_is_stored_once,
    the_order_of_a_room_is_that_of_its_stamps,
    what_is_looped_back_comes_after_what_has_arrived,
    what_is_appended_stands_in_the_order_of_the_calls,
);
