//! A node among its peers: publishing, counting, and knowing who is there.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::yield_now;

use crate::ask::Answers;
use crate::bus::{Bus, BusError, BusState};
use crate::census::{Census, ClusterCensus};
use crate::channel::Channel;
use crate::envelope::{Envelope, Limits};
use crate::foreign::{Translate, Untranslated};
use crate::heartbeat::NodeInfo;
use crate::inbound::Receiving;
use crate::intake::Arrivals;
use crate::interest::Interests;
use crate::local::LocalSockets;
use crate::members::Members;
use crate::metrics::{Metrics, Outcome, Source};
use crate::node::NodeId;
use crate::outbox::{ANSWERS, Sending, outbox};
use crate::question::{Acks, Answer, Question};
use crate::reach::Reach;
use crate::relay::{Phase, Relay, Relayed, Relays};
use crate::requests::Requests;
use crate::tap::Tap;
use crate::wire::{Frame, SecretKeys};

/// How many messages are applied before heartbeats and answers get their turn.
const BATCH: usize = 16;

/// How a node keeps in touch with the others.
#[derive(Clone)]
pub struct ClusterConfig {
    /// How often a node says that it lives (default 1 s). At least a millisecond.
    pub heartbeat_interval: Duration,
    /// After how much silence it counts as dead (default 2.5 s: two intervals, and half of one for the way).
    pub heartbeat_timeout: Duration,
    /// How long answers of other nodes are waited for (default 1 s).
    pub answer_timeout: Duration,
    /// Limits for envelopes that come from Redis.
    pub limits: Limits,
    /// What nodes sign their frames with (default: nothing).
    pub keys: SecretKeys,
    /// What makes envelopes of messages of foreign channels
    /// ([`RedisConfig::channels`](crate::RedisConfig::channels)). Default: nobody, and they are dropped and counted.
    pub translator: Option<Arc<dyn Translate>>,
    /// Where what passes can be looked at (default: nowhere).
    pub tap: Tap,
}

/// A node of the cluster. Clones are the same node.
///
/// A publication reaches the sockets of this node only as the frame that comes back from the bus, like those of every
/// other node, so that all see one publisher's events in one order. When the bus is known to be away, it takes its place
/// behind what came before; what is volatile and has no id does not wait for the bus at all. Nothing that comes from the
/// bus is published again.
///
/// Nothing is delivered, answered or known about other nodes unless [`Cluster::run`] runs.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// Its place among everything that was published, of several rooms the last; `None` without a link, for what is
    /// volatile and has no id, and while a node of version 1 is there.
    pub offset: Option<String>,
    /// On how many nodes at least one socket was reached. For a publication that nobody counts: how many nodes (and
    /// other subscribers) the bus passed it to.
    pub nodes: u64,
    /// How many sockets were reached, on all nodes that answered; 0 for a publication that nobody counts.
    pub sockets: u64,
    /// False when one that the bus passed it to did not answer in time, or when the bus is away and only sockets of this
    /// node could be reached. For a publication that nobody counts: whether the bus took it.
    pub complete: bool,
    /// It was published before, under the same id: this is what is known of the first time, and nobody was counted.
    pub repeated: bool,
}

/// What came back for an event that asked for acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The acknowledgements' arguments, each the text of a JSON array.
    pub acks: Vec<String>,
    /// How many sockets were reached and did not answer in time.
    pub missing: u64,
    /// False when a node that got the event did not answer in time, or the bus is away.
    pub complete: bool,
}

/// Why a publication failed. Of several rooms some may have it.
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
    pub(crate) reached: Reach<u64>,
    pub(crate) acks: Reach<Acks>,
    pub(crate) census: Requests<Census>,
    pub(crate) answers: Requests<Answer>,
    pub(crate) relays: Relays,
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
        let (reached, acks) = (Reach::new(id.clone()), Reach::new(id.clone()));
        let (census, answers, left) = (Requests::new(), Requests::new(), AtomicBool::new(false));
        Self {
            node: Arc::new(Node {
                id,
                bus,
                local,
                config,
                metrics,
                reached,
                acks,
                census,
                answers,
                relays: Relays::new(),
                members,
                left,
            }),
        }
    }

    /// Applies what arrives, answers other nodes and sends heartbeats, all of it in this one future. Ends when
    /// the bus is gone.
    ///
    /// Dropping the future stops all of that; what was taken from `arrivals` was applied.
    pub async fn run(&self, arrivals: Arrivals) {
        let node = &*self.node;
        let (outbox, answers) = outbox(&ANSWERS, &node.metrics);
        let relays = node.open_relays();
        tokio::select! {
            () = node.receive(arrivals, Receiving::new(node, outbox)) => {}
            () = node.send_queued(answers) => {}
            () = node.send_queued(relays) => {}
            () = node.end_relays() => {}
            () = node.heartbeats() => {}
            () = node.bury_the_dead() => {}
        }
    }

    /// Publishes to the nodes that have members of the rooms.
    ///
    /// With [`Envelope::count`] it answers when every node that the bus passed it to has said how many sockets it
    /// reached, or after [`ClusterConfig::answer_timeout`] with what was said until then; without it when the bus has
    /// taken the frames. [`Envelope::retain`] has no effect yet.
    ///
    /// A volatile event without an id reaches the sockets of this node first, and those of others if nothing fails.
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

    /// Publishes what has to be kept until it is published: by the bus, or not at all, and nobody counts. Whether it was;
    /// if not, it may be all the same, and is to be published again with the same [`Envelope::id`].
    pub async fn publish_from(&self, source: Source, envelope: Envelope) -> bool {
        let outcome = self.node.publish_by_bus(source, envelope).await;
        self.node.metrics.publish(source, outcome);
        matches!(outcome, Outcome::Uncounted | Outcome::Repeated)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.node.metrics
    }

    pub(crate) fn tap(&self) -> &Tap {
        &self.node.config.tap
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.node.config.limits
    }

    /// Says what this node says about itself now, and not only with the next heartbeat. That the others hear it is not
    /// promised.
    pub async fn tell(&self) {
        if !self.node.has_left()
            && let Err(error) = self.node.say(&self.node.heartbeat(false)).await
        {
            tracing::debug!(%error, "a heartbeat was not sent");
        }
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

    /// Asks every known node, this one included, and waits for at most [`ClusterConfig::answer_timeout`].
    pub async fn ask(&self, question: Question) -> Answers {
        self.node.ask(question).await
    }

    /// Publishes an event and collects what the sockets that it reaches answer within `timeout`.
    ///
    /// # Errors
    /// As for [`Cluster::publish`].
    pub async fn request(&self, envelope: Envelope, timeout: Duration) -> Result<Requested, PublishError> {
        self.node.request(envelope, timeout).await
    }

    /// Gives an event of a client to the sockets of this node at once, and queues it for those of other nodes. Never
    /// waits, and nobody counts.
    ///
    /// Relays to one room arrive elsewhere in the order of the calls. They may overtake publications, and be overtaken by
    /// them. What the bus does not take is lost to the others and counted: `relay_queue_full` when too much waits
    /// already, `relay_unsent` without a link, when Redis refuses, and while [`Cluster::run`] does not run.
    ///
    /// What [`Phase::Begins`] ends on this node by [`Phase::Ends`] or when it is due. A node that had somebody in one of
    /// the rooms ends it when it hears of that; by itself, a second after it was due; and when this node is declared dead
    /// or says goodbye. That is once, unless an end was on its way for more than ten seconds longer. Each node
    /// keeps 65,536 of its own and as many of others, and not more than 64 MiB of each: an event beyond that is delivered,
    /// but does not end by itself, which is counted (`relay_endings_full`). [`Phase::Ends`] is delivered even if nothing
    /// began.
    pub fn relay(&self, relay: Relay, phase: Phase) -> Relayed {
        self.node.relay(relay, phase)
    }

    /// How many things that relays began have not ended: of this node with a time of their own, and of others, with those
    /// that ended by themselves in the last ten seconds.
    #[must_use]
    pub fn begun_relays(&self) -> (usize, usize) {
        self.node.relays.len()
    }

    /// The rooms that this node wants to hear of.
    #[must_use]
    pub fn interests(&self) -> &Interests {
        self.node.bus.interests()
    }

    /// The nodes that are known to live, this one included, sorted by id.
    #[must_use]
    pub fn node_infos(&self) -> Vec<NodeInfo> {
        self.node.infos()
    }

    /// The nodes that are known to live, this one included, sorted.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = self.node.peers();
        nodes.push(self.node.id.clone());
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
            keys: SecretKeys::none(),
            translator: None,
            tap: Tap::default(),
        }
    }
}

impl ClusterConfig {
    /// The envelopes of one message of a foreign channel, each or what is wrong with it. It may be as long as an envelope.
    pub(crate) fn translate(&self, channel: &str, payload: &[u8]) -> Vec<Result<Envelope, Untranslated>> {
        let most = self.limits.max_event_bytes;
        let untranslated = |reason| vec![Err(Untranslated { reason })];
        match &self.translator {
            _ if most > 0 && payload.len() > most => untranslated("too_large"),
            Some(translator) => translator.translate(channel, payload),
            None => untranslated("no_translator"),
        }
    }
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("heartbeat_interval", &self.heartbeat_interval)
            .field("heartbeat_timeout", &self.heartbeat_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("limits", &self.limits)
            .field("keys", &self.keys)
            .field("translator", &self.translator.is_some())
            .field("tap", &self.tap)
            .finish()
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
        self.census.left(peer);
        self.answers.left(peer);
        self.relays.gone(peer);
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.members().alive().cloned().collect()
    }

    pub(crate) async fn say(&self, frame: &Frame) -> Result<u64, BusError> {
        let payload = self.seal(&Channel::Nodes, frame.encode(&self.id));
        self.bus.publish(&Channel::Nodes, payload).await
    }

    async fn receive(&self, mut arrivals: Arrivals, mut receiving: Receiving<'_>) {
        loop {
            for _ in 0..BATCH {
                tokio::select! {
                    arrival = arrivals.recv() => match arrival {
                        Some(arrival) => receiving.apply(arrival),
                        None => return,
                    },
                    () = receiving.served() => {}
                }
            }
            // A queue that never runs empty must not keep heartbeats from going out.
            yield_now().await;
        }
    }

    async fn send_queued(&self, sending: Sending) {
        sending.run(&*self.bus).await;
    }
}

/// Milliseconds since 1970 by the clock of this machine.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
