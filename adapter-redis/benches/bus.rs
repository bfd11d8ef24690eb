//! What the bus costs, on a Redis of its own: `cargo bench -p adapter-redis --features test-util [-- NAME…]`.
//!
//! Each figure stands beside another from the same run, because absolute ones say more about the machine.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapter_redis::{
    Acks, Answer, Arrival, Bus, BusState, Census, Channel, Cluster, ClusterConfig, Entering, Envelope, Gap,
    Interest, Later, Limits, Load, LocalSockets, Metrics, NodeId, Publication, Question, RedisBus,
    RedisConfig, RoomName,
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::task::JoinSet;

#[path = "../tests/it/support/recorder.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod recorder;

use recorder::Recorded;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if is_wanted("waste") {
        runtime.block_on(waste());
    }
    if is_wanted("joins") {
        runtime.block_on(joins());
    }
    if is_wanted("function") {
        runtime.block_on(function());
    }
    if is_wanted("return") {
        runtime.block_on(comes_back());
    }
}

/// A `redis-server` on a loopback port that ends with this value.
struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self::start_on(port)
    }

    fn start_on(port: u16) -> Self {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { port, child }
    }

    fn config(&self) -> RedisConfig {
        RedisConfig::new(format!("redis://127.0.0.1:{}", self.port))
    }

    fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut answer = vec![0; 1 << 16];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// Microseconds of processor time that commands took, by Redis' own account, and how many there were.
    fn used(&self, command: &str) -> (u64, f64) {
        let stats = self.command("INFO commandstats");
        let line = stats
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{command}:")))
            .unwrap_or_default()
            .to_owned();
        let field = |name: &str| {
            line.split([':', ','])
                .find_map(|part| part.strip_prefix(&format!("{name}=")))
                .and_then(|value| value.parse::<f64>().ok())
                .unwrap_or_default()
        };
        (field("calls") as u64, field("usec"))
    }

    /// Seconds of processor time of the whole process.
    fn process(&self) -> f64 {
        let info = self.command("INFO cpu");
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|value| value.trim().parse::<f64>().ok())
                .unwrap_or_default()
        };
        field("used_cpu_user:") + field("used_cpu_sys:")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sockets that are only counted.
#[derive(Default)]
struct Counted {
    used: AtomicU64,
}

impl LocalSockets for Counted {
    fn deliver(&self, _: &Publication) -> usize {
        self.used.fetch_add(1, Ordering::Relaxed);
        1
    }

    fn request(&self, _: &Publication, _: Duration) -> Later<Acks> {
        Box::pin(async { Acks::default() })
    }

    fn answer(&self, _: Question) -> Later<Answer> {
        Box::pin(async { Answer::default() })
    }

    fn gap(&self, _: &Gap) {}

    fn census(&self) -> Census {
        Census::default()
    }

    fn load(&self) -> Load {
        Load::default()
    }
}

struct Node {
    cluster: Cluster,
    bus: Arc<RedisBus>,
    sockets: Arc<Counted>,
    recorded: Recorded,
    held: Vec<Interest>,
    _task: JoinSet<()>,
}

impl Node {
    async fn start(redis: &Redis) -> Self {
        let id = NodeId::random();
        let recorded = Recorded::default();
        let metrics = recorded.metrics();
        let (bus, arrivals) = RedisBus::start(redis.config(), &id, metrics.clone()).unwrap();
        let bus = Arc::new(bus);
        bus.state()
            .wait_for(|state| *state == BusState::Connected)
            .await
            .unwrap();
        let sockets = Arc::new(Counted::default());
        let cluster = Cluster::new(
            id,
            Arc::clone(&bus) as _,
            Arc::clone(&sockets) as _,
            ClusterConfig::default(),
            metrics,
        );
        let mut task = JoinSet::new();
        let running = cluster.clone();
        task.spawn(async move { running.run(arrivals).await });
        Self {
            cluster,
            bus,
            sockets,
            recorded,
            held: Vec::new(),
            _task: task,
        }
    }
}

fn room(number: usize) -> RoomName {
    RoomName::new(&format!("room:{number}")).unwrap()
}

fn event(room: &RoomName) -> Envelope {
    let json = format!(
        r#"{{"room":"{room}","event":"e","data":"{}","count":false}}"#,
        "x".repeat(200)
    );
    Envelope::parse(json.as_bytes(), &Limits::default()).unwrap()
}

/// Frames that nodes received without having anybody for them: one member for each room, on one of the nodes; members
/// come and go all the while.
async fn waste() {
    println!(
        "\nframes received in vain (1,000 rooms with one member each, 20,000 events, members moving between nodes)"
    );
    for count in [2, 4, 8] {
        let redis = Redis::start();
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Node::start(&redis).await);
        }
        for number in 0..1_000 {
            let interest = nodes[number % count]
                .cluster
                .interests()
                .hold(&room(number))
                .await
                .unwrap();
            nodes[number % count].held.push(interest);
        }
        for number in 0..20_000_usize {
            nodes[0]
                .cluster
                .publish(event(&room(number % 1_000)))
                .await
                .unwrap();
            // One in two hundred moves to the next node, and is subscribed to on both for a while.
            if number % 200 == 0 {
                let from = (number / 200) % count;
                if let Some(interest) = nodes[from].held.pop() {
                    let room = interest.room().clone();
                    let to = (from + 1) % count;
                    let there = nodes[to].cluster.interests().hold(&room).await.unwrap();
                    nodes[to].held.push(there);
                }
            }
        }
        let (calls, _) = redis.used("spublish");
        let used = |nodes: &[Node]| {
            nodes
                .iter()
                .map(|node| node.sockets.used.load(Ordering::Relaxed))
                .sum::<u64>()
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while used(&nodes) < 20_000 && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        let received = |used: bool| {
            let name = format!("roomcast_bus_received_total{{used={used}}}");
            nodes.iter().map(|node| node.recorded.value(&name)).sum::<u64>()
        };
        let vain = 100.0 * received(false) as f64 / (received(true) + received(false)) as f64;
        println!(
            "  {count} nodes: {calls} published, {} received and used, {} received in vain ({vain:.2} %)",
            received(true),
            received(false),
        );
    }
}

/// From wanting a room to hearing of it, at a steady rate.
async fn joins() {
    println!("\njoin until live (each of another room)");
    let redis = Redis::start();
    let node = Node::start(&redis).await;
    for (rate, seconds) in [(1_000_u64, 5_u64), (5_000, 5)] {
        let start = Instant::now();
        let interests = node.cluster.interests().clone();
        let mut taken: Vec<_> = stream::iter(0..rate * seconds)
            .map(|number| {
                let interests = interests.clone();
                let due = start + Duration::from_nanos(number * 1_000_000_000 / rate);
                async move {
                    tokio::time::sleep_until(due.into()).await;
                    let name = RoomName::new(&format!("{rate}:{number}")).unwrap();
                    let begun = Instant::now();
                    let interest = interests.hold(&name).await.unwrap();
                    (begun.elapsed(), begun.saturating_duration_since(due), interest)
                }
            })
            .buffer_unordered(5_000)
            .collect()
            .await;
        taken.sort_by_key(|(took, ..)| *took);
        let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].0;
        println!(
            "  {rate} a second for {seconds} s: p50 {:?}, p99 {:?}, max {:?}; {} rooms now",
            at(0.5),
            at(0.99),
            at(1.0),
            interests.len()
        );
    }
    let start = Instant::now();
    let many: Vec<_> = (0..100_000)
        .map(|number| {
            node.cluster
                .interests()
                .enter(&RoomName::new(&format!("many:{number}")).unwrap())
        })
        .collect();
    let mut held = Vec::new();
    for entering in many {
        match entering {
            Entering::Now(interest) => held.push(interest),
            Entering::Later(joining) => held.push(joining.wait().await.unwrap()),
        }
    }
    println!("  100,000 at once: {:?}", start.elapsed());
    let start = Instant::now();
    redis.command("CLIENT KILL TYPE pubsub");
    let mut state = node.bus.state();
    state
        .wait_for(|state| *state != BusState::Connected)
        .await
        .unwrap();
    state
        .wait_for(|state| *state == BusState::Connected)
        .await
        .unwrap();
    println!(
        "  all of them again after the connection was killed: {:?}",
        start.elapsed()
    );
}

/// Processor time in Redis for the function, beside plain publishing of the same bytes.
async fn function() {
    const EVENTS: usize = 50_000;
    println!(
        "\nRedis' processor time for each publication to one subscriber (200 bytes, {EVENTS} of each, 64 in flight)"
    );
    let redis = Redis::start();
    let node = Node::start(&redis).await;
    let listener = NodeId::random();
    let (bus, mut arrivals) = RedisBus::start(redis.config(), &listener, Metrics::noop()).unwrap();
    bus.state()
        .wait_for(|state| *state == BusState::Connected)
        .await
        .unwrap();
    let name = room(0);
    let _interest = bus.interests().hold(&name).await.unwrap();
    let mut drain = JoinSet::new();
    drain.spawn(async move { while !matches!(arrivals.recv().await, None | Some(Arrival::Gap(_))) {} });
    let channel = Channel::Room(name.clone());
    let frame = Bytes::from(vec![b'x'; 260]);
    let envelope = format!(
        r#"{{"event":"phone_status_changed","data":{{"text":"{}"}}}}"#,
        "x".repeat(200)
    );
    let mut plain = 0.0;
    for way in [
        "plain SPUBLISH",
        "function, frame of a node",
        "function, frame with an id",
        "function, envelope of a backend",
        "function, envelope with an id",
    ] {
        let (cpu, start) = (redis.process(), Instant::now());
        match way {
            "plain SPUBLISH" => {
                stream::iter(0..EVENTS)
                    .for_each_concurrent(64, |_| async {
                        node.bus.publish(&channel, frame.clone()).await.unwrap();
                    })
                    .await;
            }
            "function, frame of a node" | "function, frame with an id" => {
                stream::iter(0..EVENTS)
                    .for_each_concurrent(64, |number| {
                        let (node, name, frame) = (&node, &name, frame.clone());
                        async move {
                            let id = (way == "function, frame with an id").then(|| format!("f{number}"));
                            node.bus.store(name, frame, id.as_deref()).await.unwrap();
                        }
                    })
                    .await;
            }
            _ => backend(&redis, &envelope, way.ends_with("id"), EVENTS),
        }
        let cpu = (redis.process() - cpu) * 1e6 / EVENTS as f64;
        if plain == 0.0 {
            plain = cpu;
        }
        println!(
            "  {way:32} {cpu:5.1} µs ({:4.2} ×), {:6.0} a second",
            cpu / plain,
            EVENTS as f64 / start.elapsed().as_secs_f64()
        );
    }
}

/// A backend's calls, 64 on the way at a time.
fn backend(redis: &Redis, envelope: &str, with_id: bool, events: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    let mut answers = vec![0; 1 << 16];
    for batch in 0..events / 64 {
        let mut out = Vec::new();
        for number in 0..64 {
            let json = if with_id {
                format!(r#"{{"id":"e{}",{}"#, batch * 64 + number, &envelope[1..])
            } else {
                envelope.to_owned()
            };
            write!(
                out,
                "*5\r\n$5\r\nFCALL\r\n$16\r\nroomcast_publish\r\n$1\r\n1\r\n$17\r\nroomcast:{{room:0}}\r\n${}\r\n{json}\r\n",
                json.len()
            )
            .unwrap();
        }
        stream.write_all(&out).unwrap();
        // `*2`, `$16`, the offset, `:1`: four lines for each.
        let mut lines = 0;
        while lines < 64 * 4 {
            let length = stream.read(&mut answers).unwrap();
            assert!(
                !answers[..length].starts_with(b"-"),
                "{}",
                String::from_utf8_lossy(&answers[..length])
            );
            lines += answers[..length].iter().filter(|byte| **byte == b'\n').count();
        }
    }
}

/// From a Redis that is back to the first event that arrives by it.
async fn comes_back() {
    println!(
        "\nfrom Redis' return to the first event on another node (away for a second, 1,000 rooms on each of two nodes)"
    );
    let mut redis = Redis::start();
    let mut nodes = [Node::start(&redis).await, Node::start(&redis).await];
    for node in &mut nodes {
        for number in 0..1_000 {
            node.held
                .push(node.cluster.interests().hold(&room(number)).await.unwrap());
        }
    }
    let mut taken = Vec::new();
    for _ in 0..20 {
        let port = redis.port;
        drop(redis);
        for node in &nodes {
            node.bus
                .state()
                .wait_for(|state| *state != BusState::Connected)
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = nodes[1].sockets.used.load(Ordering::Relaxed);
        redis = Redis::start_on(port);
        let start = Instant::now();
        loop {
            let published = nodes[0].cluster.publish(event(&room(7))).await;
            if nodes[1].sockets.used.load(Ordering::Relaxed) > seen {
                break;
            }
            if !published.is_ok_and(|published| published.offset.is_some()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        taken.push(start.elapsed());
    }
    taken.sort();
    println!(
        "  median {:?}, worst of {} {:?}",
        taken[taken.len() / 2],
        taken.len(),
        taken[taken.len() - 1]
    );
}
