//! Joining and leaving rooms on a real Redis (`ROOMCAST_TEST_REDIS=1`): who was told that it is in a room gets what is
//! published to it from then on, and sockets that come and go do not reach Redis.

use std::collections::HashSet;
use std::time::Duration;

use adapter_redis::{BusState, Cluster, Entering, Envelope, RedisConfig, Refused, RoomName};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::support::backend::Said;
use crate::support::nodes::{Seen, TestNode, envelope};
use crate::support::redis_server::RedisServer;
use crate::support::{eventually, long};

const LIMIT: Duration = Duration::from_secs(20);

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

/// An event whose argument is the name of its room, and whose sockets nobody counts.
fn naming(room: &str) -> Envelope {
    envelope(&format!(
        r#"{{"room":"{room}","event":"e","data":"{room}","count":false}}"#
    ))
}

async fn all_arrive(node: &TestNode, expected: &HashSet<String>) {
    let arrived = || -> HashSet<_> { node.sockets.got().into_iter().collect() };
    eventually("as many as were sent", LIMIT, || {
        node.sockets.seen_count() >= expected.len()
    })
    .await;
    eventually("all arrive", LIMIT, || expected.is_subset(&arrived())).await;
}

/// Makes all subscribers connect again, and waits until they have.
async fn cut_subscribers(server: &RedisServer, nodes: &[&TestNode]) {
    let mut states: Vec<_> = nodes.iter().map(|node| node.cluster.watch_bus()).collect();
    states.iter_mut().for_each(|state| state.mark_unchanged());
    server.command("CLIENT KILL TYPE pubsub");
    for state in &mut states {
        // That it was away may be over before anybody looks: any change will do.
        timeout(LIMIT, state.changed()).await.unwrap().unwrap();
        let connected = state.wait_for(|state| *state == BusState::Connected);
        timeout(LIMIT, connected).await.unwrap().unwrap();
    }
}

fn calls(server: &RedisServer, command: &str) -> u64 {
    let Said::Text(stats) = server.backend().ask(&["INFO", "commandstats"]) else {
        panic!("no statistics")
    };
    let start = format!("cmdstat_{command}:calls=");
    stats
        .lines()
        .find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_a_room_gets_what_is_published_from_then_on() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let receiver = TestNode::on_redis(server.config()).await;
    let publisher = TestNode::on_redis(server.config()).await;
    let rooms: Vec<_> = (0..2_000).map(|number| format!("r{number}")).collect();
    let (receiver_of, publisher_of) = (&receiver, &publisher);
    join_all(rooms.iter().map(|room| async move {
        receiver_of.sockets.join(room, 1).await;
        let published = publisher_of.cluster.publish(naming(room)).await.unwrap();
        assert_eq!(published.nodes, 1, "{room} is live on one node");
    }))
    .await;
    let expected = rooms.iter().map(|room| format!("{room:?}")).collect();
    all_arrive(&receiver, &expected).await;
    assert_eq!(receiver.sockets.seen_count(), 2_000, "each once, and no gap");
    assert_eq!(publisher.sockets.seen_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rooms_come_back_with_the_link() {
    const SAMPLE: usize = 1_000;
    let count = if long() { 100_000 } else { 10_000 };
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let receiver = TestNode::on_redis(server.config()).await;
    let publisher = TestNode::on_redis(server.config()).await;
    let names: Vec<_> = (0..count).map(|number| format!("room:{number}")).collect();
    join_all(names.iter().map(|name| receiver.sockets.join(name, 1))).await;
    assert_eq!(receiver.cluster.interests().len(), count);
    for round in 0..2 {
        cut_subscribers(&server, &[&receiver, &publisher]).await;
        let before = receiver.sockets.delivered().len();
        let sample: Vec<_> = names.iter().skip(round).step_by(count / SAMPLE).collect();
        let sent = sample.iter().map(|name| publisher.cluster.publish(naming(name)));
        for published in join_all(sent).await {
            assert_eq!(published.unwrap().nodes, 1, "live again");
        }
        let expected: HashSet<_> = sample.iter().map(|name| format!("{name:?}")).collect();
        all_arrive(&receiver, &expected).await;
        assert_eq!(receiver.sockets.delivered().len() - before, expected.len());
    }
}

/// Whoever hears of a gap asks for the current state, and has to get all that changes from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_after_a_gap_was_told_arrives() {
    const ROOMS: usize = 60_000;
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = TestNode::on_redis(server.config()).await;
    let names: Vec<_> = (0..ROOMS).map(|number| format!("room:{number}")).collect();
    join_all(names.iter().map(|name| node.sockets.join(name, 1))).await;
    let mut backend = server.backend();
    for _ in 0..2 {
        let before = node.sockets.seen_count();
        server.command("CLIENT KILL TYPE pubsub");
        let told = || {
            let seen = node.sockets.seen_since(before);
            seen.iter().any(|seen| matches!(seen, Seen::Gap(_)))
        };
        eventually("a gap is told", LIMIT, told).await;
        let late = node.cluster.interests().hold(&room("late")).await.unwrap();
        let sample = names
            .iter()
            .step_by(ROOMS / 500)
            .map(String::as_str)
            .chain(["late"]);
        let said = backend.publish_all(sample.map(|name| (name, br#"{"event":"e"}"#.to_vec())));
        let receivers: i64 = said.iter().map(|said| said.accepted().unwrap().1).sum();
        assert_eq!(receivers, 501, "all rooms are live when the gap is told");
        eventually("all arrive", LIMIT, || node.sockets.seen_count() - before == 502).await;
        node.connected().await;
        drop(late);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_come_and_go_do_not_reach_redis() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = TestNode::on_redis(RedisConfig {
        unsubscribe_delay: Duration::from_millis(500),
        ..server.config()
    })
    .await;
    let own = server.command("PUBSUB SHARDCHANNELS");
    assert!(own.starts_with("*1\r\n"), "its own: {own}");
    let (joined, left) = (calls(&server, "ssubscribe"), calls(&server, "sunsubscribe"));
    let room = room("r");
    for _ in 0..10_000 {
        drop(node.cluster.interests().hold(&room).await.unwrap());
    }
    let (joined, left) = (
        calls(&server, "ssubscribe") - joined,
        calls(&server, "sunsubscribe") - left,
    );
    assert!(joined <= 3 && left <= 3, "{joined} and {left}");
    eventually("the room is left in the end", LIMIT, || {
        server.command("PUBSUB SHARDCHANNELS") == own && node.cluster.interests().is_empty()
    })
    .await;
    node.sockets.join("r", 1).await;
    node.cluster.publish(naming("r")).await.unwrap();
    eventually("it is joined again", LIMIT, || node.sockets.got() == ["\"r\""]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_may_be_left_at_once() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = TestNode::on_redis(RedisConfig {
        unsubscribe_delay: Duration::ZERO,
        ..server.config()
    })
    .await;
    for round in 0..20 {
        // Some are left before anybody is asked, some while, and some afterwards.
        for number in 0..100 {
            drop(
                node.cluster
                    .interests()
                    .enter(&room(&format!("{round}:{number}"))),
            );
            if number % 10 == 0 {
                tokio::task::yield_now().await;
            }
            if number % 25 == 0 {
                drop(node.cluster.interests().hold(&room("r")).await.unwrap());
            }
        }
        let joined = node.sockets.join("r", 1);
        timeout(LIMIT, joined).await.expect("it goes on");
        node.cluster.publish(naming("r")).await.unwrap();
        eventually("it is live", LIMIT, || node.sockets.seen_count() == round + 1).await;
        node.sockets.leave("r");
    }
    eventually("all are left", LIMIT, || node.cluster.interests().is_empty()).await;
}

fn forbid(server: &RedisServer) {
    let said = server.command(
        "ACL SETUSER gate reset on >pw +@all ~* resetchannels &roomcast:nodes &roomcast:node:* &roomcast:publish \
         &roomcast:{}* &roomcast:{user:*}",
    );
    assert_eq!(said, "+OK\r\n");
}

async fn hold(cluster: &Cluster, name: &str) -> Result<adapter_redis::Interest, Refused> {
    timeout(LIMIT, cluster.interests().hold(&room(name)))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_room_does_not_take_others_with_it() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    forbid(&server);
    let node = TestNode::on_redis(server.config_of("gate")).await;
    let publisher = TestNode::on_redis(server.config()).await;
    let names: Vec<_> = (0..300)
        .map(|number| match number {
            7 | 8 | 200 => format!("admin:{number}"),
            _ => format!("user:{number}"),
        })
        .collect();
    let held = join_all(names.iter().map(|name| hold(&node.cluster, name))).await;
    for (name, held) in names.iter().zip(&held) {
        assert_eq!(held.is_err(), name.starts_with("admin"), "{name}: {held:?}");
    }
    for name in &names {
        let published = publisher.cluster.publish(naming(name)).await.unwrap();
        assert_eq!(published.nodes, u64::from(name.starts_with("user")), "{name}");
    }
    eventually("the others are live", LIMIT, || node.sockets.seen_count() == 297).await;
    assert_eq!(node.cluster.bus_state(), BusState::Connected);
    // Asked again with the next one who wants it.
    assert!(hold(&node.cluster, "admin:7").await.is_err());
    server.command("ACL SETUSER gate &roomcast:{admin:*}");
    let admin = hold(&node.cluster, "admin:7").await.unwrap();
    let published = publisher
        .cluster
        .publish(naming(admin.room().as_str()))
        .await
        .unwrap();
    assert_eq!(published.nodes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_room_does_not_keep_the_link_from_being_made() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    forbid(&server);
    // So that there is no link before all are wanted.
    server.signal("-STOP");
    let node = TestNode::starting(server.config_of("gate"));
    let early: Vec<_> = (0..50)
        .map(|number| format!("user:{number}"))
        .chain(["admin:1".to_owned(), "admin:2".to_owned()])
        .map(|name| node.cluster.interests().enter(&room(&name)))
        .collect();
    assert!(early.iter().all(|entering| matches!(entering, Entering::Now(_))));
    server.signal("-CONT");
    node.connected().await;
    node.cluster.publish(naming("user:49")).await.unwrap();
    eventually("the others are live", LIMIT, || {
        node.sockets.got() == ["\"user:49\""]
    })
    .await;
}
