//! What passes a node, for whoever looks just then. Mostly nobody does, and then it costs a look at a flag.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::cluster::{Cluster, Node};
use crate::metrics::{Outcome, Source};
use crate::node::NodeId;
use crate::publication::Publication;
use crate::room::RoomName;

/// Sees what passes.
///
/// Called where it happens, also from the receive loop and while locks are held: an implementation must not block, and
/// must not publish or relay.
pub trait Watch: Send + Sync + 'static {
    /// This passes now. Not called while nobody looks.
    fn saw(&self, passage: &Passage<'_>);
}

/// The place where a node's traffic can be looked at. The default is closed for ever.
#[derive(Clone, Default)]
pub struct Tap(Option<Arc<Opening>>);

struct Opening {
    is_open: Arc<AtomicBool>,
    watch: Box<dyn Watch>,
}

/// Something that passes.
#[derive(Debug)]
pub enum Passage<'a> {
    /// This node has published it, or has failed to.
    Published {
        /// By which way it came in.
        source: &'static str,
        /// What was published.
        publication: &'a Publication,
        /// Where it has been since.
        journey: &'a Journey,
    },
    /// It was given to the sockets of this node.
    Delivered {
        /// By which way it came.
        way: Way<'a>,
        /// What was delivered.
        publication: &'a Publication,
        /// When it was taken up here.
        arrived: SystemTime,
        /// How long it took until it was in the queues of the sockets.
        took: Duration,
        /// How many sockets it was queued for; `None` when they are asked for acknowledgements, and nobody knows yet.
        sockets: Option<usize>,
    },
    /// It goes no further.
    Lost {
        /// By which way it came.
        way: Way<'a>,
        /// The code of metrics and answers.
        reason: &'static str,
        /// What was lost, where that could be read.
        publication: Option<&'a Publication>,
        /// The room that it was for, where only that is known.
        room: Option<&'a RoomName>,
        /// Bytes of it, where only that is known.
        bytes: Option<usize>,
    },
}

/// By which way something came.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The label of metrics; `node` for what another node, or this one, has published.
    pub source: &'static str,
    /// The node that published it, where one did.
    pub from: Option<&'a NodeId>,
}

/// Where a publication has been, as far as its publisher knows.
#[derive(Debug, Clone)]
pub struct Journey {
    /// When it came in.
    pub began: SystemTime,
    started: Instant,
    /// When the bus had taken it, or had not, since then.
    pub bus: Option<Duration>,
    /// Its place among everything that was published, in each of its rooms.
    pub stamps: Vec<u64>,
    /// To how many subscribers the bus passed it.
    pub subscribers: u64,
    /// What those answered that were counted: to how many sockets they gave it.
    pub nodes: Vec<(NodeId, u64)>,
    /// Whether all did.
    pub is_complete: bool,
    /// What became of it: a label of `roomcast_publish_total`.
    pub outcome: &'static str,
    /// When that was known, since it began.
    pub took: Duration,
}

// === impl Tap ===

impl Tap {
    /// A tap that is open while the flag is set. Setting it late or clearing it late shows a little less or more.
    #[must_use]
    pub fn new(is_open: Arc<AtomicBool>, watch: Box<dyn Watch>) -> Self {
        Self(Some(Arc::new(Opening { is_open, watch })))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|opening| opening.is_open.load(Ordering::Relaxed))
    }

    pub(crate) fn show(&self, passage: &Passage<'_>) {
        if let Some(opening) = self.0.as_ref().filter(|_| self.is_open()) {
            opening.watch.saw(passage);
        }
    }

    /// The journey of what is published now, if somebody looks.
    pub(crate) fn journey(&self) -> Option<Journey> {
        self.is_open().then(|| Journey {
            began: SystemTime::now(),
            started: Instant::now(),
            bus: None,
            stamps: Vec::new(),
            subscribers: 0,
            nodes: Vec::new(),
            is_complete: false,
            outcome: "",
            took: Duration::ZERO,
        })
    }

    pub(crate) fn published(
        &self,
        source: Source,
        publication: &Publication,
        mut journey: Journey,
        outcome: Outcome,
    ) {
        journey.took = journey.started.elapsed();
        journey.outcome = outcome.label();
        self.show(&Passage::Published {
            source: source.label(),
            publication,
            journey: &journey,
        });
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tap").field(&self.is_open()).finish()
    }
}

// === impl Journey ===

impl Journey {
    /// The bus has answered.
    pub(crate) fn by_bus(&mut self, stamps: Vec<u64>, subscribers: u64) {
        self.bus = Some(self.started.elapsed());
        self.stamps = stamps;
        self.subscribers = subscribers;
    }

    /// A node has answered: once for each frame, of which there may be several.
    pub(crate) fn reached(&mut self, node: &NodeId, sockets: u64) {
        match self.nodes.iter_mut().find(|(known, _)| known == node) {
            Some((_, all)) => *all += sockets,
            None => self.nodes.push((node.clone(), sockets)),
        }
    }
}

// === impl Way ===

impl<'a> Way<'a> {
    /// From outside, to every node.
    pub(crate) fn of(source: Source) -> Self {
        Self {
            source: source.label(),
            from: None,
        }
    }

    /// In a frame of this node.
    pub(crate) fn frame(from: &'a NodeId) -> Self {
        Self {
            source: "node",
            from: Some(from),
        }
    }

    /// By this node, before anybody else was told.
    pub(crate) fn here(source: Source, node: &'a NodeId) -> Self {
        Self {
            source: source.label(),
            from: Some(node),
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Shows that a message was refused before an envelope could be made of it.
    pub fn refused(&self, source: Source, reason: &'static str, bytes: usize) {
        self.tap().show(&Passage::Lost {
            way: Way::of(source),
            reason,
            publication: None,
            room: None,
            bytes: Some(bytes),
        });
    }
}

// === impl Node ===

impl Node {
    /// Gives it to the sockets of this node.
    pub(crate) fn deliver(&self, publication: &Publication, way: Way<'_>) -> usize {
        let tap = &self.config.tap;
        if !tap.is_open() {
            return self.local.deliver(publication);
        }
        let (arrived, began) = (SystemTime::now(), Instant::now());
        let sockets = self.local.deliver(publication);
        tap.show(&Passage::Delivered {
            way,
            publication,
            arrived,
            took: began.elapsed(),
            sockets: Some(sockets),
        });
        sockets
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Counting(Arc<AtomicUsize>);

    impl Watch for Counting {
        fn saw(&self, _: &Passage<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn nothing_is_shown_while_nobody_looks() {
        let (is_open, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tap = Tap::new(is_open.clone(), Box::new(Counting(seen.clone())));
        let lost = Passage::Lost {
            way: Way::of(Source::Channel),
            reason: "not_json",
            publication: None,
            room: None,
            bytes: Some(1),
        };
        for (open, expect) in [(false, 0), (true, 1), (false, 1)] {
            is_open.store(open, Ordering::Relaxed);
            tap.show(&lost);
            assert_eq!(seen.load(Ordering::Relaxed), expect);
            assert_eq!(tap.journey().is_some(), open);
        }
        Tap::default().show(&lost);
        assert!(!Tap::default().is_open());
    }
}
