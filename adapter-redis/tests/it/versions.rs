//! Nodes of two versions, and nodes with keys, on a paused clock.

use adapter_redis::{
    Admission, Arrival, Arrivals, Channel, Frame, Handling, Inbound, MemoryHub, Message, NodeId, Question,
    RoomName, SecretKeys, Target,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

use crate::support::eventually;
use crate::support::nodes::{SOON, TestNode, cluster, event};
use crate::support::recorder::Recorded;

const V1_HEARTBEAT: &str = include_str!("../vectors/v1/heartbeat.hex");
const V1_PUBLICATION: &str = include_str!("../vectors/v1/publication.hex");
/// The node that wrote the vectors.
const V1: &str = "node-A_456789xyz";

pub(crate) fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// All publications that arrived by now, each with its version.
fn publications(arrivals: &mut Arrivals) -> Vec<(Channel, u8, Bytes)> {
    std::iter::from_fn(|| arrivals.try_recv())
        .filter_map(|arrival| match arrival {
            Arrival::Message(Inbound { channel, payload }) if payload[1] == 1 => {
                Some((channel, payload[0], payload))
            }
            _ => None,
        })
        .collect()
}

/// A node of version 1 knows nothing of rooms' channels: it has to get everything by the channel of all nodes, in its
/// own format, and what it publishes there has to arrive.
#[tokio::test(start_paused = true)]
async fn nodes_of_the_version_before_take_part() {
    let hub = MemoryHub::new();
    let [node] = cluster(&hub).await;
    node.sockets.put("user:42", 1);
    let v1 = NodeId::parse(V1).unwrap();
    let (_v1_bus, mut v1_arrivals) = hub.join(&v1);
    hub.inject(&Channel::Nodes, bytes(V1_HEARTBEAT));
    eventually("it is known", SOON, || node.knows(2)).await;

    hub.inject(&Channel::Nodes, bytes(V1_PUBLICATION));
    eventually("its publication is delivered", SOON, || {
        node.sockets.got().len() == 1
    })
    .await;

    publications(&mut v1_arrivals);
    let start = Instant::now();
    let (published, ()) = tokio::join!(node.publish(event("user:42", "1")), async {
        let mut seen = Vec::new();
        while seen.is_empty() {
            tokio::task::yield_now().await;
            seen = publications(&mut v1_arrivals);
        }
        let (channel, version, payload) = seen.remove(0);
        assert_eq!((channel, version), (Channel::Nodes, 1));
        // It answers as it always did.
        let Frame::Publication { handling, .. } = Message::decode(&payload).unwrap().frame else {
            panic!("kind");
        };
        let reached = Frame::Reached {
            request: handling.request.unwrap(),
            sockets: 5,
        };
        hub.inject(&Channel::Node(node.id.clone()), reached.encode(&v1));
    });
    let published = published.unwrap();
    assert_eq!(
        (published.nodes, published.sockets, published.complete),
        (2, 6, true)
    );
    assert_eq!(start.elapsed(), std::time::Duration::ZERO);

    let asked = node
        .cluster
        .ask(Question::Sockets {
            target: Target::Room(RoomName::new("user:42").unwrap()),
            list: 0,
        })
        .await;
    assert!(!asked.complete, "it cannot be asked");
    assert_eq!(asked.missing, std::slice::from_ref(&v1));

    // Once it is gone, rooms have their channels again.
    hub.inject(&Channel::Nodes, Frame::Goodbye.encode(&v1));
    eventually("it is forgotten", SOON, || node.knows(1)).await;
    publications(&mut v1_arrivals);
    node.publish(event("user:42", "2")).await.unwrap();
    assert!(publications(&mut v1_arrivals).is_empty());
    assert_eq!(node.sockets.got().last().unwrap(), "2");
}

/// What a node can admit travels with its heartbeats, and at once when it is asked to tell. A build that does not say it is
/// a member like any other.
#[tokio::test(start_paused = true)]
async fn what_nodes_can_admit_is_known_and_may_be_unknown() {
    let hub = MemoryHub::new();
    let [one, other] = cluster(&hub).await;
    let v1 = NodeId::parse(V1).unwrap();
    let (_v1_bus, _v1_arrivals) = hub.join(&v1);
    hub.inject(&Channel::Nodes, bytes(V1_HEARTBEAT));
    // As a build of this version wrote it before there was such a figure, by another node.
    let silent = NodeId::random();
    let (_silent_bus, _silent_arrivals) = hub.join(&silent);
    let heartbeat = bytes(include_str!("../vectors/heartbeat.hex"));
    let about = Message::decode(&heartbeat).unwrap().frame;
    hub.inject(&Channel::Nodes, about.encode(&silent));

    let admission = Admission {
        is_draining: true,
        per_second: 200,
    };
    other.sockets.admit(admission);
    let start = Instant::now();
    other.cluster.tell().await;
    let seen = || {
        let infos = one.cluster.node_infos();
        let of = |id: &NodeId| {
            infos
                .iter()
                .find(|info| info.id == *id)
                .map(|info| info.load.admission)
        };
        (of(&other.id), of(&v1), of(&silent))
    };
    let expected = (Some(Some(admission)), Some(None), Some(None));
    eventually("it is known", SOON, || seen() == expected).await;
    assert!(
        start.elapsed() < std::time::Duration::from_millis(500),
        "without waiting for a heartbeat"
    );
}

fn with_keys(hub: &MemoryHub, lines: &str) -> TestNode {
    let id = NodeId::random();
    let (bus, arrivals) = hub.join(&id);
    let keys = SecretKeys::from_lines(lines).unwrap();
    TestNode::with_keys(id, Arc::new(bus), arrivals, Recorded::default(), keys)
}

const OLD: &str = "the-old-key-of-the-cluster";
const NEW: &str = "the-new-key-of-the-cluster";

#[tokio::test(start_paused = true)]
async fn only_nodes_with_a_common_key_know_each_other() {
    let hub = MemoryHub::new();
    let rotating = format!("{NEW}\n{OLD}");
    let other_way = format!("{OLD}\n{NEW}");
    let nodes = [
        with_keys(&hub, &rotating),
        with_keys(&hub, &other_way),
        with_keys(&hub, "a-key-of-nobody-else"),
    ];
    let plain = TestNode::start(&hub);
    eventually("the two know each other", SOON, || {
        nodes[0].knows(2) && nodes[1].knows(2)
    })
    .await;
    assert!(nodes[2].knows(1));
    for node in nodes.iter().chain([&plain]) {
        node.sockets.put("r", 1);
    }
    nodes[0].publish(event("r", "1")).await.unwrap();
    assert_eq!(nodes[1].sockets.got(), ["1"]);
    assert!(nodes[2].sockets.got().is_empty(), "signed by nobody it knows");
    assert!(nodes[2].dropped("frame_forged") > 0);

    plain.publish(event("r", "2")).await.unwrap();
    assert_eq!(nodes[1].sockets.got(), ["1"], "not signed at all");
    assert!(nodes[1].dropped("frame_unsigned") > 0);
}

/// A backend without the key publishes by the function, and is heard.
#[tokio::test(start_paused = true)]
async fn envelopes_of_backends_need_no_signature() {
    let hub = MemoryHub::new();
    let node = with_keys(&hub, OLD);
    node.sockets.put("r", 1);
    let room = RoomName::new("r").unwrap();
    let stored = adapter_redis::Stored {
        stamp: 1_785_000_000_000_001,
        body: adapter_redis::StoredBody::Envelope(Bytes::from_static(br#"{"event":"e","data":1}"#)),
    };
    hub.inject(&Channel::Room(room), stored.encode());
    eventually("it is delivered", SOON, || node.sockets.got() == ["1"]).await;
    assert_eq!(node.sockets.delivered()[0].stamp, Some(1_785_000_000_000_001));
    assert_eq!(node.published("function", "reached"), 1);
}

/// Who may publish to one room's channel must not reach other rooms by it.
#[tokio::test(start_paused = true)]
async fn a_frame_on_a_rooms_channel_is_for_that_room() {
    let hub = MemoryHub::new();
    let [node] = cluster(&hub).await;
    node.sockets.put("mine", 1);
    node.sockets.put("yours", 1);
    let mine = Channel::Room(RoomName::new("mine").unwrap());
    let Frame::Publication { publication, .. } = Message::decode(&bytes(V1_PUBLICATION)).unwrap().frame
    else {
        panic!("kind");
    };
    let frame = |rooms: &[&str]| {
        let rooms = rooms.iter().map(|room| RoomName::new(room).unwrap()).collect();
        Frame::Publication {
            handling: Handling::default(),
            publication: adapter_redis::Publication {
                rooms,
                ..publication.clone()
            },
        }
        .encode(&NodeId::random())
    };
    for payload in [
        frame(&["yours"]),
        Frame::Goodbye.encode(&NodeId::random()),
        Bytes::from_static(b"\x02\x08\x00"),
        Bytes::from_static(b"{}"),
        Bytes::new(),
    ] {
        hub.inject(&mine, payload);
    }
    let envelope = adapter_redis::Stored {
        stamp: 1,
        body: adapter_redis::StoredBody::Envelope(Bytes::from_static(br#"{"room":"yours","event":"e"}"#)),
    };
    hub.inject(&mine, envelope.encode());
    hub.inject(&mine, frame(&["mine"]));
    eventually("the good one is delivered", SOON, || {
        node.sockets.got().len() == 1
    })
    .await;
    assert_eq!(node.dropped("frame_malformed") + node.dropped("frame_version"), 5);
    assert_eq!(node.dropped("envelope_invalid"), 1);
}

/// The function has told the backend that it took it: what is not UTF-8 is mended, and the rest arrives.
#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_utf8_do_not_cost_an_event() {
    let hub = MemoryHub::new();
    let [node] = cluster(&hub).await;
    node.sockets.put("r", 1);
    let stored = adapter_redis::Stored {
        stamp: 1,
        body: adapter_redis::StoredBody::Envelope(Bytes::from_static(
            b"{\"event\":\"e\",\"data\":\"a\xffb\"}",
        )),
    };
    hub.inject(&Channel::Room(RoomName::new("r").unwrap()), stored.encode());
    eventually("it is delivered", SOON, || {
        node.sockets.got() == ["\"a\u{fffd}b\""]
    })
    .await;
}
