//! How a consumer reads that tells somebody who may be slow, or never take one of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_redis::{Consume, GroupStream, NodeId, StreamEntry, StreamReader, Verdict};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::LIMIT;
use crate::support::eventually;
use crate::support::redis_server::RedisServer;

/// Takes all but `poison`, and takes its time with `slow`.
#[derive(Clone, Default)]
struct Taker(Arc<Mutex<Vec<String>>>);

impl Taker {
    fn taken(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Consume for Taker {
    async fn consume(&self, entries: &[StreamEntry]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for entry in entries {
            let name = String::from_utf8_lossy(entry.field("name").unwrap()).into_owned();
            if name == "poison" {
                verdicts.push(Verdict::NotNow);
                continue;
            }
            if name == "slow" {
                sleep(Duration::from_secs(7)).await;
            }
            self.0.lock().unwrap().push(name);
            verdicts.push(Verdict::Done);
        }
        verdicts
    }

    fn most_in_hand(&self) -> usize {
        8
    }
}

fn reader(server: &RedisServer, taker: &Taker, tasks: &mut JoinSet<()>) -> NodeId {
    let (id, taker) = (NodeId::random(), taker.clone());
    let reader = StreamReader::new(id.clone(), server.config(), GroupStream::of_notices("roomcast"));
    tasks.spawn(async move { reader.run(&taker).await });
    id
}

fn add(server: &RedisServer, name: &str) {
    server.command(&format!("XADD roomcast:notices * name {name}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_never_taken_waits_beside_the_others() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let (taker, mut tasks) = (Taker::default(), JoinSet::new());
    add(&server, "poison");
    reader(&server, &taker, &mut tasks);
    let mut expected = Vec::new();
    for round in 0..20 {
        add(&server, &round.to_string());
        expected.push(round.to_string());
        eventually("it is taken", LIMIT, || taker.taken() == expected).await;
    }
    // What was taken is deleted afterwards.
    eventually("all others are done", LIMIT, || {
        server.command("XLEN roomcast:notices") == ":1\r\n"
    })
    .await;
    let left = server.command("XRANGE roomcast:notices - +");
    assert!(left.contains("poison"), "it is still there: {left}");
    // Whoever comes next finds it in hand, and reads on all the same.
    tasks.shutdown().await;
    server.command("DEL roomcast:notices:lease");
    reader(&server, &taker, &mut tasks);
    add(&server, "last");
    expected.push("last".to_owned());
    eventually("it is taken", LIMIT, || taker.taken() == expected).await;
}

/// Longer than the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_keeps_its_turn() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let (taker, mut tasks) = (Taker::default(), JoinSet::new());
    let first = reader(&server, &taker, &mut tasks);
    eventually("it reads", LIMIT, || {
        server
            .command("GET roomcast:notices:lease")
            .contains(first.as_str())
    })
    .await;
    reader(&server, &taker, &mut tasks);
    add(&server, "slow");
    add(&server, "next");
    eventually("both are taken", LIMIT, || taker.taken().len() >= 2).await;
    eventually("both are done", LIMIT, || {
        server.command("XLEN roomcast:notices") == ":0\r\n"
    })
    .await;
    assert_eq!(taker.taken(), ["slow", "next"], "by one of them");
    assert!(
        server
            .command("GET roomcast:notices:lease")
            .contains(first.as_str())
    );
}
