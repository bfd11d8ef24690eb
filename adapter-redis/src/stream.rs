//! Streams in Redis that all nodes read together, one of them at a time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::bus::redis::RedisConfig;
use crate::bus::redis::stream::{StreamConnection, StreamError};
use crate::node::NodeId;

/// The name of our group in every stream.
const GROUP: &str = "roomcast";

/// The pauses after something failed: twice as long each time.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How often a node looks whether it is its turn.
const LOOK: Duration = Duration::from_secs(1);

/// A stream, and all that goes with it. The keys are whole names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStream {
    /// The stream. It is made if there is none.
    pub key: String,
    /// The consumer group, and its one consumer. It is made at the beginning of the stream if there is none.
    pub group: String,
    /// The key that says which node reads now.
    pub lease: String,
    /// The stream where refused entries go, of which it keeps about the last 1,000.
    pub refused: String,
    /// Whether entries are deleted when they were dealt with. Otherwise they are only acknowledged, and stay for other
    /// groups.
    pub delete: bool,
    /// What refused entries bear as their field `source`.
    pub source: Option<String>,
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: Bytes,
    /// Names and values, in the order in which they were appended.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was dealt with, and is let go of.
    Done,
    /// Nothing will ever become of it: it is put aside.
    Refused(Refused),
    /// Something is away: it is kept, and comes again.
    NotNow,
}

/// What is kept of an entry that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why, as a stable code.
    pub reason: Cow<'static, str>,
    /// The field under which its text is kept.
    pub name: &'static str,
    /// Its text.
    pub text: Bytes,
}

/// What deals with the entries of a stream.
pub trait Consume: Send + Sync {
    /// Says what becomes of the first of these entries, which are in the order of the stream: a verdict for each of
    /// them in their order, up to the one where it wants to pause. At least one; none at all is as if the first were
    /// [`Verdict::NotNow`].
    ///
    /// The entries without a verdict, and those for which it is not the time, are handed in again, together and in their
    /// order, these after a pause. What was dealt with may come again, too, after this node or its connection was lost
    /// before that was noted.
    fn consume(&self, entries: &[StreamEntry]) -> impl Future<Output = Vec<Verdict>> + Send;

    /// While fewer entries than this wait for their time, the next ones are handed in beside them, and it is not paused:
    /// one that never succeeds does not hold the others up. It is up to the consumer then to keep an order, and to leave
    /// alone what failed a moment ago.
    fn most_in_hand(&self) -> usize {
        0
    }
}

/// Reads a stream on this node, when it is its turn.
///
/// One node of the cluster reads at a time, entries in the order of the stream. Another takes over within seconds when it
/// dies, and at once when it stops; what was in hand comes first then.
///
/// Clones are the same reader.
#[derive(Clone)]
pub struct StreamReader {
    node: NodeId,
    config: RedisConfig,
    stream: Arc<GroupStream>,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

impl GroupStream {
    /// The stream of notices of the cluster with this prefix. Its entries are deleted.
    #[must_use]
    pub fn of_notices(prefix: &str) -> Self {
        Self {
            key: format!("{prefix}:notices"),
            group: GROUP.to_owned(),
            lease: format!("{prefix}:notices:lease"),
            refused: format!("{prefix}:notices:refused"),
            delete: true,
            source: None,
        }
    }

    /// The stream of envelopes of the cluster with this prefix. Its entries are deleted.
    #[must_use]
    pub fn of_envelopes(prefix: &str) -> Self {
        Self {
            key: format!("{prefix}:ingest"),
            group: GROUP.to_owned(),
            lease: format!("{prefix}:ingest:lease"),
            refused: format!("{prefix}:ingest:refused"),
            delete: true,
            source: None,
        }
    }

    /// Whether a name belongs to the cluster with this prefix.
    #[must_use]
    pub fn is_reserved(prefix: &str, key: &str) -> bool {
        key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(':'))
    }

    /// A stream of somebody else, whose entries are only acknowledged.
    #[must_use]
    pub fn of_others(prefix: &str, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            group: GROUP.to_owned(),
            lease: format!("{prefix}:ingest:lease:{key}"),
            refused: format!("{prefix}:ingest:refused"),
            delete: false,
            source: Some(format!("stream:{key}")),
        }
    }
}

impl StreamEntry {
    /// The value of a field; of several with that name the last.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        let mut fields = self.fields.iter().rev();
        fields
            .find(|(known, _)| known == name.as_bytes())
            .map(|(_, value)| value)
    }
}

impl StreamReader {
    /// Of a stream on this Redis.
    #[must_use]
    pub fn new(node: NodeId, config: RedisConfig, stream: GroupStream) -> Self {
        Self {
            node,
            config,
            stream: Arc::new(stream),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// Lets [`StreamReader::run`] end as soon as it can. Does not wait.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Stops reading and lets another node do so at once. Only while [`StreamReader::run`] runs; waits for at most
    /// `limit`.
    pub async fn hand_over(&self, limit: Duration) {
        self.stop();
        // If it does not get there, the lease runs out by itself.
        let _ = timeout(limit, self.stopped.cancelled()).await;
    }

    /// Reads until it is told to stop. Dropping the future leaves what is in hand to the next reader.
    pub async fn run(&self, consumer: &impl Consume) {
        let stream = &*self.stream.key;
        let mut pause = SHORTEST;
        let mut said = None;
        loop {
            let read = self.read(consumer, &mut pause).await;
            if self.stopping.is_cancelled() {
                self.stopped.cancel();
                return;
            }
            let Err(StreamError { refused, why }) = read else {
                continue;
            };
            if said.as_ref() == Some(&why) {
                tracing::debug!(stream, why, "the stream still cannot be read");
            } else if refused {
                tracing::error!(stream, why, "Redis refuses to let the stream be read");
            } else {
                tracing::info!(stream, why, "the stream cannot be read now");
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

    async fn read(&self, consumer: &impl Consume, pause: &mut Duration) -> Result<(), StreamError> {
        let mut stream = StreamConnection::open(&self.config, &self.node, &self.stream).await?;
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
            self.deal_with(&mut stream, consumer, entries).await?;
        }
    }

    /// Until nothing is left, or it is no longer this node's turn: then the rest is in the hands of the next one, and what
    /// is behind it must not be dealt with before.
    async fn deal_with(
        &self,
        stream: &mut StreamConnection<'_>,
        consumer: &impl Consume,
        mut entries: Vec<StreamEntry>,
    ) -> Result<(), StreamError> {
        let mut pause = SHORTEST;
        while !entries.is_empty() {
            let Some(mut verdicts) = consume(stream, consumer, &entries).await? else {
                return Ok(());
            };
            verdicts.truncate(entries.len());
            let mut again = !verdicts.is_empty();
            let rest = entries.split_off(verdicts.len());
            let (mut done, mut left) = (Vec::new(), Vec::new());
            for (entry, verdict) in entries.into_iter().zip(verdicts) {
                match verdict {
                    Verdict::Done => done.push(entry.id),
                    Verdict::NotNow => left.push(entry),
                    Verdict::Refused(refused) => {
                        let (stream_key, reason) = (&*self.stream.key, &*refused.reason);
                        tracing::warn!(stream = stream_key, reason, "an entry of the stream was refused");
                        stream.refuse(&entry, &refused).await?;
                    }
                }
            }
            stream.done(&done).await?;
            again &= left.is_empty();
            left.extend(rest);
            entries = left;
            if self.stopping.is_cancelled() && !again {
                return Ok(());
            } else if again {
                pause = SHORTEST;
            } else if entries.len() < consumer.most_in_hand()
                && let Some(last) = entries.iter().map(|entry| &entry.id).max_by_key(|id| place(id))
            {
                let last = last.clone();
                entries.extend(stream.next_after(&last).await?);
            } else {
                self.rest(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            if !stream.still_mine().await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Lets entries be dealt with, however long that takes; `None` when it is no longer this node's turn.
async fn consume(
    stream: &mut StreamConnection<'_>,
    consumer: &impl Consume,
    entries: &[StreamEntry],
) -> Result<Option<Vec<Verdict>>, StreamError> {
    let mut consuming = std::pin::pin!(consumer.consume(entries));
    loop {
        tokio::select! {
            verdicts = &mut consuming => return Ok(Some(verdicts)),
            () = sleep(LOOK) => if !stream.still_mine().await? {
                return Ok(None);
            }
        }
    }
}

/// Where an entry is in its stream.
fn place(id: &[u8]) -> (u64, u64) {
    let text = String::from_utf8_lossy(id);
    let (ms, number) = text.split_once('-').unwrap_or((&text, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

impl StreamEntry {
    /// When it was appended, in milliseconds since 1970 by the clock of Redis.
    #[must_use]
    pub fn appended_at_ms(&self) -> u64 {
        place(&self.id).0
    }
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReader")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_fields_with_one_name_the_last_counts() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let entry = StreamEntry {
            id: bytes("1-0"),
            fields: vec![
                (bytes("a"), bytes("1")),
                (bytes("b"), bytes("2")),
                (bytes("a"), bytes("3")),
            ],
        };
        assert_eq!(entry.field("a"), Some(&bytes("3")));
        assert_eq!(entry.field("b"), Some(&bytes("2")));
        assert_eq!(entry.field("c"), None);
    }

    #[test]
    fn streams_of_others_have_their_own_lease() {
        let ours = GroupStream::of_envelopes("roomcast");
        let theirs = GroupStream::of_others("roomcast", "crm.events");
        assert_eq!(
            (ours.key.as_str(), ours.delete, &ours.source),
            ("roomcast:ingest", true, &None)
        );
        assert_eq!((theirs.key.as_str(), theirs.delete), ("crm.events", false));
        assert_eq!(theirs.source.as_deref(), Some("stream:crm.events"));
        assert_ne!(ours.lease, theirs.lease);
        assert_eq!(ours.refused, theirs.refused);
        assert!(GroupStream::is_reserved("roomcast", &ours.key));
        for free in ["crm.events", "roomcast", "roomcaster:x", "other:roomcast:x"] {
            assert!(!GroupStream::is_reserved("roomcast", free), "{free}");
        }
    }
}
