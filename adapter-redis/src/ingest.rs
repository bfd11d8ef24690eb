//! From the stream that backends append to into rooms, as if they had called the function.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::bus::redis::RedisConfig;
use crate::cluster::Cluster;
use crate::envelope::{Envelope, EnvelopeError};
use crate::metrics::{Outcome, Source};
use crate::room::RoomName;
use crate::stream::{Consume, GroupStream, Refused, StreamEntry, StreamReader, Verdict};

/// The field that holds the envelope, also of refused entries.
const FIELD: &str = "envelope";

/// Reads the stream `<prefix>:ingest`, whose entries have the field `envelope`.
///
/// An entry is deleted after it was published, and published at least once; its id is the idempotency key where the
/// envelope has none, so that it arrives once. Entries of one room are published in the order of the stream. One that
/// can never be published goes to the stream `<prefix>:ingest:refused` with the field `reason`. One node of the cluster
/// reads at a time; another takes over within seconds when it dies.
///
/// Beside what [`RedisBus`](crate::RedisBus) needs, the user of Redis needs `+xgroup|create +xreadgroup +xack +xdel +xadd
/// +pexpire +del`. The stream is in the database that the URL names.
///
/// Clones are the same reader.
#[derive(Clone)]
pub struct Ingest {
    cluster: Cluster,
    reader: StreamReader,
}

impl Ingest {
    /// For the stream on this Redis.
    #[must_use]
    pub fn new(cluster: Cluster, config: RedisConfig) -> Self {
        let stream = GroupStream::of_envelopes(&config.prefix);
        let reader = StreamReader::new(cluster.id().clone(), config, stream);
        Self { cluster, reader }
    }

    /// Stops reading and lets another node do so at once. Only while [`Ingest::run`] runs; waits for at most `limit`.
    pub async fn hand_over(&self, limit: Duration) {
        self.reader.hand_over(limit).await;
    }

    /// Reads for ever, though nothing any more after [`Ingest::hand_over`]. Dropping the future leaves what is in hand
    /// to the next reader.
    pub async fn run(&self) {
        self.reader.run(self).await;
        std::future::pending().await
    }

    fn parse(&self, entry: &StreamEntry) -> Result<Envelope, &'static str> {
        let metrics = self.cluster.metrics();
        let Some(json) = entry.field(FIELD) else {
            metrics.publish(Source::Stream, Outcome::Invalid);
            self.cluster.refused(Source::Stream, "no_envelope", 0);
            return Err("no_envelope");
        };
        let parsed = Envelope::parse(json, self.cluster.limits());
        let mut envelope = parsed.map_err(|error: EnvelopeError| {
            metrics.invalid(Source::Stream, &error);
            self.cluster.refused(Source::Stream, error.reason(), json.len());
            error.reason()
        })?;
        if envelope.id.is_none() {
            envelope.id = Some(String::from_utf8_lossy(&entry.id).into_owned());
        }
        // Nobody is there to be told.
        envelope.count = false;
        Ok(envelope)
    }
}

impl Consume for Ingest {
    /// Publishes as many at once as have no room in common: those of one room one after the other.
    async fn consume(&self, entries: &[StreamEntry]) -> Vec<Verdict> {
        let mut rooms = HashSet::<RoomName>::new();
        let mut wave = Vec::new();
        for entry in entries {
            let envelope = self.parse(entry);
            if let Ok(envelope) = &envelope {
                if envelope.rooms.iter().any(|room| rooms.contains(room)) {
                    break;
                }
                rooms.extend(envelope.rooms.iter().cloned());
            }
            wave.push((entry, envelope));
        }
        let judged = wave.into_iter().map(async |(entry, envelope)| match envelope {
            Err(reason) => Verdict::Refused(Refused {
                reason: reason.into(),
                name: FIELD,
                text: entry.field(FIELD).cloned().unwrap_or_else(Bytes::new),
            }),
            Ok(envelope) => {
                let published = self.cluster.publish_from(Source::Stream, envelope).await;
                if published { Verdict::Done } else { Verdict::NotNow }
            }
        });
        join_all(judged).await
    }
}
