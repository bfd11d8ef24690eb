//! Queues of RabbitMQ: consumed by every node, published in order, acknowledged after that.
//!
//! The only file, with those below it, that names `lapin`. A link that fails in any way is thrown away and made anew as a
//! whole; what was in hand comes again over the next one, under the same idempotency key.

mod consuming;
mod dead_letter;
mod link;
mod pauses;
mod socket;
mod uri;

use std::{collections::VecDeque, time::Duration};

use adapter_redis::NodeId;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(super) use self::consuming::Consuming;
use self::link::{Delivered, Link, LinkError};
use self::pauses::Pauses;
pub(super) use self::uri::check as check_url;
use super::{
    Broker,
    publishing::{Became, Publishing},
};
use crate::policy::IngestSource;

/// How long making a link may take.
const OPENING: Duration = Duration::from_secs(10);

/// For how long a reader that is stopped publishes what it has in hand.
const FINISHING: Duration = Duration::from_secs(1);

/// Reads one queue on this node.
pub(super) struct QueueReader {
    pub(super) queue: String,
    pub(super) source: IngestSource,
    pub(super) broker: Broker,
    pub(super) node: NodeId,
    pub(super) publishing: Publishing,
    pub(super) consuming: Consuming,
}

impl QueueReader {
    /// Consumes until it is told to stop. Dropping the future gives what is in hand back to the queue.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let queue = &*self.queue;
        let mut state = self.consuming.queue();
        let mut pauses = Pauses::new();
        let mut said: Option<String> = None;
        while !stop.is_cancelled() {
            let Err(error) = self.consume(stop, &mut pauses, &mut state, &mut said).await else {
                break;
            };
            state.away();
            let why = error.to_string();
            if said.as_ref() == Some(&why) {
                tracing::debug!(queue, why, "the queue still cannot be consumed");
            } else if error.needs_somebody() {
                tracing::error!(queue, why, "the queue cannot be consumed");
            } else {
                tracing::warn!(queue, why, "the queue cannot be consumed now");
            }
            said = Some(why);
            tokio::select! {
                () = sleep(pauses.next_random()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Until it is told to stop, or the link ends.
    async fn consume(
        &self,
        stop: &CancellationToken,
        pauses: &mut Pauses,
        state: &mut consuming::Queue,
        said: &mut Option<String>,
    ) -> Result<(), LinkError> {
        let opening = timeout(OPENING, Link::open(&self.broker, &self.queue, &self.node));
        let mut link = tokio::select! {
            opened = opening => opened.map_err(|_| LinkError::Slow)??,
            () = stop.cancelled() => return Ok(()),
        };
        state.here();
        tracing::info!(queue = self.queue, "the queue is being consumed");
        let mut waiting = VecDeque::new();
        let mut again = Pauses::new();
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return link.close().await,
                    next = link.next() => waiting.push_back(next?),
                }
            }
            while waiting.len() < usize::from(self.broker.prefetch)
                && let Some(next) = link.next_at_once()
            {
                waiting.push_back(next?);
            }
            let before = waiting.len();
            let is_stuck = self.publish(&link, &mut waiting).await?;
            if waiting.len() < before {
                // Not before: a queue that ends the link each time must not be tried as if all were well.
                pauses.reset();
                *said = None;
            }
            if stop.is_cancelled() {
                return self.finish(link, waiting).await;
            }
            if is_stuck {
                tokio::select! {
                    () = sleep(again.next_random()) => {}
                    () = stop.cancelled() => {}
                }
                link.check()?;
            } else {
                again.reset();
            }
        }
    }

    /// Publishes some of those that wait, and settles what became of them. Whether something has to be tried again.
    async fn publish(&self, link: &Link, waiting: &mut VecDeque<Delivered>) -> Result<bool, LinkError> {
        let messages = waiting.iter().map(Delivered::message);
        let became = self.publishing.publish(&self.source, messages).await;
        let rest = waiting.split_off(became.len().min(waiting.len()));
        let is_empty = became.is_empty();
        let (mut done, mut refused, mut left) = (Vec::new(), Vec::new(), VecDeque::new());
        for (delivered, became) in std::mem::take(waiting).into_iter().zip(became) {
            match became {
                Became::Done => done.push(delivered),
                Became::Refused(reason) => refused.push((delivered, reason)),
                Became::NotNow => left.push_back(delivered),
            }
        }
        let is_stuck = is_empty || !left.is_empty();
        left.extend(rest);
        *waiting = left;
        link.acknowledge(&done).await?;
        // Last: a broker that takes no messages now must not keep the others from being acknowledged.
        for (delivered, reason) in &refused {
            tracing::warn!(queue = self.queue, reason, "a message of the queue was refused");
            link.refuse(delivered, reason).await?;
        }
        Ok(is_stuck)
    }

    /// The queue stays with this node until all in hand is published, or the time is over: whoever consumes it next gets
    /// what is left, in its place.
    async fn finish(&self, link: Link, mut waiting: VecDeque<Delivered>) -> Result<(), LinkError> {
        let publishing = async {
            while !waiting.is_empty() && !self.publish(&link, &mut waiting).await? {}
            Ok::<_, LinkError>(())
        };
        let _ = timeout(FINISHING, publishing).await;
        link.close().await
    }
}
