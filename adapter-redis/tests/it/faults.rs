//! Streams of events on a real Redis (`ROOMCAST_TEST_REDIS=1`) while something is broken. Whatever it is: nothing is
//! delivered twice or out of order, and what is lost lies in a gap that the node was told of. With `ROOMCAST_LONG=1`
//! each fault lasts longer.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::backend::Said;
use crate::support::cable::Cable;
use crate::support::redis_server::RedisServer;
use crate::support::stream::{Stream, nervous};
use crate::support::{eventually, long};

const LIMIT: Duration = Duration::from_secs(20);

/// How long a fault lasts, or is repeated.
fn seconds(short: u64, long_one: u64) -> Duration {
    Duration::from_secs(if long() { long_one } else { short })
}

async fn flowing(server: &RedisServer) -> Stream {
    let mut stream = Stream::start([nervous(server), nervous(server), nervous(server)]).await;
    stream.flow();
    // Something to begin with.
    stream_is_moving(&stream).await;
    stream
}

async fn stream_is_moving(stream: &Stream) {
    let before: Vec<_> = stream
        .members
        .iter()
        .map(|member| member.node.sockets.seen_count())
        .collect();
    eventually("events arrive everywhere", LIMIT, || {
        stream
            .members
            .iter()
            .zip(&before)
            .all(|(member, before)| member.node.sockets.seen_count() > before + 100)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_subscribers_that_are_cut_again_and_again() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut stream = flowing(&server).await;
    let end = Instant::now() + seconds(3, 60);
    let mut cut = 0;
    while Instant::now() < end {
        let Said::Number(killed) = server.backend().ask(&["CLIENT", "KILL", "TYPE", "pubsub"]) else {
            panic!("a number")
        };
        cut += killed;
        sleep(Duration::from_millis(200)).await;
    }
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("CLIENT KILL TYPE pubsub", false);
    assert!(cut > 0 && counts.gaps > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_redis_that_pauses() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut stream = flowing(&server).await;
    let end = Instant::now() + seconds(2, 60);
    while Instant::now() < end {
        assert_eq!(server.command("CLIENT PAUSE 1500 ALL"), "+OK\r\n");
        sleep(Duration::from_millis(2_500)).await;
    }
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("CLIENT PAUSE 1500 ALL", false);
    assert!(counts.again > 0, "publications were not answered in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_frozen_redis() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut stream = flowing(&server).await;
    server.signal("-STOP");
    sleep(seconds(3, 10)).await;
    server.signal("-CONT");
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("SIGSTOP of Redis", false);
    assert!(counts.again > 0 && counts.local > 0 && counts.gaps > 0);
}

/// Too short for the link to be given up: what was not answered in time is repeated on the same link, and both wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_redis_that_hesitates() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut stream = flowing(&server).await;
    let end = Instant::now() + seconds(2, 60);
    while Instant::now() < end {
        server.signal("-STOP");
        sleep(Duration::from_millis(800)).await;
        server.signal("-CONT");
        stream_is_moving(&stream).await;
    }
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("SIGSTOP for 0.8 s", false);
    assert!(counts.again > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_redis_that_is_killed_and_forgets_everything() {
    let Some(mut server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut stream = flowing(&server).await;
    let end = Instant::now() + seconds(1, 60);
    while Instant::now() < end {
        server.kill();
        sleep(Duration::from_millis(500)).await;
        server.run().await;
        stream_is_moving(&stream).await;
    }
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("Redis killed and restarted empty", true);
    assert!(counts.local > 0 && counts.gaps > 0);
}

/// Redis keeps 256 KiB for a node, which stops to read in the middle of a flood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_that_a_frozen_node_is_cut_off() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let said = server.backend().ask(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 256kb 128kb 1",
    ]);
    assert_eq!(said, Said::Text("OK".into()));
    let mut stream = flowing(&server).await;
    for _ in 0..seconds(1, 10).as_secs() {
        stream_is_moving(&stream).await;
        let name = format!("roomcast-sub-{} ", stream.members[0].node.id);
        let frozen = stream.members[0].freeze();
        // Nobody else is in this room.
        let is_cut = || {
            stream.flood(&server, 0, 200, 9_000);
            let Said::Text(clients) = server.backend().ask(&["CLIENT", "LIST"]) else {
                panic!("a list")
            };
            !clients.contains(&name)
        };
        eventually("Redis cuts the node off", LIMIT, is_cut).await;
        drop(frozen);
        eventually("it comes back", LIMIT, || {
            let Said::Text(clients) = server.backend().ask(&["CLIENT", "LIST"]) else {
                panic!("a list")
            };
            clients.contains(&name)
        })
        .await;
    }
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("subscriber cut by its output buffer", false);
    assert!(counts.gaps > 0 && counts.missed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_arrives_whole_and_in_order() {
    const BURST: u64 = 10_000;
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let stream = Stream::start([server.config(), server.config(), server.config()]).await;
    let rounds = if long() { 50 } else { 1 };
    for round in 1..=rounds {
        // The second and the third node are in this room.
        stream.flood(&server, 12, BURST, 0);
        for member in &stream.members[1..] {
            eventually("all of it arrives", LIMIT, || {
                member.node.sockets.seen_count() as u64 == round * BURST
            })
            .await;
        }
    }
    stream.more(200).await;
    let counts = stream.judge("a burst of 10,000 in one write", false);
    assert_eq!((counts.gaps, counts.missed), (0, 0));
}

/// Packets of one node vanish in both directions. The others notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_node_whose_cable_is_pulled() {
    if RedisServer::prepare(&[]).is_none() {
        return;
    }
    let Some(mut cable) = Cable::lay() else {
        return;
    };
    let here = cable.here().to_string();
    let Some(server) = RedisServer::start(&["--bind", "127.0.0.1", &here, "--protected-mode", "no"]).await
    else {
        return;
    };
    let mut cut_off = nervous(&server);
    cut_off.url = cable.connect(server.port());
    let mut stream = Stream::start([cut_off, nervous(&server), nervous(&server)]).await;
    stream.flow();
    for _ in 0..if long() { 6 } else { 1 } {
        stream_is_moving(&stream).await;
        cable.pull(true);
        sleep(Duration::from_secs(5)).await;
        cable.pull(false);
        stream.members[0].node.connected().await;
    }
    stream.settle().await;
    stream.more(200).await;
    let counts = stream.judge("cable pulled for 5 s", false);
    assert!(counts.gaps > 0 && counts.local > 0 && counts.missed > 0);
}
