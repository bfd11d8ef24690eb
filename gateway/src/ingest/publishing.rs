//! From messages to the cluster, in their order for each room.

use std::collections::HashSet;

use adapter_redis::{Cluster, Envelope, Limits, Metrics, RoomName, Source, Untranslated};
use futures_util::future::join_all;

use super::Ingesting;
use crate::policy::IngestSource;

/// Publishes what the rules make of messages.
#[derive(Clone)]
pub(super) struct Publishing {
    ingesting: Ingesting,
    cluster: Cluster,
    limits: Limits,
    metrics: Metrics,
}

/// A message that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) text: &'a [u8],
    /// What it is called, and nothing else is: the beginning of its idempotency keys.
    pub(super) key: &'a str,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It is published to whomever it is for, which may be nobody.
    Done,
    /// A rule is for it that can make nothing of it. What other rules made of it is published.
    Refused(&'static str),
    /// The bus did not take all of it. It is to be published again.
    NotNow,
}

/// What rules make of one message.
struct Parts {
    envelopes: Vec<Envelope>,
    refused: Option<&'static str>,
}

impl Publishing {
    pub(super) fn new(
        ingesting: Ingesting,
        cluster: Cluster,
        limits: Limits,
        metrics: Metrics,
    ) -> Publishing {
        Publishing {
            ingesting,
            cluster,
            limits,
            metrics,
        }
    }

    /// Publishes the first of these messages: as many as have no room in common. Those of one room follow one another.
    pub(super) async fn publish<'a>(
        &self,
        source: &IngestSource,
        messages: impl Iterator<Item = Message<'a>> + Send,
    ) -> Vec<Became> {
        let mut rooms = HashSet::<RoomName>::new();
        let mut wave = Vec::new();
        for message in messages {
            let parts = self.parts(source, message);
            let of_parts = || parts.envelopes.iter().flat_map(|envelope| &envelope.rooms);
            if of_parts().any(|room| rooms.contains(room)) {
                break;
            }
            rooms.extend(of_parts().cloned());
            wave.push((message.text.len(), parts));
            // A condition may take milliseconds, and others have something to do.
            tokio::task::yield_now().await;
        }
        join_all(
            wave.into_iter()
                .map(|(size, parts)| self.publish_parts(counted_as(source), size, parts)),
        )
        .await
    }

    fn parts(&self, source: &IngestSource, Message { text, key }: Message<'_>) -> Parts {
        let most = self.limits.max_event_bytes;
        if most > 0 && text.len() > most {
            return Parts {
                envelopes: Vec::new(),
                refused: Some("too_large"),
            };
        }
        let mut parts = Parts {
            envelopes: Vec::new(),
            refused: None,
        };
        for (rule, made) in self.ingesting.envelopes(source, text) {
            match made {
                Ok(mut envelope) => {
                    if envelope.id.is_none() {
                        envelope.identify(&format!("{source}:{key}:{rule}"));
                    }
                    // Nobody is there to be told.
                    envelope.count = false;
                    parts.envelopes.push(envelope);
                }
                Err(Untranslated { reason }) => parts.refused = parts.refused.or(Some(reason)),
            }
        }
        parts
    }

    async fn publish_parts(&self, source: Source, size: usize, parts: Parts) -> Became {
        let Parts { envelopes, refused } = parts;
        let is_unused = envelopes.is_empty() && refused.is_none();
        for envelope in envelopes {
            // Those before it are known by their ids when it comes again.
            if !self.cluster.publish_from(source, envelope).await {
                return Became::NotNow;
            }
        }
        if is_unused {
            self.metrics.unused(source);
        }
        match refused {
            Some(reason) => {
                self.metrics.untranslated(source);
                self.cluster.refused(source, reason, size);
                Became::Refused(reason)
            }
            None => Became::Done,
        }
    }
}

fn counted_as(source: &IngestSource) -> Source {
    match source {
        IngestSource::Channel(_) => Source::Foreign,
        IngestSource::Stream(_) => Source::ForeignStream,
        IngestSource::Queue(_) => Source::Queue,
    }
}
