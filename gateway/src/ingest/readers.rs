//! Which streams and queues are read now: those of the policy in force.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    time::Duration,
};

use adapter_redis::{Cluster, GroupStream, Limits, RedisConfig, StreamReader};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "amqp")]
use super::amqp::{Consuming, QueueReader};
use super::{Broker, Ingesting, publishing::Publishing, streams::StreamConsumer};
use crate::{metrics::Metrics, policy::IngestSource, rules::Rules};

/// Reads streams and queues, each by itself, and follows the policy.
///
/// All of them run inside of [`Readers::run`], and end when that is dropped; what was in hand is somebody else's then.
/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Readers {
    rules: Rules,
    publishing: Publishing,
    cluster: Cluster,
    redis: Option<RedisConfig>,
    broker: Option<Broker>,
    #[cfg(feature = "amqp")]
    consuming: Consuming,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

/// What is read now: how to end each of them.
type Running = HashMap<IngestSource, CancellationToken>;

type Ends<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = IngestSource> + Send + 'a>>>;

impl Readers {
    /// Reads streams on this Redis, if this node shall, and queues of this broker.
    pub(crate) fn new(
        rules: &Rules,
        cluster: Cluster,
        limits: Limits,
        metrics: &Metrics,
        redis: Option<RedisConfig>,
        broker: Option<Broker>,
    ) -> Readers {
        let ingesting = Ingesting::new(rules.clone(), limits);
        Readers {
            rules: rules.clone(),
            publishing: Publishing::new(ingesting, cluster.clone(), limits, metrics.bus.clone()),
            cluster,
            redis,
            broker,
            #[cfg(feature = "amqp")]
            consuming: Consuming::new(metrics.amqp_connected.clone()),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// Lets go of everything, so that other nodes go on at once. Only while [`Readers::run`] runs; waits for at most
    /// `limit`.
    pub(crate) async fn hand_over(&self, limit: Duration) {
        self.stopping.cancel();
        // What is not let go of in time is when the process ends.
        let _ = timeout(limit, self.stopped.cancelled()).await;
    }

    /// Reads for ever, though nothing any more after [`Readers::hand_over`].
    pub(crate) async fn run(&self) {
        let mut exchanged = self.rules.exchanged();
        let mut running = Running::new();
        let mut ends = Ends::new();
        let mut missed = HashSet::new();
        loop {
            // A policy that comes while this one is looked at is a change.
            exchanged.mark_unchanged();
            let wanted = if self.stopping.is_cancelled() {
                HashSet::new()
            } else {
                self.wanted(&mut missed)
            };
            for (source, stop) in &running {
                if !wanted.contains(source) {
                    stop.cancel();
                }
            }
            for source in wanted {
                // One that is still ending begins anew when it has ended.
                if !running.contains_key(&source) {
                    let stop = CancellationToken::new();
                    running.insert(source.clone(), stop.clone());
                    ends.push(Box::pin(self.read(source, stop)));
                }
            }
            if running.is_empty() && self.stopping.is_cancelled() {
                self.stopped.cancel();
                return std::future::pending().await;
            }
            tokio::select! {
                Some(ended) = ends.next() => {
                    running.remove(&ended);
                }
                Ok(()) = exchanged.changed() => {}
                () = self.stopping.cancelled(), if !self.stopping.is_cancelled() => {}
            }
        }
    }

    fn wanted(&self, missed: &mut HashSet<IngestSource>) -> HashSet<IngestSource> {
        let mut wanted = HashSet::new();
        for source in self.rules.policy().ingest_sources() {
            match &source {
                IngestSource::Channel(_) => continue,
                // That this node leaves streams to others is a setting.
                IngestSource::Stream(_) if self.redis.is_none() => continue,
                // Checked when the configuration was read, but a node keeps the broker that it started with.
                IngestSource::Queue(_) if self.broker.is_none() => {
                    if missed.insert(source.clone()) {
                        tracing::error!(%source, "the queue is not read: this node started without a RabbitMQ; restart it");
                    }
                    continue;
                }
                IngestSource::Stream(_) | IngestSource::Queue(_) => {}
            }
            wanted.insert(source);
        }
        wanted
    }

    async fn read(&self, source: IngestSource, stop: CancellationToken) -> IngestSource {
        match &source {
            IngestSource::Stream(name) => self.read_stream(name, &source, &stop).await,
            IngestSource::Queue(name) => self.read_queue(name, &source, &stop).await,
            IngestSource::Channel(_) => {}
        }
        source
    }

    async fn read_stream(&self, name: &str, source: &IngestSource, stop: &CancellationToken) {
        let Some(redis) = &self.redis else { return };
        let stream = GroupStream::of_others(&redis.prefix, name);
        let reader = StreamReader::new(self.cluster.id().clone(), redis.clone(), stream);
        let consumer = StreamConsumer {
            publishing: self.publishing.clone(),
            source: source.clone(),
        };
        let reading = reader.run(&consumer);
        tokio::pin!(reading);
        tokio::select! {
            () = &mut reading => {}
            () = stop.cancelled() => {
                reader.stop();
                reading.await;
            }
        }
    }

    #[cfg(feature = "amqp")]
    async fn read_queue(&self, name: &str, source: &IngestSource, stop: &CancellationToken) {
        let Some(broker) = &self.broker else { return };
        let reader = QueueReader {
            queue: name.to_owned(),
            source: source.clone(),
            broker: broker.clone(),
            node: self.cluster.id().clone(),
            publishing: self.publishing.clone(),
            consuming: self.consuming.clone(),
        };
        reader.run(stop).await;
    }

    #[cfg(not(feature = "amqp"))]
    async fn read_queue(&self, _: &str, _: &IngestSource, stop: &CancellationToken) {
        stop.cancelled().await;
    }
}
