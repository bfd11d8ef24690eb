//! Which nodes hear of which rooms, on a paused clock.

use std::time::Duration;

use adapter_redis::{Channel, Entering, Gap, MemoryHub, PublishError, Refused, RoomName};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::eventually;
use crate::support::nodes::{SOON, all_know, cluster, envelope, event};

const ANSWER: Duration = Duration::from_secs(1);

fn received(node: &crate::support::nodes::TestNode, used: bool) -> u64 {
    node.recorded
        .value(&format!("roomcast_bus_received_total{{used={used}}}"))
}

#[tokio::test(start_paused = true)]
async fn only_nodes_with_members_hear_of_a_room() {
    let nodes = cluster::<3>(&MemoryHub::new()).await;
    for (number, node) in nodes.iter().enumerate() {
        node.sockets.put(&format!("own:{number}"), 1);
        node.sockets.put("system", 1);
    }
    for number in 0..3 {
        nodes[0]
            .publish(event(&format!("own:{number}"), "1"))
            .await
            .unwrap();
    }
    nodes[1].publish(event("system", "2")).await.unwrap();
    for node in &nodes {
        assert_eq!(node.sockets.got(), ["1", "2"]);
        assert_eq!((received(node, true), received(node, false)), (2, 0));
    }
}

/// What makes "connected implies reached" true: whoever waits for the bus is not told before.
#[tokio::test(start_paused = true)]
async fn a_join_waits_for_the_bus_and_nothing_published_afterwards_is_missed() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    hub.hold_confirmations(&nodes[1].id);
    let interests = nodes[1].cluster.interests().clone();
    let room = RoomName::new("r").unwrap();
    let Entering::Later(joining) = interests.enter(&room) else {
        panic!("granted before the bus was asked");
    };
    let also = interests.enter(&room);
    assert!(
        matches!(also, Entering::Later(_)),
        "the second waits like the first"
    );
    assert_eq!(nodes[0].publish(event("r", "0")).await.unwrap().nodes, 0);
    hub.confirm(&nodes[1].id);
    let _interest = joining.wait().await.unwrap();
    nodes[1].sockets.put("r", 1);
    assert_eq!(nodes[0].publish(event("r", "1")).await.unwrap().sockets, 1);
    assert_eq!(nodes[1].sockets.got(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_the_bus_refuses_is_not_entered_and_may_be_tried_again() {
    let hub = MemoryHub::new();
    let [node] = cluster(&hub).await;
    hub.hold_confirmations(&node.id);
    let interests = node.cluster.interests();
    let room = RoomName::new("r").unwrap();
    let (first, second) = (interests.hold(&room), interests.hold(&room));
    let refuse = async {
        eventually("both wait", SOON, || interests.len() == 1).await;
        hub.refuse(&node.id);
    };
    let (first, second, ()) = tokio::join!(first, second, refuse);
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (Refused, Refused));
    let again = interests.hold(&room);
    let confirm = async {
        tokio::task::yield_now().await;
        hub.confirm(&node.id);
    };
    let (again, ()) = tokio::join!(again, confirm);
    assert!(again.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_bus_that_is_away_and_a_gap_says_what_may_be_missing() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 1));
    hub.hold_confirmations(&nodes[1].id);
    let interests = nodes[1].cluster.interests().clone();
    let room = RoomName::new("late").unwrap();
    let (entered, ()) = tokio::join!(interests.hold(&room), async { hub.partition(&nodes[1].id) });
    entered.expect("let in without the bus");
    nodes[1].sockets.put("offline", 1);
    nodes[0].publish(event("r", "0")).await.unwrap();
    assert!(nodes[1].sockets.gaps().is_empty());
    hub.heal(&nodes[1].id);
    all_know(&nodes, 2).await;
    eventually("the gap is said", SOON, || nodes[1].sockets.gaps() == [Gap::All]).await;
    nodes[0].publish(event("r", "1")).await.unwrap();
    nodes[0].publish(event("offline", "2")).await.unwrap();
    assert_eq!(
        nodes[1].sockets.got(),
        ["1", "2"],
        "it hears of what it joined meanwhile"
    );
}

/// What comes from the bus before the link fails comes before what is delivered without it.
#[tokio::test(start_paused = true)]
async fn local_delivery_keeps_its_place_behind_what_the_bus_brought() {
    let hub = MemoryHub::new();
    let [node] = cluster(&hub).await;
    node.sockets.put("r", 1);
    // Both are in the queue before the node reads any of it.
    hub.inject(
        &Channel::Publish,
        Bytes::from_static(br#"{"room":"r","event":"e","data":1}"#),
    );
    hub.partition(&node.id);
    assert_eq!(node.publish(event("r", "2")).await.unwrap().sockets, 1);
    assert_eq!(node.sockets.got(), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_socket_in_two_of_the_rooms_gets_an_event_once_and_all_nodes_are_counted() {
    let nodes = cluster::<3>(&MemoryHub::new()).await;
    // The fake counts a socket for each of its rooms; real ones are counted once. What matters is: one delivery.
    nodes[0].sockets.put("a", 1);
    nodes[1].sockets.put("a", 1);
    nodes[1].sockets.put("b", 1);
    nodes[2].sockets.put("b", 1);
    let both = || envelope(r#"{"rooms":["a","b"],"event":"e","data":1}"#);
    let start = Instant::now();
    let published = nodes[0].publish(both()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "every frame was answered");
    assert_eq!(
        (published.nodes, published.sockets, published.complete),
        (3, 4, true)
    );
    for node in &nodes {
        assert_eq!(node.sockets.got(), ["1"]);
    }
    nodes[2].publish(both()).await.unwrap();
    assert!(
        nodes.iter().all(|node| node.sockets.got().len() == 2),
        "another event is another"
    );
}

#[tokio::test(start_paused = true)]
async fn an_id_is_published_once_and_a_repetition_gets_the_same_answer() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    nodes[1].sockets.put("a", 1);
    let event = |room: &str, id: &str| {
        envelope(&format!(
            r#"{{"room":"{room}","event":"e","data":1,"id":"{id}"}}"#
        ))
    };
    let first = nodes[0].cluster.publish(event("a", "i")).await.unwrap();
    let again = nodes[1].cluster.publish(event("a", "i")).await.unwrap();
    assert!(first.offset.is_some() && !first.repeated);
    assert_eq!(
        (again.offset, again.nodes, again.repeated),
        (first.offset.clone(), 1, true)
    );
    assert!(!again.complete, "nobody was asked");
    assert_eq!(nodes[1].published("api", "repeated"), 1);
    let other_room = nodes[0].cluster.publish(event("b", "i")).await.unwrap();
    let other_id = nodes[0].cluster.publish(event("a", "j")).await.unwrap();
    assert!(!other_room.repeated && !other_id.repeated);
    assert!(first.offset < other_room.offset && other_room.offset < other_id.offset);
    assert_eq!(nodes[1].sockets.got().len(), 2);
}

/// After an unknown outcome the same id finds out, and completes what was done in part.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_cleared_up_by_its_id() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| {
        node.sockets.put("a", 1);
        node.sockets.put("b", 1);
    });
    let both = || envelope(r#"{"rooms":["a","b"],"event":"e","data":1,"id":"i"}"#);
    hub.time_out_next(1);
    assert_eq!(nodes[0].publish(both()).await, Err(PublishError::Timeout));
    let again = nodes[0].cluster.publish(both()).await.unwrap();
    assert!(again.repeated);
    tokio::time::sleep(SOON).await;
    assert!(nodes.iter().all(|node| node.sockets.got() == ["1"]), "once");
}

#[tokio::test(start_paused = true)]
async fn an_id_may_be_used_again_after_ten_minutes() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    nodes[1].sockets.put("a", 1);
    nodes[1].sockets.put("b", 1);
    for (n, room) in [r#""room":"a""#, r#""rooms":["a","b"]"#].into_iter().enumerate() {
        for again in 0..2 {
            let json = format!(r#"{{{room},"event":"e","data":{},"id":"x{n}"}}"#, 2 * n + again);
            assert!(
                nodes[0].publish(envelope(&json)).await.unwrap().sockets > 0,
                "{json}"
            );
            assert!(
                nodes[0].publish(envelope(&json)).await.unwrap().repeated,
                "{json}"
            );
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
    }
    assert_eq!(nodes[1].sockets.got(), ["0", "1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_volatile_reaches_the_own_sockets_first_and_is_counted_all_the_same() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 1));
    let volatile = || envelope(r#"{"room":"r","event":"e","data":1,"volatile":true}"#);
    hub.delay(Duration::from_millis(300));
    let (published, ()) = tokio::join!(nodes[0].publish(volatile()), async {
        eventually("the own socket has it", SOON, || nodes[0].sockets.got() == ["1"]).await;
        assert!(nodes[1].sockets.got().is_empty());
    });
    let published = published.unwrap();
    assert_eq!(
        (published.nodes, published.sockets, published.complete),
        (2, 2, true)
    );
    assert!(
        nodes.iter().all(|node| node.sockets.got() == ["1"]),
        "and none has it twice"
    );
    hub.delay(Duration::ZERO);

    hub.partition(&nodes[0].id);
    assert_eq!(nodes[0].publish(volatile()).await.unwrap().sockets, 1);
    assert_eq!(nodes[0].sockets.got(), ["1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_told_in_which_rooms() {
    let hub = MemoryHub::with(4, adapter_redis::Metrics::noop());
    let nodes = cluster::<2>(&hub).await;
    nodes[0].sockets.put("a", 1);
    nodes[1].freeze();
    nodes[1].sockets.put("a", 1);
    nodes[1].sockets.put("b", 1);
    let quiet = |room: &str, number: u32| {
        envelope(&format!(
            r#"{{"room":"{room}","event":"e","data":{number},"count":false}}"#
        ))
    };
    for number in 0..4 {
        nodes[0].publish(quiet("a", number)).await.unwrap();
    }
    nodes[0].publish(quiet("b", 4)).await.unwrap();
    nodes[1].thaw();
    eventually("the gap is said", SOON, || !nodes[1].sockets.gaps().is_empty()).await;
    assert_eq!(
        nodes[1].sockets.gaps(),
        [Gap::Rooms(vec![RoomName::new("b").unwrap()])]
    );
    assert_eq!(nodes[1].sockets.got(), ["0", "1", "2", "3"]);
    nodes[0].publish(quiet("b", 5)).await.unwrap();
    eventually("it goes on", SOON, || {
        nodes[1].sockets.got().last().unwrap() == "5"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_are_collected_from_all_nodes() {
    let hub = MemoryHub::new();
    let nodes = cluster::<3>(&hub).await;
    nodes[0].sockets.put("r", 1);
    nodes[1].sockets.put("r", 2);
    let start = Instant::now();
    let got = nodes[2]
        .cluster
        .request(event("r", "1"), Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(got.acks, [r#"["ok"]"#; 3]);
    assert_eq!((got.missing, got.complete), (0, true));
    assert_eq!(
        start.elapsed(),
        Duration::from_millis(100),
        "as long as the sockets take"
    );

    let got = nodes[0]
        .cluster
        .request(event("r", "2"), Duration::from_millis(50))
        .await
        .unwrap();
    assert_eq!((got.acks.len(), got.missing, got.complete), (0, 3, true));

    nodes[1].freeze();
    let start = Instant::now();
    let got = nodes[0]
        .cluster
        .request(event("r", "3"), Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!((got.acks.len(), got.missing, got.complete), (1, 0, false));
    assert!(
        start.elapsed() < ANSWER * 4,
        "a dead node ends the wait: {:?}",
        start.elapsed()
    );

    hub.partition(&nodes[0].id);
    let got = nodes[0]
        .cluster
        .request(event("r", "4"), Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(
        (got.acks.len(), got.complete),
        (1, false),
        "its own, and that is said"
    );
}
