//! From the stream that backends append to into rooms, as if they had called the function.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bus::redis::RedisConfig;
use crate::bus::redis::stream::{Entry, EnvelopeStream, StreamError};
use crate::cluster::Cluster;
use crate::envelope::{Envelope, EnvelopeError};
use crate::metrics::{Outcome, Source};
use crate::room::RoomName;

/// The pauses after something failed: twice as long each time.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How often a node looks whether it is its turn.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the stream `<prefix>:ingest`, whose entries have the field `envelope`.
///
/// An entry is deleted after it was published, and published at least once; its id is the idempotency key where the
/// envelope has none, so that it arrives once. Entries of one room are published in the order of the stream. One that
/// can never be published goes to the stream `<prefix>:ingest:refused` with the field `reason`. One node of the cluster
/// reads at a time; another takes over within seconds when it dies.
///
/// Beside what [`RedisBus`](crate::RedisBus) needs, the user of Redis needs `+xgroup|create +xreadgroup +xack +xdel +xadd
/// +pexpire`. The stream is in database 0, whatever the URL says.
///
/// Clones are the same reader.
#[derive(Clone)]
pub struct Ingest {
    cluster: Cluster,
    config: RedisConfig,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

impl Ingest {
    /// For the stream on this Redis.
    #[must_use]
    pub fn new(cluster: Cluster, config: RedisConfig) -> Self {
        Self {
            cluster,
            config,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// Stops reading and lets another node do so at once. Only while [`Ingest::run`] runs; waits for at most `limit`.
    pub async fn hand_over(&self, limit: Duration) {
        self.stopping.cancel();
        // If it does not get there, the lease runs out by itself.
        let _ = timeout(limit, self.stopped.cancelled()).await;
    }

    /// Reads for ever, though nothing any more after [`Ingest::hand_over`]. Dropping the future leaves what is in hand
    /// to the next reader.
    pub async fn run(&self) {
        let mut pause = SHORTEST;
        let mut said = None;
        loop {
            let read = self.read(&mut pause).await;
            if self.stopping.is_cancelled() {
                self.stopped.cancel();
                return std::future::pending().await;
            }
            let Err(StreamError { refused, why }) = read else {
                continue;
            };
            if said.as_ref() == Some(&why) {
                tracing::debug!(why, "the stream of envelopes still cannot be read");
            } else if refused {
                tracing::error!(why, "Redis refuses to let the stream of envelopes be read");
            } else {
                tracing::info!(why, "the stream of envelopes cannot be read now");
            }
            said = Some(why);
            self.rest(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Waits, but not when this node stops.
    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.stopping.cancelled() => {}
        }
    }

    async fn read(&self, pause: &mut Duration) -> Result<(), StreamError> {
        let mut stream = EnvelopeStream::open(&self.config, self.cluster.id()).await?;
        loop {
            if self.stopping.is_cancelled() {
                return stream.hand_over().await;
            }
            if !stream.turn().await? {
                self.rest(LOOK).await;
                continue;
            }
            let entries = stream.next().await?;
            *pause = SHORTEST;
            self.publish(&mut stream, entries).await?;
        }
    }

    /// Publishes entries: those of different rooms at the same time, those of one room one after the other.
    async fn publish(&self, stream: &mut EnvelopeStream, entries: Vec<Entry>) -> Result<(), StreamError> {
        let mut wave = Vec::new();
        let mut rooms = HashSet::<RoomName>::new();
        for entry in entries {
            let envelope = match self.parse(&entry) {
                Ok(envelope) => envelope,
                Err(reason) => {
                    tracing::warn!(reason, "an entry of the stream of envelopes was refused");
                    stream.refuse(&entry, reason).await?;
                    continue;
                }
            };
            if envelope.rooms.iter().any(|room| rooms.contains(room)) {
                if !self.publish_wave(stream, std::mem::take(&mut wave)).await? {
                    return Ok(());
                }
                rooms.clear();
            }
            rooms.extend(envelope.rooms.iter().cloned());
            wave.push((entry.id, envelope));
        }
        self.publish_wave(stream, wave).await?;
        Ok(())
    }

    /// Publishes until all of it is published. Whether it is still this node's turn: if not, the rest is in the hands of
    /// the next one, and what is behind it must not be published before.
    async fn publish_wave(
        &self,
        stream: &mut EnvelopeStream,
        mut wave: Vec<(Bytes, Envelope)>,
    ) -> Result<bool, StreamError> {
        let mut pause = SHORTEST;
        while !wave.is_empty() {
            let published = wave
                .iter()
                .map(|(_, envelope)| self.cluster.publish_from(Source::Stream, envelope.clone()));
            let published = join_all(published).await;
            let (mut done, mut left) = (Vec::new(), Vec::new());
            for (entry, published) in wave.into_iter().zip(published) {
                if published {
                    done.push(entry.0)
                } else {
                    left.push(entry)
                }
            }
            stream.done(&done).await?;
            wave = left;
            if !wave.is_empty() {
                if self.stopping.is_cancelled() {
                    return Ok(false);
                }
                self.rest(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            if !stream.still_mine().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn parse(&self, Entry { id, envelope, .. }: &Entry) -> Result<Envelope, &'static str> {
        let metrics = self.cluster.metrics();
        let Some(json) = envelope else {
            metrics.publish(Source::Stream, Outcome::Invalid);
            return Err("no_envelope");
        };
        let parsed = Envelope::parse(json, self.cluster.limits());
        let mut envelope = parsed.map_err(|error: EnvelopeError| {
            metrics.invalid(Source::Stream, &error);
            error.reason()
        })?;
        if envelope.id.is_none() {
            envelope.id = Some(String::from_utf8_lossy(id).into_owned());
        }
        // Nobody is there to be told.
        envelope.count = false;
        Ok(envelope)
    }
}
