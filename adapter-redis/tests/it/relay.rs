//! Events of clients for other clients, on a paused clock: here at once, elsewhere as soon as can be, and what they
//! begin ends once on every node, whatever happens to the one that began it.

use std::time::Duration;

use adapter_redis::{
    Args, Arrival, Channel, Ending, EventName, Frame, Inbound, MemoryHub, Message, NodeId, Phase, Relay,
    Relayed, RoomName,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::eventually;
use crate::support::nodes::{SOON, TestNode, all_know, cluster};

mod redis;

const DEAD: Duration = Duration::from_millis(2_500);
/// When it is looked who is dead.
const LOOK: Duration = Duration::from_millis(250);
const GRACE: Duration = Duration::from_secs(1);
/// How long something lasts that ends by itself.
const AFTER: Duration = Duration::from_secs(5);
/// How long an end is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
const KEY: u64 = 7;
const STOP: &str = "stop";

fn args(text: &str) -> Args {
    Args::from_texts([&*format!("{text:?}")]).unwrap()
}

fn relay_to(rooms: &[&str], text: &str) -> Relay {
    Relay {
        rooms: rooms.iter().map(|room| RoomName::new(room).unwrap()).collect(),
        except: vec!["0123456789abcdefghij".to_owned()],
        namespace: "/".to_owned(),
        event: EventName::new("typing").unwrap(),
        args: args(text),
    }
}

fn relay(text: &str) -> Relay {
    relay_to(&["r"], text)
}

fn begins(after: Option<Duration>) -> Phase {
    Phase::Begins(Box::new(Ending {
        key: KEY,
        after,
        args: args(STOP),
    }))
}

const ENDS: Phase = Phase::Ends { key: KEY };

impl TestNode {
    fn relay(&self, text: &str, phase: Phase) -> Relayed {
        self.cluster.relay(relay(text), phase)
    }

    /// Everything that was delivered, in order.
    fn has(&self, texts: &[&str]) -> bool {
        let wanted: Vec<_> = texts.iter().map(|text| format!("{text:?}")).collect();
        self.sockets.got() == wanted
    }
}

/// So many nodes that know each other, each with a socket in the room.
async fn rooms<const N: usize>(hub: &MemoryHub) -> [TestNode; N] {
    let nodes = cluster(hub).await;
    for node in &nodes {
        node.sockets.put("r", 1);
    }
    nodes
}

async fn all_have(nodes: &[TestNode], texts: &[&str]) {
    eventually("all have it", SOON, || nodes.iter().all(|node| node.has(texts))).await;
}

/// Nothing is kept of what is over.
async fn nothing_is_left(nodes: &[TestNode]) {
    sleep(REMEMBERED).await;
    for node in nodes {
        assert_eq!(node.cluster.begun_relays(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_here_at_once_and_elsewhere_once() {
    let hub = MemoryHub::new();
    let nodes = rooms::<3>(&hub).await;
    let nobody = TestNode::start(&hub);
    all_know(&nodes, 4).await;
    let relayed = nodes[0].relay("on", Phase::Once);
    assert_eq!((relayed.sockets, relayed.queued), (1, true));
    assert!(nodes[0].has(&["on"]), "before anybody is asked");
    assert!(nodes[1].has(&[]));
    all_have(&nodes, &["on"]).await;
    sleep(AFTER).await;
    all_have(&nodes, &["on"]).await;
    assert!(nobody.has(&[]));
    for node in &nodes {
        let publication = &node.sockets.delivered()[0];
        assert_eq!(publication.except, ["0123456789abcdefghij"], "but not to these");
        assert_eq!((publication.event.as_str(), publication.stamp), ("typing", None));
    }
    assert_eq!(nodes[0].published("relay", "reached"), 1);
    assert_eq!(nodes[1].published("relay", "reached"), 0);
    assert_eq!(
        nodes[1].recorded.value("roomcast_bus_received_total{used=true}"),
        1
    );
    assert_eq!(nobody.relay("on", Phase::Once).sockets, 0);
    assert_eq!(nobody.published("relay", "uncounted"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_socket_in_several_of_the_rooms_gets_it_once() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[1].sockets.put("s", 0);
    let phase = begins(Some(AFTER));
    nodes[0].cluster.relay(relay_to(&["r", "s"], "on"), phase);
    all_have(&nodes, &["on"]).await;
    sleep(AFTER).await;
    all_have(&nodes, &["on", STOP]).await;
    nothing_is_left(&nodes).await;
    all_have(&nodes, &["on", STOP]).await;
}

#[tokio::test(start_paused = true)]
async fn relays_of_a_node_arrive_in_the_order_of_the_calls() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    let numbers: Vec<_> = (0..2_000).map(|number| number.to_string()).collect();
    for number in &numbers {
        nodes[0].relay(number, Phase::Once);
    }
    let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
    all_have(&nodes, &numbers).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_ends_ends_by_itself_once_on_every_node() {
    let hub = MemoryHub::new();
    let nodes = rooms::<3>(&hub).await;
    nodes[0].relay("on", begins(Some(AFTER)));
    sleep(AFTER - Duration::from_millis(1)).await;
    all_have(&nodes, &["on"]).await;
    let ended = Instant::now();
    eventually("it ends", SOON, || nodes[0].has(&["on", STOP])).await;
    all_have(&nodes, &["on", STOP]).await;
    assert!(ended.elapsed() < SOON);
    let publication = &nodes[1].sockets.delivered()[1];
    assert_eq!(publication.except, ["0123456789abcdefghij"]);
    assert_eq!(publication.rooms, [RoomName::new("r").unwrap()]);
    nothing_is_left(&nodes).await;
    all_have(&nodes, &["on", STOP]).await;
    assert_eq!(nodes[0].published("relay", "reached"), 2);
}

#[tokio::test(start_paused = true)]
async fn it_can_be_prolonged_and_made_lasting() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    for _ in 0..3 {
        nodes[0].relay("on", begins(Some(AFTER)));
        sleep(AFTER - LOOK).await;
    }
    all_have(&nodes, &["on", "on", "on"]).await;
    sleep(LOOK).await;
    all_have(&nodes, &["on", "on", "on", STOP]).await;

    nodes[0].relay("on", begins(Some(AFTER)));
    nodes[0].relay("for ever", begins(None));
    sleep(AFTER * 10).await;
    all_have(&nodes, &["on", "on", "on", STOP, "on", "for ever"]).await;
    nodes[0].relay("off", ENDS);
    all_have(&nodes, &["on", "on", "on", STOP, "on", "for ever", "off"]).await;
    nothing_is_left(&nodes).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_ended_does_not_end_again() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[0].relay("on", begins(Some(AFTER)));
    nodes[0].relay("off", ENDS);
    all_have(&nodes, &["on", "off"]).await;
    assert!(nodes.iter().all(|node| node.cluster.begun_relays() == (0, 0)));
    sleep(AFTER + GRACE + SOON).await;
    all_have(&nodes, &["on", "off"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_beginning_is_delivered() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[0].relay("off", ENDS);
    nodes[1].relay("off", ENDS);
    all_have(&nodes, &["off", "off"]).await;
}

/// Keys are the node's own: another one may use the same.
#[tokio::test(start_paused = true)]
async fn nodes_do_not_end_what_others_began() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[0].relay("on", begins(Some(AFTER)));
    nodes[1].relay("off", ENDS);
    sleep(AFTER).await;
    eventually("all have it", SOON, || {
        nodes
            .iter()
            .all(|node| node.sockets.got().last().unwrap() == "\"stop\"")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_node_began_ends_when_it_is_declared_dead() {
    for after in [None, Some(Duration::from_secs(60))] {
        let mut nodes = rooms::<3>(&MemoryHub::new()).await;
        nodes[0].relay("on", begins(after));
        all_have(&nodes, &["on"]).await;
        nodes[0].kill();
        let killed = Instant::now();
        eventually("it ends", DEAD + LOOK + SOON, || {
            nodes[1..].iter().all(|node| node.has(&["on", STOP]))
        })
        .await;
        assert!(killed.elapsed() > DEAD / 2, "{:?}", killed.elapsed());
        sleep(Duration::from_secs(62)).await;
        assert!(nodes[1..].iter().all(|node| node.has(&["on", STOP])));
        nothing_is_left(&nodes[1..]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_ends_before_its_killed_node_is_missed_ends_in_time() {
    let mut nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[0].relay("on", begins(Some(Duration::from_millis(500))));
    all_have(&nodes, &["on"]).await;
    nodes[0].kill();
    sleep(Duration::from_millis(1_500)).await;
    all_have(&nodes[1..], &["on", STOP]).await;
    assert!(nodes[1].knows(2), "it is not missed yet");
    nothing_is_left(&nodes[1..]).await;
    all_have(&nodes[1..], &["on", STOP]).await;
}

/// A stopping node says goodbye first, and closes its clients' connections then.
#[tokio::test(start_paused = true)]
async fn what_a_node_began_that_says_goodbye_ends_at_once_and_once() {
    let nodes = rooms::<3>(&MemoryHub::new()).await;
    nodes[0].relay("on", begins(None));
    all_have(&nodes, &["on"]).await;
    nodes[0].cluster.leave().await;
    all_have(&nodes[1..], &["on", STOP]).await;
    assert!(nodes[0].has(&["on"]), "it serves its own still");
    nodes[0].relay("off", ENDS);
    sleep(SOON).await;
    assert!(nodes[0].has(&["on", "off"]));
    all_have(&nodes[1..], &["on", STOP]).await;

    // Nobody will declare it dead: what it begins now ends by itself all the same.
    nodes[0].relay("on", begins(None));
    sleep(DEAD - LOOK).await;
    all_have(&nodes[1..], &["on", STOP, "on"]).await;
    sleep(LOOK * 3).await;
    all_have(&nodes[1..], &["on", STOP, "on", STOP]).await;
    nothing_is_left(&nodes[1..]).await;
    all_have(&nodes[1..], &["on", STOP, "on", STOP]).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_link_only_its_own_sockets_are_reached() {
    let hub = MemoryHub::new();
    let nodes = rooms::<2>(&hub).await;
    hub.partition(&nodes[0].id);
    let relayed = nodes[0].relay("on", begins(Some(AFTER)));
    assert_eq!((relayed.sockets, relayed.queued), (1, false));
    assert_eq!(nodes[0].published("relay", "local"), 1);
    assert_eq!(nodes[0].dropped("relay_unsent"), 1);
    hub.heal(&nodes[0].id);
    sleep(AFTER).await;
    eventually("it ends", SOON, || nodes[0].has(&["on", STOP])).await;
    assert!(nodes[1].has(&[STOP]), "which is all that it heard of it");
}

#[tokio::test(start_paused = true)]
async fn what_began_before_the_link_was_cut_ends_on_both_sides_once() {
    let hub = MemoryHub::new();
    let nodes = rooms::<2>(&hub).await;
    for node in &nodes {
        node.relay("on", begins(Some(AFTER)));
    }
    all_have(&nodes, &["on", "on"]).await;
    hub.partition(&nodes[0].id);
    // Each declares the other one dead.
    sleep(DEAD + LOOK * 2).await;
    all_have(&nodes, &["on", "on", STOP]).await;
    hub.heal(&nodes[0].id);
    sleep(AFTER).await;
    all_have(&nodes, &["on", "on", STOP, STOP]).await;
    nothing_is_left(&nodes).await;
    all_have(&nodes, &["on", "on", STOP, STOP]).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_lost_comes_a_second_later() {
    let hub = MemoryHub::new();
    let nodes = rooms::<2>(&hub).await;
    // Between two heartbeats, or one of those would be lost.
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    nodes[0].relay("on", begins(Some(AFTER)));
    all_have(&nodes, &["on"]).await;
    sleep_until(began + AFTER - LOOK).await;
    hub.drop_next(1);
    sleep_until(began + AFTER + GRACE - LOOK).await;
    assert!(nodes[0].has(&["on", STOP]));
    assert!(nodes[1].has(&["on"]), "it waits for its node");
    sleep_until(began + AFTER + GRACE).await;
    all_have(&nodes, &["on", STOP]).await;
    nothing_is_left(&nodes).await;
    all_have(&nodes, &["on", STOP]).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_late_does_not_come_twice() {
    let hub = MemoryHub::new();
    let nodes = rooms::<2>(&hub).await;
    nodes[0].relay("on", begins(Some(AFTER)));
    all_have(&nodes, &["on"]).await;
    hub.delay(GRACE * 2);
    sleep(AFTER + GRACE + SOON).await;
    all_have(&nodes, &["on", STOP]).await;
    nothing_is_left(&nodes).await;
    all_have(&nodes, &["on", STOP]).await;
}

/// Its end may go by unheard, and would fill the table.
#[tokio::test(start_paused = true)]
async fn what_began_in_a_room_that_everybody_left_is_forgotten() {
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[0].relay("on", begins(None));
    all_have(&nodes, &["on"]).await;
    sleep(DEAD * 2).await;
    assert_eq!(
        nodes[1].cluster.begun_relays(),
        (0, 1),
        "it is kept while somebody is there"
    );
    nodes[1].sockets.leave("r");
    sleep(DEAD + LOOK).await;
    assert_eq!(nodes[1].cluster.begun_relays(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_are_lost_to_others_and_counted() {
    const QUEUE: usize = 4_096;
    let nodes = rooms::<2>(&MemoryHub::new()).await;
    for number in 0..QUEUE + 10 {
        let relayed = nodes[0].relay("on", Phase::Once);
        assert_eq!((relayed.sockets, relayed.queued), (1, number < QUEUE), "{number}");
    }
    assert_eq!(nodes[0].dropped("relay_queue_full"), 10);
    eventually("what was queued arrives", SOON, || {
        nodes[1].sockets.seen_count() == QUEUE
    })
    .await;
    assert_eq!(nodes[0].sockets.seen_count(), QUEUE + 10);
    assert!(nodes[0].relay("on", Phase::Once).queued, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_run_serves_its_own_and_counts_the_rest() {
    let mut nodes = rooms::<2>(&MemoryHub::new()).await;
    nodes[0].kill();
    eventually("it has ended", SOON, || nodes[0].has_ended()).await;
    let relayed = nodes[0].relay("on", Phase::Once);
    assert_eq!((relayed.sockets, relayed.queued), (1, false));
    assert_eq!(nodes[0].dropped("relay_unsent"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_does_not_take_is_counted() {
    let hub = MemoryHub::new();
    let nodes = rooms::<2>(&hub).await;
    hub.time_out_next(1);
    assert!(nodes[0].relay("on", Phase::Once).queued);
    eventually("it is counted", SOON, || nodes[0].dropped("relay_unsent") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_an_event_is_delivered_and_does_not_end_by_itself() {
    const MOST: u64 = 65_536;
    let [node] = rooms(&MemoryHub::new()).await;
    for key in 0..=MOST {
        let ending = Ending {
            key,
            after: Some(AFTER),
            args: args(STOP),
        };
        assert_eq!(node.relay("on", Phase::Begins(Box::new(ending))).sockets, 1);
    }
    assert_eq!(node.dropped("relay_endings_full"), 1);
    assert_eq!(node.cluster.begun_relays(), (MOST as usize, 0));
    sleep(AFTER).await;
    let all = MOST as usize * 2 + 1;
    eventually("the others end", DEAD, || node.sockets.seen_count() == all).await;
    sleep(AFTER).await;
    assert_eq!(node.sockets.seen_count(), all);
    assert_eq!(node.cluster.begun_relays(), (0, 0));
}

const V1_HEARTBEAT: &str = include_str!("../vectors/v1/heartbeat.hex");

/// It knows no rooms' channels, and on the channel of all the others would get it twice.
#[tokio::test(start_paused = true)]
async fn a_node_of_the_version_before_gets_it_on_its_own() {
    let hub = MemoryHub::new();
    let nodes = rooms::<2>(&hub).await;
    let v1 = NodeId::parse("node-A_456789xyz").unwrap();
    let (_bus, mut arrivals) = hub.join(&v1);
    hub.inject(&Channel::Nodes, crate::versions::bytes(V1_HEARTBEAT));
    all_know(&nodes, 3).await;
    nodes[0].relay("on", begins(Some(AFTER)));
    all_have(&nodes, &["on"]).await;
    let mut publications = Vec::new();
    while let Some(arrival) = arrivals.try_recv() {
        if let Arrival::Message(Inbound { channel, payload }) = arrival
            && let Frame::Publication {
                handling,
                publication,
            } = Message::decode(&payload).unwrap().frame
        {
            assert_eq!((channel, payload[0]), (Channel::Node(v1.clone()), 1));
            assert_eq!((handling.phase, handling.request), (Phase::Once, None));
            publications.push(publication.args);
        }
    }
    assert_eq!(publications, [args("on")]);
}
