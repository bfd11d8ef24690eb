//! Notices to backends: who connected, and who disconnected.
//!
//! Sessions are taken down in memory (`announcer.rs`, `ledger.rs`), and written from there to a stream in Redis, by one
//! task of each node. With the same step Redis remembers what a node has announced and not ended, so that other nodes
//! report it when that node dies.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::bus::redis::RedisConfig;
use crate::bus::redis::notices::{NoticeError, NoticeStore, Seen, Standing, Written};
use crate::cluster::Cluster;
use crate::node::NodeId;

mod announcer;
mod ledger;
mod metrics;

pub use announcer::{Announcement, Announcer, Outlet};
use announcer::{Desk, now_ms};
pub(crate) use ledger::connection;
pub use ledger::{About, Batch, Notice, What};
pub use metrics::{Kind, NoticeMetrics, Outcome};

/// The pause after something failed: twice as long each time, up to a quarter of the lease, so that a node is back before
/// the others may take it for dead.
const SHORTEST: Duration = Duration::from_millis(100);

/// How many notices are written at once: Redis does nothing else meanwhile.
const BATCH: usize = 256;

/// How notices are kept.
#[derive(Debug, Clone)]
pub struct NoticesConfig {
    /// How many notices the stream holds, about (default 100,000); the oldest make room.
    pub max_length: u64,
    /// For how long a node counts as alive that does not say so (default 10 s). It says so three times as often.
    pub lease: Duration,
    /// Whether what makes room was still wanted, so that it is counted as lost: nobody but this cluster reads the stream.
    pub counts_trimmed: bool,
}

/// Writes notices to the stream `<prefix>:notices`.
///
/// Promised, for as long as Redis keeps what it was told and the stream is long enough:
/// - **Both or neither.** Every connect in the stream gets exactly one disconnect with the same `connection`, behind it.
///   Should the node die, one of the others writes it, with the reason `node_lost`, within a lease and a half.
/// - **Nobody waits.** While Redis is away, what has to be written is remembered. Only sessions that begin and end
///   meanwhile are limited, to 100,000; beyond that both of their notices are dropped, and counted.
///
/// Where Redis has lost something, what lives is written again with `again`, under the same names.
///
/// A node that cannot reach Redis for longer than its lease is dead for the others, while its sockets are connected.
/// When it is back, these are announced with `again`, as other connections.
///
/// Beside what [`RedisBus`](crate::RedisBus) needs, the user of Redis needs `+eval +xadd +xtrim +hget +hset +hdel +hexists
/// +hlen +hkeys +hgetall`.
///
/// Clones are the same.
#[derive(Clone)]
pub struct Notices {
    redis: RedisConfig,
    config: NoticesConfig,
    desk: Arc<Desk>,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

impl Default for NoticesConfig {
    fn default() -> Self {
        Self {
            max_length: 100_000,
            lease: Duration::from_secs(10),
            counts_trimmed: false,
        }
    }
}

impl Notices {
    /// For the stream on this Redis.
    #[must_use]
    pub fn new(redis: RedisConfig, config: NoticesConfig, metrics: NoticeMetrics) -> (Announcer, Self) {
        let (announcer, desk) = Announcer::new(metrics);
        let notices = Self {
            redis,
            config,
            desk,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        };
        (announcer, notices)
    }

    /// All sessions of this node are over: writes what has not been written, and says that this node is no more. Only
    /// while [`Notices::run`] runs; waits for at most `limit`, and what is not written then is left to the other nodes.
    pub async fn finish(&self, reason: &'static str, limit: Duration) {
        self.desk.end_all(reason);
        self.stopping.cancel();
        let _ = timeout(limit, self.stopped.cancelled()).await;
    }

    /// Writes for this node of the cluster: for ever, though nothing any more after [`Notices::finish`].
    pub async fn run(&self, cluster: &Cluster) {
        let mut pause = SHORTEST;
        let mut said = None;
        for link in 0.. {
            let Err(NoticeError { refused, why }) = self.serve(cluster, link, &mut pause).await else {
                self.stopped.cancel();
                return std::future::pending().await;
            };
            if said.as_ref() == Some(&why) {
                tracing::debug!(why, "notices still cannot be written");
            } else if refused {
                tracing::error!(
                    why,
                    "Redis refuses notices of who connects and disconnects; they wait"
                );
            } else {
                tracing::info!(
                    why,
                    "notices of who connects and disconnects cannot be written now; they wait"
                );
            }
            said = Some(why);
            let stopping = self.stopping.is_cancelled();
            sleep(if stopping { SHORTEST } else { pause }).await;
            pause = (pause * 2).min(self.config.lease / 4);
        }
    }

    /// Writes over one connection, until it fails or this node is finished.
    async fn serve(&self, cluster: &Cluster, link: u64, pause: &mut Duration) -> Result<(), NoticeError> {
        let (id, lease) = (cluster.id(), self.config.lease);
        let mut store = NoticeStore::open(&self.redis, id, link, lease, self.config.max_length).await?;
        self.enter(&mut store, id).await?;
        *pause = SHORTEST;
        let entered = Instant::now();
        let (mut renewed, mut looked) = (entered, entered);
        loop {
            if let Some(batch) = self.desk.batch(BATCH) {
                let written = self.write(&mut store, Some(&batch), batch.after).await?;
                self.desk.settle();
                self.count(written);
                renewed = Instant::now();
            } else if self.stopping.is_cancelled() {
                return store.leave().await;
            } else {
                tokio::select! {
                    () = self.desk.changed() => continue,
                    () = self.stopping.cancelled() => continue,
                    () = sleep_until(renewed + lease * 3 / 10) => {}
                }
                let written = self.desk.ledger().written();
                self.write(&mut store, None, written).await?;
                renewed = Instant::now();
            }
            // Who lives has renewed its lease, if Redis was here for the others as long as it was for this node.
            if entered.elapsed() >= lease
                && looked.elapsed() >= lease * 3 / 10
                && !self.stopping.is_cancelled()
            {
                self.bury_the_dead(&mut store, cluster).await?;
                looked = Instant::now();
            }
        }
    }

    /// Finds out what Redis knows of this node, and takes the lease.
    async fn enter(&self, store: &mut NoticeStore, node: &NodeId) -> Result<(), NoticeError> {
        loop {
            let seen = store.look().await?;
            let written = self.recall(store, node, &seen).await?;
            if let Some(written) = written
                && store.enter(&seen, written).await?
            {
                return Ok(());
            }
        }
    }

    /// Puts right what this node believes to have written. `None` when it has to be looked again.
    async fn recall(
        &self,
        store: &mut NoticeStore,
        node: &NodeId,
        seen: &Seen,
    ) -> Result<Option<u64>, NoticeError> {
        match seen.standing {
            Standing::Dying => {
                let written = store.bury(node).await?;
                self.count(written);
                return Ok(None);
            }
            Standing::Buried(written) => {
                tracing::warn!("the other nodes took this one for dead: its sessions are announced again");
                self.desk.ledger().buried(written, now_ms());
            }
            Standing::Known(written) if self.desk.ledger().recall(written) => {}
            Standing::Known(_) | Standing::Unknown => {
                let held = store.announced(node).await?;
                self.desk.ledger().lost(&held, now_ms());
            }
        }
        Ok(Some(self.desk.ledger().written()))
    }

    async fn write(
        &self,
        store: &mut NoticeStore,
        batch: Option<&Batch>,
        after: u64,
    ) -> Result<Written, NoticeError> {
        let written = store.write(after, batch).await?;
        written.ok_or_else(|| NoticeError {
            refused: false,
            why: "Redis does not know this node as it was".to_owned(),
        })
    }

    /// Reports the ends of the sessions of nodes that are gone.
    async fn bury_the_dead(&self, store: &mut NoticeStore, cluster: &Cluster) -> Result<(), NoticeError> {
        let silent = store.silent().await?;
        let alive = if silent.is_empty() {
            Vec::new()
        } else {
            cluster.nodes()
        };
        // Whoever sends heartbeats lives, though it cannot write notices.
        for dead in silent.iter().filter(|node| !alive.contains(node)) {
            let written = store.bury(dead).await?;
            self.count(written);
            if written.ends > 0 {
                tracing::warn!(node.id = %dead, session.count = written.ends, "reported the sessions of a dead node as lost");
            }
        }
        Ok(())
    }

    fn count(&self, written: Written) {
        let metrics = &self.desk.metrics;
        metrics.count(Kind::Connect, Outcome::Written, written.connects);
        metrics.count(Kind::Disconnect, Outcome::Written, written.ends);
        if self.config.counts_trimmed {
            metrics.trimmed(written.trimmed);
        }
    }
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notices")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
