//! Who connected and who disconnected, for backends: by the stream, or from there to the webhook. Without Redis the webhook
//! is told from memory.
//!
//! What is written, and that every connect gets exactly one disconnect, is `adapter-redis`' (`notices.rs` there).

mod config;
mod teller;
mod told;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adapter_redis::{
    Announcer, Cluster, GroupStream, NoticeMetrics, Notices as Writer, NoticesConfig, Outlet, RedisConfig,
    StreamReader, Verdict,
};
use tokio::time::{sleep, timeout};

pub use self::config::{Config, KEYS, To};
use self::{teller::Teller, told::Told};
use crate::{engine::CloseReason, webhook::Webhook};

/// How long a stopping node tries to report that its sessions are over; afterwards the other nodes do.
const FINISH: Duration = Duration::from_secs(5);

/// How long a stopping node tries to let another one tell the webhook at once.
const HAND_OVER: Duration = Duration::from_secs(2);

/// For how long a notice is told again and again: from the stream, and from memory.
const PATIENCE: Duration = Duration::from_hours(24);
const PATIENCE_IN_MEMORY: Duration = Duration::from_mins(10);

/// How often it is looked whether it is time to tell notices of the memory again.
const LOOK: Duration = Duration::from_millis(100);

/// How many notices of the memory are told in one go.
const BATCH: usize = 128;

/// The notices of this node. Clones are the same.
#[derive(Clone)]
pub struct Notices(Way);

/// How notices leave the node.
#[derive(Clone)]
enum Way {
    Nowhere,
    Stream(Writer),
    /// Through the stream to the webhook, by whoever's turn it is.
    Relayed {
        writer: Writer,
        redis: Arc<RedisConfig>,
        reader: Arc<std::sync::OnceLock<StreamReader>>,
        teller: Arc<Teller>,
    },
    /// From the memory to the webhook.
    Memory {
        outlet: Arc<Outlet>,
        teller: Arc<Teller>,
    },
}

impl Notices {
    /// As configured, and where sessions are announced to.
    pub fn new(
        config: Config,
        redis: Option<&RedisConfig>,
        webhook: &Webhook,
        metrics: &NoticeMetrics,
    ) -> (Announcer, Notices) {
        let teller = |patience| Arc::new(Teller::new(Box::new(webhook.clone()), metrics.clone(), patience));
        let writer = |redis: &RedisConfig| {
            let kept = NoticesConfig {
                max_length: config.stream_max_length.into(),
                counts_trimmed: config.to == To::Webhook,
                ..NoticesConfig::default()
            };
            Writer::new(redis.clone(), kept, metrics.clone())
        };
        let (announcer, way) = match (config.to, redis) {
            // A stream without Redis was refused with the configuration.
            (To::Off, _) | (To::Stream, None) => (Announcer::off(), Way::Nowhere),
            (To::Stream, Some(redis)) => {
                let (announcer, writer) = writer(redis);
                (announcer, Way::Stream(writer))
            }
            (To::Webhook, Some(redis)) => {
                let (announcer, writer) = writer(redis);
                let way = Way::Relayed {
                    writer,
                    redis: Arc::new(redis.clone()),
                    reader: Arc::default(),
                    teller: teller(PATIENCE),
                };
                (announcer, way)
            }
            (To::Webhook, None) => {
                let (announcer, outlet) = Announcer::in_memory(metrics.clone());
                let way = Way::Memory {
                    outlet: Arc::new(outlet),
                    teller: teller(PATIENCE_IN_MEMORY),
                };
                (announcer, way)
            }
        };
        (announcer, Notices(way))
    }

    /// Passes notices on for ever, though nothing any more after [`Notices::finish`].
    pub async fn run(&self, cluster: &Cluster) {
        match &self.0 {
            Way::Nowhere => {}
            Way::Stream(writer) => writer.run(cluster).await,
            Way::Relayed {
                writer,
                redis,
                reader,
                teller,
            } => {
                let reader = reader.get_or_init(|| {
                    let stream = GroupStream::of_notices(&redis.prefix);
                    StreamReader::new(cluster.id().clone(), (**redis).clone(), stream)
                });
                tokio::join!(writer.run(cluster), reader.run(&**teller));
            }
            Way::Memory { outlet, teller } => tell_from_memory(outlet, teller, cluster.id().as_str()).await,
        }
        std::future::pending().await
    }

    /// All connections of this node are closed: reports what was not reported.
    pub async fn finish(&self) {
        let reason = CloseReason::ServerShutdown.as_str();
        match &self.0 {
            Way::Nowhere => {}
            Way::Stream(writer) => writer.finish(reason, FINISH).await,
            Way::Relayed { writer, reader, .. } => {
                writer.finish(reason, FINISH).await;
                if let Some(reader) = reader.get() {
                    reader.hand_over(HAND_OVER).await;
                }
            }
            Way::Memory { outlet, .. } => {
                outlet.end_all(reason);
                let told = async {
                    while !outlet.is_idle() {
                        sleep(LOOK).await;
                    }
                };
                // Nobody else knows of them.
                if timeout(FINISH, told).await.is_err() {
                    tracing::warn!("the webhook was not told of all who disconnected");
                }
            }
        }
    }
}

/// Tells the webhook what nobody keeps but this node.
async fn tell_from_memory(outlet: &Outlet, teller: &Teller, node: &str) {
    loop {
        let batch = outlet.next(BATCH).await;
        let mut left: Vec<Arc<Told>> = batch
            .notices
            .iter()
            .map(|notice| Arc::new(Told::of_notice(notice, node)))
            .collect();
        loop {
            let verdicts = teller.tell(&left, now_ms()).await;
            let mut verdicts = verdicts.into_iter();
            left.retain(|notice| match verdicts.next() {
                Some(Verdict::Refused(refused)) => {
                    tracing::warn!(
                        notice.id,
                        reason = &*refused.reason,
                        "the webhook will never take a notice"
                    );
                    false
                }
                Some(Verdict::Done) => false,
                _ => true,
            });
            if left.is_empty() {
                break;
            }
            sleep(LOOK).await;
        }
        outlet.done();
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match &self.0 {
            Way::Nowhere => "nowhere",
            Way::Stream(_) => "stream",
            Way::Relayed { .. } => "stream to webhook",
            Way::Memory { .. } => "memory to webhook",
        };
        f.debug_tuple("Notices").field(&way).finish()
    }
}
