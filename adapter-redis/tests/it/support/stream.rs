//! A steady stream of numbered events through a cluster on a real Redis, which goes on while a test breaks something.
//! What arrived of it is judged afterwards (`verdict.rs`).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use adapter_redis::{Cluster, RedisConfig};
use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::nodes::{FakeSockets, Seen, TestNode};
use super::numbered::{Accepted, Log, PACE, publish_one, room, tick};
use super::redis_server::RedisServer;
use super::verdict::{Counts, Verdict};
use super::{backend::Said, eventually};

/// How many rooms there are. A node is in half of them, and another one in half of these.
pub(crate) const ROOMS: usize = 20;

/// So many more rooms are joined and left all the while, for this long each.
const PASSING: usize = 10;
const STAY: Duration = Duration::from_millis(40);

/// Publishes from outside of the cluster.
pub(crate) const BACKEND: usize = 9;

const NODES: usize = 3;

const LIMIT: Duration = Duration::from_secs(20);

/// Three nodes, and a publisher on each of them.
pub(crate) struct Stream {
    pub(crate) members: Vec<Member>,
    /// What came from outside.
    outside: Arc<Log>,
}

/// A node on a runtime of its own, that can be frozen as a process can.
pub(crate) struct Member {
    pub(crate) node: TestNode,
    number: usize,
    rooms: Range<usize>,
    log: Arc<Log>,
    passing: Passing,
    working: JoinSet<()>,
    runtime: Option<Runtime>,
}

/// What is in one more room at a time, publishes there at once, and leaves.
#[derive(Clone)]
struct Passing {
    cluster: Cluster,
    sockets: Arc<FakeSockets>,
    publisher: usize,
    log: Arc<Log>,
    stays: Arc<Mutex<Vec<Stay>>>,
}

/// Thaws what it stands for when it is dropped.
pub(crate) struct Frozen {
    _thaw: mpsc::Sender<()>,
}

/// For how long a node was in a room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) room: usize,
    /// When it was told that it is in.
    pub(crate) joined: u64,
    /// How much it had seen then, and when it left.
    pub(crate) from: usize,
    pub(crate) until: usize,
}

/// On which node somebody publishes who is not outside.
pub(crate) fn node_of(publisher: usize) -> usize {
    publisher % NODES
}

/// Quick to doubt and to come back, so that faults may be short.
pub(crate) fn nervous(server: &RedisServer) -> RedisConfig {
    RedisConfig {
        command_timeout: Duration::from_millis(500),
        probe_interval: Duration::from_millis(500),
        unsubscribe_delay: Duration::from_millis(50),
        ..server.config()
    }
}

impl Stream {
    /// Nodes that are connected and in their rooms, each configured as said. Nobody publishes yet.
    pub(crate) async fn start(configs: [RedisConfig; NODES]) -> Self {
        let mut members = Vec::new();
        for (number, config) in configs.into_iter().enumerate() {
            members.push(Member::start(number, config).await);
        }
        eventually("all know each other", LIMIT, || {
            members.iter().all(|member| member.node.knows(NODES))
        })
        .await;
        Self {
            members,
            outside: Arc::default(),
        }
    }

    /// Begins to publish, to join and to leave.
    pub(crate) fn flow(&mut self) {
        for member in &mut self.members {
            let runtime = member.runtime.as_ref().unwrap();
            let publishing = publish_steadily(
                member.node.cluster.clone(),
                member.number,
                Arc::clone(&member.log),
            );
            let passing = member.passing.clone().run();
            member.working.spawn_on(publishing, runtime.handle());
            member.working.spawn_on(passing, runtime.handle());
        }
    }

    /// Publishes so many events to one room in one write, from outside of the cluster.
    pub(crate) fn flood(&self, server: &RedisServer, room_number: usize, count: u64, padding: usize) {
        let began = tick();
        let mut sent = self.outside.sent.lock().unwrap();
        let first = sent.published + 1;
        sent.published += count;
        let name = room(room_number);
        let padding = "x".repeat(padding);
        let events = (first..first + count).map(|number| {
            let data = format!(r#"{{"p":{BACKEND},"n":{number},"padding":"{padding}"}}"#);
            (
                name.as_str(),
                format!(r#"{{"event":"e","data":{data}}}"#).into_bytes(),
            )
        });
        let said: Vec<Said> = server.backend().publish_all(events);
        let accepted = (first..).zip(said).map(|(number, said)| Accepted {
            room: room_number,
            number,
            stamp: said.accepted().unwrap_or_else(|| panic!("{said:?}")).0,
            began,
        });
        sent.accepted.extend(accepted);
    }

    /// After the fault: waits until all nodes are well, and lets the publishers end.
    pub(crate) async fn settle(&mut self) {
        for member in &mut self.members {
            member.node.connected().await;
            member.log.stopped.store(true, Ordering::SeqCst);
            member.passing.log.stopped.store(true, Ordering::SeqCst);
            while member.working.join_next().await.is_some() {}
        }
        for member in &self.members {
            member.settle().await;
        }
    }

    /// So many events of each node, of which nothing may be missing any more.
    pub(crate) async fn more(&self, count: usize) {
        let before: Vec<_> = self.members.iter().map(|m| m.node.sockets.seen_count()).collect();
        let sent = self.members.iter().map(|member| async move {
            let mut taken = Vec::new();
            for turn in 0..count {
                let to = turn % ROOMS;
                let stamp = publish_one(&member.node.cluster, member.number, &member.log, to).await;
                taken.push((to, stamp.expect("there is a link")));
            }
            taken
        });
        let taken: Vec<_> = join_all(sent).await.into_iter().flatten().collect();
        for (member, before) in self.members.iter().zip(before) {
            let expected: HashSet<_> = taken
                .iter()
                .filter(|(to, _)| member.rooms.contains(to))
                .map(|(_, stamp)| *stamp)
                .collect();
            eventually("all further events are delivered", LIMIT, || {
                expected.is_subset(&member.stamps_since(before))
            })
            .await;
        }
    }

    /// Judges what each node saw, and says in one line what there was. `forgetful`: Redis forgot ids meanwhile, so that
    /// an event may come twice in a row.
    pub(crate) fn judge(&self, fault: &str, forgetful: bool) -> Counts {
        let mut logs: HashMap<_, _> = self
            .members
            .iter()
            .flat_map(
                |Member {
                     number, log, passing, ..
                 }| { [(*number, log), (passing.publisher, &passing.log)] },
            )
            .map(|(publisher, log)| (publisher, Arc::clone(log)))
            .collect();
        logs.insert(BACKEND, Arc::clone(&self.outside));
        let mut verdict = Verdict::new(logs, forgetful);
        for member in &self.members {
            let always = member.rooms.clone().map(|room| Stay {
                room,
                joined: 0,
                from: 0,
                until: usize::MAX,
            });
            let passing = member.passing.stays.lock().unwrap();
            let stays: Vec<_> = always.chain(passing.iter().copied()).collect();
            verdict.judge(member.number, &stays, &member.node.sockets.seen());
        }
        let counts = verdict.counts();
        #[allow(clippy::print_stderr)]
        {
            eprintln!("{fault}: {counts}");
        }
        counts
    }
}

impl Member {
    async fn start(number: usize, config: RedisConfig) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let node = {
            let _here = runtime.enter();
            TestNode::starting(config)
        };
        node.connected().await;
        let first = number * ROOMS / 4;
        let rooms = first..first + ROOMS / 2;
        for number in rooms.clone() {
            node.sockets.join(&room(number), 1).await;
        }
        let passing = Passing {
            cluster: node.cluster.clone(),
            sockets: Arc::clone(&node.sockets),
            publisher: NODES + number,
            log: Arc::default(),
            stays: Arc::default(),
        };
        Self {
            node,
            number,
            rooms,
            log: Arc::default(),
            passing,
            working: JoinSet::new(),
            runtime: Some(runtime),
        }
    }

    /// Stops everything on this node, as SIGSTOP does with a process.
    pub(crate) fn freeze(&self) -> Frozen {
        let (thaw, thawed) = mpsc::channel::<()>();
        self.runtime.as_ref().unwrap().handle().spawn(async move {
            // Holds the one thread that there is.
            let _ = thawed.recv();
        });
        Frozen { _thaw: thaw }
    }

    /// Publishes to itself until that comes back: the link is not only believed to be good.
    async fn settle(&self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < deadline, "nothing comes back to {}", self.number);
            self.node.connected().await;
            let before = self.node.sockets.seen_count();
            let sent = publish_one(&self.node.cluster, self.number, &self.log, self.rooms.start).await;
            let Some(stamp) = sent else { continue };
            let patience = Instant::now() + Duration::from_secs(2);
            while Instant::now() < patience {
                if self.stamps_since(before).contains(&stamp) {
                    return;
                }
                sleep(Duration::from_millis(2)).await;
            }
        }
    }

    fn stamps_since(&self, first: usize) -> HashSet<u64> {
        let stamp = |seen| match seen {
            Seen::Event(publication) => publication.stamp,
            Seen::Gap(_) => None,
        };
        self.node
            .sockets
            .seen_since(first)
            .into_iter()
            .filter_map(stamp)
            .collect()
    }
}

impl Passing {
    async fn run(self) {
        let (sockets, mut turn) = (&self.sockets, 0);
        while !self.log.stopped.load(Ordering::SeqCst) {
            let number = ROOMS + turn % PASSING;
            turn += 1;
            sockets.join(&room(number), 1).await;
            let (from, joined) = (sockets.seen_count(), tick());
            publish_one(&self.cluster, self.publisher, &self.log, number).await;
            sleep(STAY).await;
            self.stays.lock().unwrap().push(Stay {
                room: number,
                joined,
                from,
                until: sockets.seen_count(),
            });
            sockets.leave(&room(number));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed here.
            runtime.shutdown_background();
        }
    }
}

async fn publish_steadily(cluster: Cluster, publisher: usize, log: Arc<Log>) {
    let mut to = publisher;
    while !log.stopped.load(Ordering::SeqCst) {
        to = (to + 1) % (ROOMS + PASSING);
        publish_one(&cluster, publisher, &log, to).await;
        sleep(PACE).await;
    }
}
