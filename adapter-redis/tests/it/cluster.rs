//! Clusters of one to three nodes in one process, on a paused clock: everything happens at once, and time only passes
//! while somebody waits for it.

use std::sync::Arc;
use std::time::Duration;

use adapter_redis::{
    Arrival, Bus as _, BusError, BusState, Census, Channel, Frame, Gap, MemoryHub, Metrics, NodeId,
    PublishError, Published, RoomName,
};
use bytes::Bytes;
use tokio::time::Instant;

use crate::support::eventually;
use crate::support::nodes::{SOON, TestNode, all_know, cluster, envelope, event};
use crate::support::recorder::Recorded;
use crate::support::scripted::{Fate, ScriptedBus};

const ANSWER: Duration = Duration::from_secs(1);
const DEAD: Duration = Duration::from_millis(2_500);

/// As much of the answer as nodes decide.
fn answer(nodes: u64, sockets: u64, complete: bool) -> Published {
    Published {
        offset: None,
        nodes,
        sockets,
        complete,
        repeated: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_publication_reaches_all_nodes_once_and_is_counted() {
    let hub = MemoryHub::new();
    let nodes = cluster::<3>(&hub).await;
    nodes[0].sockets.put("r", 2);
    nodes[2].sockets.put("r", 3);
    let start = Instant::now();
    assert_eq!(
        nodes[0].publish(event("r", "1e400")).await,
        Ok(answer(2, 5, true))
    );
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "nobody waits for longer than the answers take"
    );
    for (node, got) in nodes.iter().zip([&["1e400"][..], &[], &["1e400"]]) {
        assert_eq!(
            node.sockets.got(),
            got,
            "who has nobody in the room does not hear of it"
        );
    }
    assert_eq!(nodes[0].published("api", "reached"), 1);
    for used in ["true", "false"] {
        let name = format!("roomcast_bus_received_total{{used={used}}}");
        assert_eq!(nodes[1].recorded.value(&name), 0);
    }
    assert_eq!(
        nodes[2].recorded.value("roomcast_bus_received_total{used=true}"),
        1
    );
    assert_eq!(
        nodes[0].recorded.value("roomcast_bus_lag_seconds"),
        0,
        "one's own frames have no lag"
    );
    assert_eq!(nodes[2].recorded.value("roomcast_bus_lag_seconds"), 1);
    assert_eq!(
        nodes[1].recorded.gauge("roomcast_bus_connected").to_bits(),
        1_f64.to_bits()
    );
}

#[tokio::test(start_paused = true)]
async fn one_node_is_a_cluster() {
    let [node] = cluster(&MemoryHub::new()).await;
    node.sockets.put("r", 1);
    assert_eq!(node.publish(event("r", "1")).await, Ok(answer(1, 1, true)));
    assert_eq!(node.cluster.nodes(), std::slice::from_ref(&node.id));
    assert_eq!(node.cluster.bus_state(), BusState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_publication_that_reaches_nobody_is_seen() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    assert_eq!(
        nodes[0].publish(event("nobody", "1")).await,
        Ok(answer(0, 0, true))
    );
    assert_eq!(nodes[0].published("api", "unreached"), 1);
    assert_eq!(nodes[0].recorded.value("roomcast_publish_unreached_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_counting_the_answer_comes_when_the_bus_has_it() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    nodes[1].sockets.put("r", 1);
    let envelope = envelope(r#"{"room":"r","event":"e","data":1,"count":false}"#);
    assert_eq!(nodes[0].publish(envelope).await, Ok(answer(1, 0, true)));
    assert_eq!(nodes[0].published("api", "uncounted"), 1);
    assert_eq!(nodes[0].recorded.value("roomcast_publish_unreached_total"), 0);
    eventually("it arrives", SOON, || nodes[1].sockets.got() == ["1"]).await;
}

#[tokio::test(start_paused = true)]
async fn order_of_a_publisher_is_kept_on_every_node() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 1));
    let numbers: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    for number in &numbers {
        nodes[0].publish(event("r", number)).await.unwrap();
    }
    assert!(nodes.iter().all(|node| node.sockets.got() == numbers));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_waited_for_and_missed() {
    let mut nodes = cluster::<3>(&MemoryHub::new()).await;
    nodes[1].sockets.put("r", 1);
    nodes[2].sockets.put("r", 1);
    nodes[2].sockets.put("nobody", 0);
    nodes[2].freeze();
    let start = Instant::now();
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(1, 1, false)));
    assert_eq!(start.elapsed(), ANSWER);
    assert_eq!(
        nodes[0].publish(event("nobody", "1")).await,
        Ok(answer(0, 0, false))
    );
    assert_eq!(
        nodes[0].published("api", "uncounted"),
        1,
        "nobody is known to be reached, and not everybody answered"
    );
    assert_eq!(nodes[0].recorded.value("roomcast_publish_unreached_total"), 0);

    let start = Instant::now();
    assert_eq!(
        nodes[0].publish(event("other", "1")).await,
        Ok(answer(0, 0, true))
    );
    assert_eq!(start.elapsed(), Duration::ZERO, "it has nothing to do with that");

    // Now the process ends, and its connection with it.
    nodes[2].kill();
    let start = Instant::now();
    eventually("its connection is gone", SOON, || nodes[2].has_ended()).await;
    assert_eq!(nodes[0].publish(event("r", "2")).await, Ok(answer(1, 1, true)));
    assert!(start.elapsed() < SOON);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_meanwhile_ends_the_wait() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    nodes[1].sockets.put("r", 1);
    nodes[1].freeze();
    tokio::time::advance(DEAD - Duration::from_millis(600)).await;
    let start = Instant::now();
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(0, 0, false)));
    assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_who_said_goodbye() {
    let mut nodes = cluster::<3>(&MemoryHub::new()).await;
    nodes[2].cluster.leave().await;
    eventually("the others know", SOON, || nodes[0].knows(2) && nodes[1].knows(2)).await;
    nodes[2].kill();
    let start = Instant::now();
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(0, 0, true)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    tokio::time::sleep(DEAD * 2).await;
    assert!(nodes[0].knows(2), "a node that left stays away");
}

#[tokio::test(start_paused = true)]
async fn who_left_still_delivers_and_announces_itself_no_more() {
    let nodes = cluster::<2>(&MemoryHub::new()).await;
    nodes[1].sockets.put("r", 1);
    nodes[1].cluster.leave().await;
    tokio::time::sleep(DEAD * 2).await;
    assert!(nodes[0].knows(1));
    nodes[0].publish(event("r", "1")).await.unwrap();
    eventually("it arrives", SOON, || nodes[1].sockets.got() == ["1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_serves_its_own() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    for node in &nodes {
        node.sockets.put("r", 1);
    }
    hub.partition(&nodes[0].id);
    assert_eq!(nodes[0].cluster.bus_state(), BusState::Reconnecting);
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(1, 1, false)));
    assert_eq!(nodes[0].published("api", "local"), 1);
    assert_eq!(nodes[0].sockets.got(), ["1"]);
    assert!(nodes[1].sockets.got().is_empty());
    let census = nodes[0].cluster.census().await;
    assert!(!census.complete);
    eventually("the gauge is down", SOON, || {
        nodes[0].recorded.value("roomcast_bus_connected") == 0
    })
    .await;

    // Both forget each other, and one heartbeat after the cut is healed is enough to know each other again.
    tokio::time::sleep(DEAD * 2).await;
    assert!(nodes.iter().all(|node| node.knows(1)));
    hub.heal(&nodes[0].id);
    all_know(&nodes, 2).await;
    assert_eq!(nodes[0].publish(event("r", "2")).await, Ok(answer(2, 2, true)));
    assert_eq!(
        nodes[1].sockets.got(),
        ["2"],
        "what was published meanwhile is lost, and nothing comes twice"
    );
    assert_eq!(nodes[0].sockets.got(), ["1", "2"]);
}

/// The others have not noticed: without asking, the node would know nobody until their next heartbeats.
#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_asks_who_is_there() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    hub.partition(&nodes[0].id);
    tokio::time::sleep(DEAD + Duration::from_millis(300)).await;
    assert!(nodes[0].knows(1));
    // The other one hears of it just before it would have forgotten it.
    let alive = Frame::Heartbeat {
        hello: false,
        about: None,
    }
    .encode(&nodes[0].id);
    hub.inject(&Channel::Node(nodes[1].id.clone()), alive);
    eventually("the other one knows it", SOON, || nodes[1].knows(2)).await;
    hub.heal(&nodes[0].id);
    eventually("it knows the other one", SOON, || nodes[0].knows(2)).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_an_error_and_nothing_is_delivered_twice() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 0));
    hub.time_out_next(1);
    assert_eq!(
        nodes[0].publish(event("r", "1")).await,
        Err(PublishError::Timeout)
    );
    assert_eq!(nodes[0].published("api", "timeout"), 1);
    eventually("it was published after all", SOON, || {
        nodes[1].sockets.got() == ["1"]
    })
    .await;
    assert_eq!(nodes[0].sockets.got(), ["1"], "once, by the bus");
}

#[tokio::test(start_paused = true)]
async fn a_lost_message_makes_the_answer_incomplete() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 0));
    hub.drop_next(1);
    let start = Instant::now();
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(0, 0, false)));
    assert_eq!(start.elapsed(), ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_answer_is_counted_once() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    for node in &nodes {
        node.sockets.put("r", 1);
    }
    hub.duplicate_next(2);
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(2, 2, true)));
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_too_late_are_counted_as_dropped() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 0));
    hub.delay(Duration::from_millis(600));
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(0, 0, false)));
    eventually("the answer arrives", ANSWER, || {
        nodes[0].dropped("answer_late") == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_bus_is_waited_for() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes[1].sockets.put("r", 1);
    hub.delay(Duration::from_millis(400));
    let start = Instant::now();
    assert_eq!(nodes[0].publish(event("r", "1")).await, Ok(answer(1, 1, true)));
    assert_eq!(start.elapsed(), Duration::from_millis(800), "there and back");
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_leaves_no_question_behind() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes.iter().for_each(|node| node.sockets.put("r", 0));
    hub.delay(Duration::from_millis(100));
    let publish = nodes[0].publish(event("r", "1"));
    assert!(
        tokio::time::timeout(Duration::from_millis(150), publish)
            .await
            .is_err()
    );
    eventually("both answers are late", ANSWER, || {
        nodes[0].dropped("answer_late") >= 1
    })
    .await;
    assert_eq!(nodes[1].sockets.got(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn envelopes_of_backends_are_applied_by_every_node() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes[0].sockets.put("r", 1);
    let json = Bytes::from_static(br#"{"room":"r","event":"e","data":{"n": 1.0},"id":"i","retain":true}"#);
    assert_eq!(hub.inject(&Channel::Publish, json), 2);
    eventually("both have it", SOON, || {
        nodes.iter().all(|node| node.sockets.got() == [r#"{"n": 1.0}"#])
    })
    .await;
    assert_eq!(nodes[0].published("channel", "reached"), 1);
    assert_eq!(nodes[1].published("channel", "uncounted"), 1);
    assert_eq!(nodes[0].recorded.value("roomcast_publish_unreached_total"), 0);
    assert_eq!(
        nodes[1].recorded.value("roomcast_bus_received_total{used=false}"),
        1
    );
    assert_eq!(nodes[0].dropped("channel_option_ignored"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_counted_by_reason_and_hurts_nobody() {
    let hub = MemoryHub::new();
    let [node] = cluster(&hub).await;
    for json in [
        "{",
        r#"{"event":"e"}"#,
        &format!(r#"{{"room":"r","event":"e","data":"{}"}}"#, "x".repeat(10_000)),
    ] {
        hub.inject(&Channel::Publish, Bytes::from(json.to_owned()));
    }
    let mut other_version = Frame::Goodbye.encode(&NodeId::random()).to_vec();
    other_version[0] = 9;
    let mut other_kind = Frame::Goodbye.encode(&NodeId::random()).to_vec();
    other_kind[1] = 99;
    for frame in [other_version, other_kind, b"".to_vec(), vec![1, 1]] {
        hub.inject(&Channel::Nodes, frame.into());
    }
    node.sockets.put("r", 1);
    assert_eq!(node.publish(event("r", "1")).await, Ok(answer(1, 1, true)));
    assert_eq!(node.published("channel", "invalid"), 3);
    assert_eq!(node.dropped("envelope_invalid"), 3);
    for reason in ["not_json", "no_room", "too_large"] {
        let name = format!("roomcast_publish_invalid_total{{source=channel,reason={reason}}}");
        assert_eq!(node.recorded.value(&name), 1, "{reason}");
    }
    assert_eq!(
        (
            node.dropped("frame_version"),
            node.dropped("frame_kind"),
            node.dropped("frame_malformed")
        ),
        (1, 1, 2)
    );
    assert_eq!(node.sockets.got(), ["1"]);
}

/// What came from the bus never goes there again, or N nodes would publish everything N times.
#[tokio::test(start_paused = true)]
async fn nothing_is_published_again() {
    let hub = MemoryHub::new();
    let nodes = cluster::<3>(&hub).await;
    let (listener, mut heard) = hub.join(&NodeId::random());
    let _interest = listener.interests().hold(&RoomName::new("r").unwrap()).await;
    hub.inject(
        &Channel::Publish,
        Bytes::from_static(br#"{"room":"r","event":"e"}"#),
    );
    nodes[0].publish(event("r", "1")).await.unwrap();
    tokio::time::sleep(SOON).await;
    let mut publications = 0;
    while let Some(arrival) = heard.try_recv() {
        let Arrival::Message(inbound) = arrival else {
            panic!("a gap");
        };
        let heartbeat = inbound.channel == Channel::Nodes && inbound.payload[1] == 2;
        publications += usize::from(!heartbeat);
    }
    assert_eq!(publications, 2, "the envelope and the frame, each once");
}

#[tokio::test(start_paused = true)]
async fn a_census_counts_everybody_once() {
    let mut nodes = cluster::<3>(&MemoryHub::new()).await;
    for (node, users) in nodes.iter().zip([&["ann", "bob"][..], &["bob", "bob"], &["cid"]]) {
        users.iter().for_each(|user| node.sockets.connect(user));
        node.sockets.put("system", 1);
        node.sockets.put(&format!("only:{}", node.id), 1);
    }
    let census = nodes[0].cluster.census().await;
    assert_eq!((census.connected, census.users, census.rooms), (5, 3, 4));
    assert!(census.complete && census.missing.is_empty());

    nodes[2].kill();
    let start = Instant::now();
    let census = nodes[0].cluster.census().await;
    assert_eq!((census.connected, census.users, census.rooms), (4, 2, 3));
    assert_eq!(
        (census.complete, census.missing),
        (false, vec![nodes[2].id.clone()])
    );
    assert_eq!(start.elapsed(), ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_census_without_a_bus_is_the_nodes_own() {
    let hub = MemoryHub::new();
    let nodes = cluster::<2>(&hub).await;
    nodes[0].sockets.connect("ann");
    hub.partition(&nodes[0].id);
    let census = nodes[0].cluster.census().await;
    assert_eq!((census.connected, census.users, census.complete), (1, 1, false));
    assert_eq!(census.missing, [nodes[1].id.clone()]);
    assert_eq!(Census::hash("ann"), Census::of(1, ["ann"], []).users[0]);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_cluster_knows_itself_in_one_round_trip() {
    let hub = MemoryHub::new();
    let start = Instant::now();
    let nodes = cluster::<3>(&hub).await;
    assert!(start.elapsed() < SOON);
    let late = TestNode::start(&hub);
    eventually("the late one knows all and all know it", SOON, || {
        late.knows(4) && nodes.iter().all(|node| node.knows(4))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let recorded = Recorded::default();
    let hub = MemoryHub::with(4, recorded.metrics());
    let (_bus, mut inbound) = hub.join(&NodeId::random());
    for number in 0..10_u8 {
        assert_eq!(
            hub.inject(&Channel::Publish, Bytes::from(vec![number])),
            1,
            "it listens, if slowly"
        );
    }
    assert_eq!(recorded.value("roomcast_dropped_total{reason=bus_queue_full}"), 6);
    for number in 0..4 {
        let Some(Arrival::Message(inbound)) = inbound.recv().await else {
            panic!("a gap");
        };
        assert_eq!(inbound.payload, [number].as_slice());
    }
    assert_eq!(
        inbound.recv().await,
        Some(Arrival::Gap(Gap::All)),
        "and it is said"
    );
    assert!(inbound.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_counted_once_and_forgotten() {
    let recorded = Recorded::default();
    let hub = MemoryHub::with(4, recorded.metrics());
    let (_bus, inbound) = hub.join(&NodeId::random());
    drop(inbound);
    assert_eq!(hub.inject(&Channel::Publish, Bytes::new()), 0);
    assert_eq!(hub.inject(&Channel::Publish, Bytes::new()), 0);
    assert_eq!(
        recorded.value("roomcast_dropped_total{reason=bus_queue_closed}"),
        1
    );
}

/// A flood must not make a node look dead.
#[tokio::test(start_paused = true)]
async fn heartbeats_go_out_under_a_flood() {
    let hub = MemoryHub::with(100_000, Metrics::noop());
    let nodes = cluster::<2>(&hub).await;
    let json = Bytes::from_static(br#"{"room":"r","event":"e"}"#);
    for _ in 0..50 {
        for _ in 0..500 {
            hub.inject(&Channel::Publish, json.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(nodes.iter().all(|node| node.knows(2)));
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_with_its_queue() {
    let hub = MemoryHub::new();
    let id = NodeId::random();
    let (bus, inbound) = hub.join(&id);
    let mut node = TestNode::on(id.clone(), Arc::new(bus), inbound, Recorded::default());
    // The same id joins again: the first member has nothing to receive from any more.
    let _again = hub.join(&id);
    eventually("it ended", SOON, || node.has_ended()).await;
}

/// One node on a bus that does what the test wants.
async fn scripted() -> (MemoryHub, Arc<ScriptedBus>, TestNode) {
    let (hub, id) = (MemoryHub::with(100_000, Metrics::noop()), NodeId::random());
    let (bus, inbound) = hub.join(&id);
    let bus = Arc::new(ScriptedBus::new(bus));
    let node = TestNode::on(id, Arc::clone(&bus) as _, inbound, Recorded::default());
    eventually("it runs", SOON, || {
        node.recorded.gauge("roomcast_bus_connected") > 0.5
    })
    .await;
    (hub, bus, node)
}

/// The questions of another node, which this one has to answer.
fn ask(hub: &MemoryHub, questions: u64) {
    let stranger = NodeId::random();
    for request in 0..questions {
        hub.inject(
            &Channel::Nodes,
            Frame::CensusQuestion { request }.encode(&stranger),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_refuses_is_refused() {
    let (_hub, bus, node) = scripted().await;
    bus.for_all(Fate::Answered(BusError::Refused("NOPERM".to_owned())));
    assert_eq!(
        node.publish(event("r", "1")).await,
        Err(PublishError::Refused("NOPERM".to_owned()))
    );
    assert_eq!(node.published("api", "refused"), 1);
    assert!(node.sockets.got().is_empty());
}

#[tokio::test(start_paused = true)]
async fn answers_that_the_bus_does_not_take_are_counted() {
    let (hub, bus, node) = scripted().await;
    bus.for_one(Fate::Answered(BusError::Timeout));
    ask(&hub, 3);
    eventually("they are counted", SOON, || node.dropped("answer_unsent") == 3).await;
}

/// A bus that answers nobody must not stop what arrives from being applied.
#[tokio::test(start_paused = true)]
async fn answers_do_not_pile_up_and_hold_up_nothing() {
    let (hub, bus, node) = scripted().await;
    bus.for_one(Fate::NeverAnswered);
    ask(&hub, 10_000);
    hub.inject(
        &Channel::Publish,
        Bytes::from_static(br#"{"room":"r","event":"e","data":1}"#),
    );
    eventually("the envelope is applied", SOON, || node.sockets.got() == ["1"]).await;
    let dropped = node.dropped("answer_queue_full");
    assert!(
        (10_000 - 4_096 - 64..=10_000 - 4_096).contains(&dropped),
        "{dropped}"
    );
}
