//! What it costs to be looked at: `cargo bench -p gateway --bench tail`.
//!
//! A publication on a node of its own, without Redis: from the call until the node has delivered it, to nobody, and its
//! publisher was told. Each figure stands beside that of a node that cannot be looked at at all.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use adapter_redis::{
    Cluster, ClusterConfig, Envelope, Limits, MemoryHub, Metrics, NoSockets, NodeId, RoomName, Tap,
};
use gateway::tail::{Filter, Opened, Tails};
use tokio::{runtime::Builder, task::JoinSet};

const CALLS: u32 = 500;
/// Each is measured so often, and the quickest counts: the others were disturbed.
const ROUNDS: usize = 100;

fn main() {
    println!("a publication: {CALLS} of them, the quickest of {ROUNDS} rounds");
    let tails = Tails::default();
    measure("cannot be looked at", &Tap::default());
    measure("nobody looks", &tails.tap());
    let open = |filter: &str| {
        let (filter, with_data) = Filter::read(filter).unwrap();
        tails.open(filter, with_data).unwrap()
    };
    let other = open("room=another:*");
    measure("somebody looks at other rooms", &tails.tap());
    drop(other);
    let slow = open("");
    measure("somebody looks at all and never reads", &tails.tap());
    drop(slow);
    let many: Vec<Opened> = (0..8).map(|_| open("")).collect();
    measure("eight of them", &tails.tap());
    drop(many);
    let quick = Arc::new(open(""));
    reading(&quick, || measure("somebody reads all", &tails.tap()));
    let full = Arc::new(open("data=true"));
    drop(quick);
    reading(&full, || {
        measure("somebody reads all with payloads", &tails.tap())
    });
}

/// Takes lines as fast as can be, while something is measured.
fn reading(opened: &Arc<Opened>, measured: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (is_over, opened) = (&is_over, opened.clone());
        let reader = scope.spawn(move || {
            let mut bytes = 0;
            while !is_over.load(Ordering::Relaxed) {
                match opened.take() {
                    Some(lines) => bytes += black_box(lines).len(),
                    None => std::thread::yield_now(),
                }
            }
            bytes
        });
        measured();
        is_over.store(true, Ordering::Relaxed);
        println!("    {} MB were read", reader.join().unwrap() / 1_000_000);
    });
}

fn measure(what: &str, tap: &Tap) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let quickest = runtime.block_on(async {
        let id = NodeId::random();
        let (bus, arrivals) = MemoryHub::new().join(&id);
        let config = ClusterConfig {
            tap: tap.clone(),
            ..ClusterConfig::default()
        };
        let cluster = Cluster::new(id, Arc::new(bus), Arc::new(NoSockets), config, Metrics::noop());
        let mut task = JoinSet::new();
        let running = cluster.clone();
        task.spawn(async move { running.run(arrivals).await });
        let room = RoomName::new("contact:4711").unwrap();
        let _interest = cluster.interests().hold(&room).await.unwrap();
        let json =
            r#"{"room":"contact:4711","event":"typing:indicator","data":{"userId":"42","isTyping":true}}"#;
        let envelope = Envelope::parse(json.as_bytes(), &Limits::default()).unwrap();
        let mut quickest = Duration::MAX;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..CALLS {
                black_box(cluster.publish(envelope.clone()).await.unwrap());
            }
            quickest = quickest.min(start.elapsed());
        }
        quickest
    });
    println!("  {what:42} {:>6} ns", (quickest / CALLS).as_nanos());
}
