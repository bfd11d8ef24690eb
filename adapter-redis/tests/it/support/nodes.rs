//! Clusters in one process.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use adapter_redis::{
    Acks, Admission, Answer, Arrivals, Bus, BusState, Census, Cluster, ClusterConfig, Entering, Envelope,
    Gap, Interest, Interests, Later, Limits, Load, LocalSockets, MemoryHub, NodeId, Publication,
    PublishError, Published, Question, RedisBus, RedisConfig, RoomName, SecretKeys, Target,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::eventually;
use super::recorder::Recorded;

/// Long enough for anything that happens at once on a paused clock, and shorter than a heartbeat.
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// Sockets that are only counted, and remember what they got.
#[derive(Default)]
pub(crate) struct FakeSockets {
    interests: OnceLock<Interests>,
    held: Mutex<Vec<Interest>>,
    /// How many sockets are in a room.
    rooms: Mutex<HashMap<String, usize>>,
    users: Mutex<Vec<String>>,
    /// What the node says that it can admit.
    admission: Mutex<Option<Admission>>,
    seen: Mutex<Vec<Seen>>,
}

/// What the cluster told the sockets of a node.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Event(Publication),
    Gap(Gap),
}

pub(crate) struct TestNode {
    pub(crate) id: NodeId,
    pub(crate) cluster: Cluster,
    pub(crate) sockets: Arc<FakeSockets>,
    pub(crate) recorded: Recorded,
    frozen: Arc<AtomicBool>,
    thawed: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl FakeSockets {
    /// So many sockets are in a room, from the moment that the bus has granted it. None at all listen nevertheless.
    pub(crate) fn put(&self, room: &str, sockets: usize) {
        let name = RoomName::new(room).unwrap();
        match self.interests.get().unwrap().enter(&name) {
            Entering::Now(interest) => self.held.lock().unwrap().push(interest),
            Entering::Later(_) => panic!("use join"),
        }
        self.rooms.lock().unwrap().insert(room.to_owned(), sockets);
    }

    /// As [`FakeSockets::put`], and waits for the bus.
    pub(crate) async fn join(&self, room: &str, sockets: usize) {
        let name = RoomName::new(room).unwrap();
        let interest = self.interests.get().unwrap().hold(&name).await.unwrap();
        self.held.lock().unwrap().push(interest);
        self.rooms.lock().unwrap().insert(room.to_owned(), sockets);
    }

    /// From now on the node says that it can admit this.
    pub(crate) fn admit(&self, admission: Admission) {
        *self.admission.lock().unwrap() = Some(admission);
    }

    /// Where events may have been lost.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let seen = self.seen.lock().unwrap();
        let gap = |seen: &Seen| match seen {
            Seen::Gap(gap) => Some(gap.clone()),
            Seen::Event(_) => None,
        };
        seen.iter().filter_map(gap).collect()
    }

    /// Nobody is in the room any more.
    pub(crate) fn leave(&self, room: &str) {
        self.rooms.lock().unwrap().remove(room);
        self.held
            .lock()
            .unwrap()
            .retain(|interest| interest.room().as_str() != room);
    }

    /// Everything that was delivered, in order.
    pub(crate) fn delivered(&self) -> Vec<Publication> {
        let event = |seen| match seen {
            Seen::Event(publication) => Some(publication),
            Seen::Gap(_) => None,
        };
        self.seen().into_iter().filter_map(event).collect()
    }

    /// Everything that was delivered and where something may be missing, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen_since(0)
    }

    /// As [`FakeSockets::seen`], without the first ones.
    pub(crate) fn seen_since(&self, first: usize) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().skip(first).cloned().collect()
    }

    /// How much that is, by now.
    pub(crate) fn seen_count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn connect(&self, user: &str) {
        self.users.lock().unwrap().push(user.to_owned());
    }

    /// The arguments of everything that was delivered, in order.
    pub(crate) fn got(&self) -> Vec<String> {
        let text = |publication: &Publication| String::from_utf8(publication.args.json().to_vec()).unwrap();
        self.delivered().iter().map(text).collect()
    }
}

impl LocalSockets for FakeSockets {
    fn deliver(&self, publication: &Publication) -> usize {
        self.seen.lock().unwrap().push(Seen::Event(publication.clone()));
        let rooms = self.rooms.lock().unwrap();
        publication
            .rooms
            .iter()
            .filter_map(|room| rooms.get(room.as_str()))
            .sum()
    }

    /// Every socket answers after a hundred milliseconds.
    fn request(&self, publication: &Publication, timeout: Duration) -> Later<Acks> {
        const TIME: Duration = Duration::from_millis(100);
        let sockets = self.deliver(publication);
        Box::pin(async move {
            tokio::time::sleep(TIME.min(timeout)).await;
            if TIME > timeout {
                return Acks {
                    missing: sockets as u64,
                    ..Acks::default()
                };
            }
            Acks {
                acks: vec![r#"["ok"]"#.to_owned(); sockets],
                missing: 0,
            }
        })
    }

    fn answer(&self, question: Question) -> Later<Answer> {
        let count = match question {
            Question::Sockets {
                target: Target::Room(room),
                ..
            } => self
                .rooms
                .lock()
                .unwrap()
                .get(room.as_str())
                .copied()
                .unwrap_or(0),
            _ => 0,
        };
        Box::pin(async move {
            Answer {
                count: count as u64,
                ..Answer::default()
            }
        })
    }

    fn gap(&self, gap: &Gap) {
        self.seen.lock().unwrap().push(Seen::Gap(gap.clone()));
    }

    fn load(&self) -> Load {
        Load {
            connected: 7,
            rooms: self.rooms.lock().unwrap().len() as u64,
            admission: *self.admission.lock().unwrap(),
        }
    }

    fn census(&self) -> Census {
        let users = self.users.lock().unwrap();
        let rooms = self.rooms.lock().unwrap();
        Census::of(
            users.len() as u64,
            users.iter().map(String::as_str),
            rooms.keys().map(String::as_str),
        )
    }
}

impl TestNode {
    pub(crate) fn start(hub: &MemoryHub) -> Self {
        let id = NodeId::random();
        let recorded = Recorded::default();
        let (bus, arrivals) = hub.join(&id);
        Self::on(id, Arc::new(bus), arrivals, recorded)
    }

    pub(crate) fn on(id: NodeId, bus: Arc<dyn Bus>, arrivals: Arrivals, recorded: Recorded) -> Self {
        Self::with_keys(id, bus, arrivals, recorded, SecretKeys::none())
    }

    /// A node on a real Redis, connected unless that takes longer than 20 seconds.
    pub(crate) async fn on_redis(config: RedisConfig) -> Self {
        let node = Self::starting(config);
        node.connected().await;
        node
    }

    /// As [`TestNode::on_redis`], not yet connected.
    pub(crate) fn starting(config: RedisConfig) -> Self {
        let (id, recorded) = (NodeId::random(), Recorded::default());
        let (bus, arrivals) = RedisBus::start(config, &id, recorded.metrics()).unwrap();
        Self::on(id, Arc::new(bus), arrivals, recorded)
    }

    pub(crate) async fn connected(&self) {
        eventually("the node is connected", Duration::from_secs(20), || {
            self.cluster.bus_state() == BusState::Connected
        })
        .await;
    }

    pub(crate) fn with_keys(
        id: NodeId,
        bus: Arc<dyn Bus>,
        arrivals: Arrivals,
        recorded: Recorded,
        keys: SecretKeys,
    ) -> Self {
        let config = ClusterConfig {
            keys,
            ..Self::config()
        };
        Self::with_config(id, bus, arrivals, recorded, config)
    }

    /// What nodes of tests are told.
    pub(crate) fn config() -> ClusterConfig {
        ClusterConfig {
            limits: Limits {
                max_event_bytes: 10_000,
            },
            ..ClusterConfig::default()
        }
    }

    pub(crate) fn with_config(
        id: NodeId,
        bus: Arc<dyn Bus>,
        arrivals: Arrivals,
        recorded: Recorded,
        config: ClusterConfig,
    ) -> Self {
        let sockets = Arc::new(FakeSockets::default());
        sockets.interests.set(bus.interests().clone()).unwrap();
        let (frozen, thawed) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let local = Arc::clone(&sockets) as Arc<dyn LocalSockets>;
        let cluster = Cluster::new(id.clone(), bus, local, config, recorded.metrics());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (cluster, frozen, thaw) = (cluster.clone(), Arc::clone(&frozen), Arc::clone(&thawed));
            async move {
                let mut run = pin!(cluster.run(arrivals));
                loop {
                    let running = std::future::poll_fn(|context| {
                        if frozen.load(Ordering::SeqCst) {
                            return Poll::Ready(None);
                        }
                        run.as_mut().poll(context).map(Some)
                    });
                    if running.await.is_some() {
                        return;
                    }
                    thaw.notified().await;
                }
            }
        });
        Self {
            id,
            cluster,
            sockets,
            recorded,
            frozen,
            thawed,
            tasks,
        }
    }

    /// Publishes; what came back without the offset, which differs each time.
    pub(crate) async fn publish(&self, envelope: Envelope) -> Result<Published, PublishError> {
        self.cluster.publish(envelope).await.map(|published| Published {
            offset: None,
            ..published
        })
    }

    /// What a process does that hangs: it is there and does nothing.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    /// Ends [`TestNode::freeze`].
    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Ordering::SeqCst);
        self.thawed.notify_one();
    }

    /// What a killed process does: nothing any more.
    pub(crate) fn kill(&mut self) {
        self.tasks.abort_all();
    }

    /// Whether [`Cluster::run`] has come to its end.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.tasks.try_join_next().is_some()
    }

    pub(crate) fn knows(&self, nodes: usize) -> bool {
        self.cluster.nodes().len() == nodes
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.recorded
            .value(&format!("roomcast_dropped_total{{reason={reason}}}"))
    }

    pub(crate) fn published(&self, source: &str, outcome: &str) -> u64 {
        self.recorded.value(&format!(
            "roomcast_publish_total{{source={source},outcome={outcome}}}"
        ))
    }
}

/// Nodes that know each other.
pub(crate) async fn cluster<const N: usize>(hub: &MemoryHub) -> [TestNode; N] {
    let nodes = std::array::from_fn(|_| TestNode::start(hub));
    all_know(&nodes, N).await;
    nodes
}

pub(crate) async fn all_know(nodes: &[TestNode], count: usize) {
    eventually("all nodes know each other", SOON, || {
        nodes.iter().all(|node| node.knows(count))
    })
    .await;
}

/// An event for a room, with one argument.
pub(crate) fn event(room: &str, data: &str) -> Envelope {
    envelope(&format!(r#"{{"room":"{room}","event":"e","data":{data}}}"#))
}

pub(crate) fn envelope(json: &str) -> Envelope {
    Envelope::parse(json.as_bytes(), &Limits::default()).unwrap()
}
