//! A node among its peers: publishing, counting, and knowing who is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bus::{Bus, BusError, BusState, Inbound};
use crate::census::{Census, ClusterCensus};
use crate::channel::Channel;
use crate::envelope::{Envelope, Limits};
use crate::inbound::Receiving;
use crate::local::LocalSockets;
use crate::members::Members;
use crate::metrics::{Metrics, Outcome, Source};
use crate::node::NodeId;
use crate::outbox::{Sending, outbox};
use crate::publication::Publication;
use crate::requests::Requests;
use crate::wire::Frame;

/// How many messages are applied before heartbeats and answers get their turn.
const BATCH: usize = 16;

/// How a node keeps in touch with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How often a node says that it lives (default 1 s). At least a millisecond.
    pub heartbeat_interval: Duration,
    /// After how much silence it counts as dead (default 2.5 s: two intervals, and half of one for the way).
    pub heartbeat_timeout: Duration,
    /// How long answers of other nodes are waited for (default 1 s).
    pub answer_timeout: Duration,
    /// Limits for envelopes on the channel for backends.
    pub limits: Limits,
}

/// A node of the cluster. Clones are the same node.
///
/// A publication reaches the sockets of this node only as the frame that comes back from the bus, like those of every
/// other node, so that all see one publisher's events in one order. Only when the bus is known to be away are they
/// reached directly. Nothing that comes from the bus is published again.
///
/// Nothing is delivered, answered or known about other nodes unless [`Cluster::run`] runs.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// Its place in the history; `None` as long as there is none.
    pub offset: Option<String>,
    /// On how many nodes at least one socket was reached. For a publication that nobody counts: how many nodes (and
    /// other subscribers) the bus passed it to.
    pub nodes: u64,
    /// How many sockets were reached, on all nodes that answered; 0 for a publication that nobody counts.
    pub sockets: u64,
    /// False when a node that was known did not answer in time, or when the bus is away and only sockets of this node
    /// could be reached. For a publication that nobody counts: whether the bus took it.
    pub complete: bool,
}

/// Why a publication failed. It reached no socket of this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The bus did not answer: it may have been published or not. Repeat it with the same `id`.
    #[error("the bus did not answer in time; it is unknown whether the event was published")]
    Timeout,
    /// The bus answered that it will not.
    #[error("the bus refused the event: {0}")]
    Refused(String),
}

/// What the halves of a node share.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) local: Arc<dyn LocalSockets>,
    pub(crate) config: ClusterConfig,
    pub(crate) metrics: Metrics,
    pub(crate) reached: Requests<u64>,
    pub(crate) census: Requests<Census>,
    members: Mutex<Members>,
    left: AtomicBool,
}

// === impl Cluster ===

impl Cluster {
    /// A node that knows nobody yet.
    pub fn new(
        id: NodeId,
        bus: Arc<dyn Bus>,
        local: Arc<dyn LocalSockets>,
        config: ClusterConfig,
        metrics: Metrics,
    ) -> Self {
        let members = Mutex::new(Members::new(config.heartbeat_timeout));
        let (reached, census, left) = (Requests::new(), Requests::new(), AtomicBool::new(false));
        Self {
            node: Arc::new(Node {
                id,
                bus,
                local,
                config,
                metrics,
                reached,
                census,
                members,
                left,
            }),
        }
    }

    /// Applies what arrives, answers other nodes and sends heartbeats, all of it in this one future. Ends when
    /// `inbound` is closed.
    ///
    /// Dropping the future stops all of that; what was taken from `inbound` was applied.
    pub async fn run(&self, inbound: mpsc::Receiver<Inbound>) {
        let node = &*self.node;
        let (outbox, sending) = outbox(&node.metrics);
        tokio::select! {
            () = node.receive(inbound, Receiving::new(node, outbox)) => {}
            () = node.send(sending) => {}
            () = node.heartbeats() => {}
            () = node.bury_the_dead() => {}
        }
    }

    /// Publishes to all nodes.
    ///
    /// With [`Envelope::count`] it answers when every known node has said how many sockets it reached, or after
    /// [`ClusterConfig::answer_timeout`] with what was said until then; without it when the bus has taken the frame.
    /// [`Envelope::id`] and [`Envelope::retain`] have no effect yet.
    ///
    /// Dropping the future does not take back what was sent.
    ///
    /// # Errors
    /// When the bus does not answer or refuses. A bus that is away is not an error: the sockets of this node are
    /// reached, and `complete` is false.
    pub async fn publish(&self, envelope: Envelope) -> Result<Published, PublishError> {
        let result = self.node.publish(envelope).await;
        let outcome = match &result {
            Ok((outcome, _)) => *outcome,
            Err(PublishError::Timeout) => Outcome::Timeout,
            Err(PublishError::Refused(_)) => Outcome::Refused,
        };
        self.node.metrics.publish(Source::Api, outcome);
        result.map(|(_, published)| published)
    }

    /// Says goodbye, so that the others do not wait for this node, and sends no heartbeats from then on. The node
    /// still delivers and answers while it runs. That the others hear it is not promised.
    pub async fn leave(&self) {
        self.node.left.store(true, Ordering::Relaxed);
        if let Err(error) = self.node.say(&Frame::Goodbye).await {
            tracing::debug!(%error, "the other nodes do not know that this one leaves");
        }
    }

    /// Asks all known nodes who is connected, and waits for at most [`ClusterConfig::answer_timeout`].
    pub async fn census(&self) -> ClusterCensus {
        self.node.take_census().await
    }

    /// The nodes that are known to live, this one included, sorted.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = self.node.everybody();
        nodes.sort();
        nodes
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.node.id
    }

    /// How the link to the bus is now.
    #[must_use]
    pub fn bus_state(&self) -> BusState {
        *self.node.bus.state().borrow()
    }

    /// How the link to the bus is, and a signal for each change.
    #[must_use]
    pub fn watch_bus(&self) -> watch::Receiver<BusState> {
        self.node.bus.state()
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(1),
            heartbeat_timeout: Duration::from_millis(2_500),
            answer_timeout: Duration::from_secs(1),
            limits: Limits::default(),
        }
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(crate) fn goodbye(&self, peer: &NodeId) {
        if self.members().remove(peer) {
            tracing::info!(node.id = %peer, "a node left");
        }
        self.reached.left(peer);
        self.census.left(peer);
    }

    fn peers(&self) -> Vec<NodeId> {
        self.members().alive().cloned().collect()
    }

    fn everybody(&self) -> Vec<NodeId> {
        let mut nodes = self.peers();
        nodes.push(self.id.clone());
        nodes
    }

    async fn say(&self, frame: &Frame) -> Result<u64, BusError> {
        self.publish_to_nodes(frame.encode(&self.id)).await
    }

    async fn publish_to_nodes(&self, payload: Bytes) -> Result<u64, BusError> {
        self.bus.publish(&Channel::Nodes, payload).await
    }

    async fn publish(&self, envelope: Envelope) -> Result<(Outcome, Published), PublishError> {
        let pending = envelope.count.then(|| self.reached.open(self.everybody()));
        let request = pending.as_ref().map(|pending| pending.number());
        let frame = Frame::Publication {
            request,
            publication: Publication::new(envelope, unix_ms()),
        };
        let receivers = match self.say(&frame).await {
            Ok(receivers) => receivers,
            Err(BusError::Disconnected) => return Ok((Outcome::Local, self.deliver_here(&frame))),
            Err(BusError::Timeout) => return Err(PublishError::Timeout),
            Err(BusError::Refused(why)) => return Err(PublishError::Refused(why)),
        };
        let Some(pending) = pending else {
            let published = Published {
                offset: None,
                nodes: receivers,
                sockets: 0,
                complete: true,
            };
            return Ok((Outcome::Uncounted, published));
        };
        let got = pending.wait(self.config.answer_timeout).await;
        let published = Published {
            offset: None,
            nodes: got.answers.values().filter(|sockets| **sockets > 0).count() as u64,
            sockets: got.answers.values().sum(),
            complete: got.missing.is_empty(),
        };
        let outcome = match (published.sockets, published.complete) {
            (1.., _) => Outcome::Reached,
            (0, false) => Outcome::Uncounted,
            (0, true) => {
                self.metrics.unreached();
                if let Frame::Publication { publication, .. } = &frame {
                    tracing::debug!(rooms = ?publication.rooms, "a publication reached nobody");
                }
                Outcome::Unreached
            }
        };
        Ok((outcome, published))
    }

    /// Without a bus there is nobody else, and nothing in whose order this would have to be.
    fn deliver_here(&self, frame: &Frame) -> Published {
        let Frame::Publication { publication, .. } = frame else {
            return Published {
                offset: None,
                nodes: 0,
                sockets: 0,
                complete: false,
            };
        };
        let sockets = self.local.deliver(publication) as u64;
        Published {
            offset: None,
            nodes: u64::from(sockets > 0),
            sockets,
            complete: false,
        }
    }

    async fn take_census(&self) -> ClusterCensus {
        let peers = self.peers();
        let pending = self.census.open(peers.iter().cloned());
        let asked = self
            .say(&Frame::CensusQuestion {
                request: pending.number(),
            })
            .await;
        let own = self.local.census();
        if let Err(error) = asked {
            tracing::debug!(%error, "the other nodes were not asked who is connected");
            return ClusterCensus::of([own], false, peers);
        }
        let got = pending.wait(self.config.answer_timeout).await;
        let complete = got.missing.is_empty();
        ClusterCensus::of(got.answers.into_values().chain([own]), complete, got.missing)
    }

    async fn receive(&self, mut inbound: mpsc::Receiver<Inbound>, mut receiving: Receiving<'_>) {
        loop {
            for _ in 0..BATCH {
                let Some(message) = inbound.recv().await else {
                    return;
                };
                receiving.apply(&message);
            }
            // A queue that never runs empty must not keep heartbeats from going out.
            yield_now().await;
        }
    }

    async fn send(&self, sending: Sending) {
        sending.run(&*self.bus).await;
    }

    /// One heartbeat each interval, and one at once when the link comes up. That one asks for answers: the others may
    /// not have noticed that this node was away, while it forgot them.
    async fn heartbeats(&self) {
        let mut state = self.bus.state();
        let mut ticks = interval(self.config.heartbeat_interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hello = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = state.changed() => {}
            }
            let connected = *state.borrow_and_update() == BusState::Connected;
            self.metrics.connected(connected);
            if !connected {
                hello = true;
            } else if !self.has_left() {
                match self.say(&Frame::Heartbeat { hello }).await {
                    Ok(_) => hello = false,
                    Err(error) => tracing::debug!(%error, "a heartbeat was not sent"),
                }
            }
        }
    }

    async fn bury_the_dead(&self) {
        let mut ticks = interval((self.config.heartbeat_interval / 4).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let dead = self.members().expire(Instant::now());
            for peer in dead {
                tracing::warn!(node.id = %peer, "a node was not heard of for too long");
                self.reached.died(&peer);
                self.census.died(&peer);
            }
        }
    }
}

/// Milliseconds since 1970 by the clock of this machine.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
