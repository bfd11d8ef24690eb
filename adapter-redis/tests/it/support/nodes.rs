//! Clusters in one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_redis::{
    Bus, Census, Cluster, ClusterConfig, Envelope, Limits, LocalSockets, MemoryHub, NodeId, Publication,
};
use tokio::task::JoinSet;

use super::eventually;
use super::recorder::Recorded;

/// Long enough for anything that happens at once on a paused clock, and shorter than a heartbeat.
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// Sockets that are only counted, and remember what they got.
#[derive(Default)]
pub(crate) struct FakeSockets {
    /// How many sockets are in a room.
    rooms: Mutex<HashMap<String, usize>>,
    users: Mutex<Vec<String>>,
    delivered: Mutex<Vec<Publication>>,
}

pub(crate) struct TestNode {
    pub(crate) id: NodeId,
    pub(crate) cluster: Cluster,
    pub(crate) sockets: Arc<FakeSockets>,
    pub(crate) recorded: Recorded,
    tasks: JoinSet<()>,
}

impl FakeSockets {
    pub(crate) fn put(&self, room: &str, sockets: usize) {
        self.rooms.lock().unwrap().insert(room.to_owned(), sockets);
    }

    pub(crate) fn connect(&self, user: &str) {
        self.users.lock().unwrap().push(user.to_owned());
    }

    /// The arguments of everything that was delivered, in order.
    pub(crate) fn got(&self) -> Vec<String> {
        let text = |publication: &Publication| String::from_utf8(publication.args.json().to_vec()).unwrap();
        self.delivered.lock().unwrap().iter().map(text).collect()
    }
}

impl LocalSockets for FakeSockets {
    fn deliver(&self, publication: &Publication) -> usize {
        self.delivered.lock().unwrap().push(publication.clone());
        let rooms = self.rooms.lock().unwrap();
        publication
            .rooms
            .iter()
            .filter_map(|room| rooms.get(room.as_str()))
            .sum()
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
        let (bus, inbound) = hub.join(&id);
        Self::on(id, Arc::new(bus), inbound, recorded)
    }

    pub(crate) fn on(
        id: NodeId,
        bus: Arc<dyn Bus>,
        inbound: tokio::sync::mpsc::Receiver<adapter_redis::Inbound>,
        recorded: Recorded,
    ) -> Self {
        let sockets = Arc::new(FakeSockets::default());
        let config = ClusterConfig {
            limits: Limits {
                max_event_bytes: 10_000,
            },
            ..ClusterConfig::default()
        };
        let local = Arc::clone(&sockets) as Arc<dyn LocalSockets>;
        let cluster = Cluster::new(id.clone(), bus, local, config, recorded.metrics());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let cluster = cluster.clone();
            async move { cluster.run(inbound).await }
        });
        Self {
            id,
            cluster,
            sockets,
            recorded,
            tasks,
        }
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
