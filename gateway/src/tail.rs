//! What passes this node, line by line, for whoever looks just then: `GET /api/v1/tail`.
//!
//! While nobody looks, each place costs one look at a flag. While somebody does, what is not asked for is not formatted,
//! and nobody waits for who looks: lines that find no room are lost to that one alone, who is told how many.

mod counts;
mod filter;
mod queue;
pub(crate) mod sight;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use adapter_redis::{NodeId, Passage, Tap, Watch};
use bytes::Bytes;
use serde_json::json;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use self::queue::{Queue, Taken};
pub use self::{
    counts::Counts,
    filter::{Filter, Whom},
    sight::{Audience, Hop, Kind, MAX_DATA, Sight},
};
use crate::{
    engine::{SocketId, Sockets},
    population::Population,
};

/// Those who may look at one node at the same time.
pub const MAX_TAILS: usize = 8;

/// How long a stopping node waits until all who look were told.
const FINISHING: Duration = Duration::from_secs(1);

/// All who look at this node. Clones are the same.
#[derive(Clone)]
pub struct Tails {
    is_open: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    sockets: Sockets,
    population: Arc<Population>,
    tails: RwLock<Vec<Arc<Tail>>>,
    stopping: CancellationToken,
    gone: Notify,
    counts: Counts,
}

/// One who looks.
struct Tail {
    filter: Filter,
    with_data: bool,
    queue: Mutex<Queue>,
    bell: Notify,
}

/// The end of one who looks. Dropping it ends that.
pub struct Opened {
    tails: Tails,
    tail: Arc<Tail>,
}

impl Tails {
    /// For what passes this node, whose sockets these are.
    pub(crate) fn new(node: NodeId, sockets: Sockets, population: Arc<Population>, counts: Counts) -> Tails {
        Tails {
            is_open: Arc::default(),
            shared: Arc::new(Shared {
                node,
                sockets,
                population,
                tails: RwLock::default(),
                stopping: CancellationToken::new(),
                gone: Notify::new(),
                counts,
            }),
        }
    }

    /// Whether anybody looks.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// These, if anybody looks: for what is shown later, when something has come to its end.
    #[inline]
    pub(crate) fn if_open(&self) -> Option<Tails> {
        self.is_open().then(|| self.clone())
    }

    /// Shows something; it is not even made while nobody looks.
    #[inline]
    pub(crate) fn show<'a>(&self, sight: impl FnOnce() -> Sight<'a>) {
        if self.is_open() {
            self.shared.show(&sight());
        }
    }

    /// What the cluster shows goes to all who look here.
    pub fn tap(&self) -> Tap {
        Tap::new(self.is_open.clone(), Box::new(Watching(self.shared.clone())))
    }

    /// The node that is looked at.
    pub(crate) fn node(&self) -> &NodeId {
        &self.shared.node
    }

    /// Lets somebody look; `None` when [`MAX_TAILS`] do, or the node is at its end. Payloads are shown `with_data` alone.
    pub fn open(&self, filter: Filter, with_data: bool) -> Option<Opened> {
        let tail = Arc::new(Tail {
            filter,
            with_data,
            queue: Mutex::default(),
            bell: Notify::new(),
        });
        let mut tails = self.shared.tails.write().unwrap_or_else(PoisonError::into_inner);
        if tails.len() >= MAX_TAILS || self.shared.stopping.is_cancelled() {
            return None;
        }
        tails.push(tail.clone());
        self.changed(tails.len());
        drop(tails);
        Some(Opened {
            tails: self.clone(),
            tail,
        })
    }

    /// Ends them all, each with a line that says so, and waits for a second at most until they are over.
    pub async fn finish(&self) {
        self.shared.stopping.cancel();
        let over = async {
            loop {
                let gone = self.shared.gone.notified();
                if !self.is_open() {
                    return;
                }
                gone.await;
            }
        };
        if timeout(FINISHING, over).await.is_err() {
            tracing::warn!("somebody still looked at this node when it ended");
        }
    }

    fn changed(&self, count: usize) {
        self.is_open.store(count > 0, Ordering::Relaxed);
        self.shared.counts.open.set(count as f64);
    }
}

impl Default for Tails {
    /// Those of a node without sockets, for tests and measurements.
    fn default() -> Tails {
        Tails::new(
            NodeId::random(),
            Sockets::default(),
            Arc::default(),
            Counts::noop(),
        )
    }
}

impl fmt::Debug for Tails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tails").field(&self.is_open()).finish()
    }
}

impl Shared {
    fn show(&self, sight: &Sight<'_>) {
        let tails = self.tails.read().unwrap_or_else(PoisonError::into_inner);
        // Those who see the same get the same text.
        let mut made: [Option<Bytes>; 2] = [None, None];
        for tail in tails.iter() {
            if !tail
                .filter
                .passes(sight, &|whom, audience| self.reaches(whom, audience))
            {
                continue;
            }
            if !tail.queue().has_room() {
                self.counts.missed.increment(1);
                continue;
            }
            let [plain, full] = &mut made;
            let place = if tail.with_data { full } else { plain };
            let line = place
                .get_or_insert_with(|| sight.line(self.node.as_str(), SystemTime::now(), tail.with_data));
            tail.queue().push(line.clone());
            tail.bell.notify_one();
        }
    }

    fn reaches(&self, whom: Whom<'_>, audience: &Audience<'_>) -> bool {
        match whom {
            Whom::User(user) => {
                let mut sockets = self.population.sockets_of(user).into_iter();
                sockets.any(|socket| self.is_in(socket, audience))
            }
            Whom::Session(session) => session
                .parse()
                .is_ok_and(|socket: SocketId| self.is_in(socket, audience)),
        }
    }

    fn is_in(&self, socket: SocketId, audience: &Audience<'_>) -> bool {
        let rooms = self.sockets.rooms_of(socket);
        let is_in = |name: &str| rooms.iter().any(|room| **room == *name);
        audience.rooms.iter().any(|room| is_in(room.as_str()))
            && !audience
                .except
                .iter()
                .any(|name| is_in(name) || *name == socket.to_string())
    }
}

/// What the cluster shows.
struct Watching(Arc<Shared>);

impl Watch for Watching {
    fn saw(&self, passage: &Passage<'_>) {
        self.0.show(&Sight::of(passage));
    }
}

impl Tail {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// The line that all others follow.
    pub(crate) fn beginning(&self) -> Bytes {
        self.word(
            &json!({"kind": "begin", "version": env!("CARGO_PKG_VERSION"), "data": self.tail.with_data}),
        )
    }

    /// The line that says that there is somebody.
    pub(crate) fn heartbeat(&self) -> Bytes {
        self.word(&json!({"kind": "heartbeat"}))
    }

    /// The last line.
    pub(crate) fn end(&self, reason: &str) -> Bytes {
        self.word(&json!({"kind": "end", "reason": reason}))
    }

    /// Some of the lines that wait, and how many were lost behind them; `None` when nothing waits.
    pub fn take(&self) -> Option<Bytes> {
        let Taken { lines, missed } = self.tail.queue().take()?;
        if missed == 0 {
            return Some(lines);
        }
        let lost = self.word(&json!({"kind": "missed", "lines": missed}));
        Some([lines, lost].concat().into())
    }

    /// Until there may be more to take.
    pub(crate) async fn more(&self) {
        self.tail.bell.notified().await;
    }

    /// Whether the node is at its end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.tails.shared.stopping.is_cancelled()
    }

    /// Until the node is at its end.
    pub(crate) async fn stopping(&self) {
        self.tails.shared.stopping.cancelled().await;
    }

    fn word(&self, fields: &serde_json::Value) -> Bytes {
        let mut line = serde_json::Map::new();
        line.insert("at".to_owned(), sight::time(SystemTime::now()).into());
        line.insert("node".to_owned(), self.tails.node().as_str().into());
        if let Some(fields) = fields.as_object() {
            line.extend(fields.clone());
        }
        sight::line(&line)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let shared = &self.tails.shared;
        let mut tails = shared.tails.write().unwrap_or_else(PoisonError::into_inner);
        tails.retain(|tail| !Arc::ptr_eq(tail, &self.tail));
        self.tails.changed(tails.len());
        drop(tails);
        shared.gone.notify_waiters();
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}

#[cfg(test)]
#[path = "tail/tests.rs"]
mod tests;
