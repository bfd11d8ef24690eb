//! Events of clients on their way to the backend, by the stream or by the webhook, and its answers on their way back.
//! Everything that is on its way is here, in one task of the node; no session waits for it.
//!
//! Who asked for an answer gets exactly one, whatever happens (`asker.rs`).

mod answer;
mod asker;
mod config;
mod line;
mod load;
mod message;
mod metrics;
mod replies;
mod task;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use adapter_redis::{Bus, NodeId};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    asker::{Asker, Outcome, Watched},
    line::Job,
    load::Load,
};
pub use self::{
    config::{Config, KEYS},
    metrics::Counters,
    replies::Replies,
    task::Forwarder,
};
pub(crate) use self::{line::Line, message::Message, replies::room_of};
use crate::{
    engine::{AckId, SocketId, Sockets},
    metrics::{Dropped, Metrics},
    policy::{Destination, Forward, Identity},
    refusal::Refusal,
    tail::Tails,
    webhook::Webhook,
};

/// How long an answer by the stream is waited for where the rule does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a stopping node waits until everybody is told that it stops.
const STOPPING: Duration = Duration::from_secs(1);

/// The way to the task. Clones are the same.
#[derive(Clone)]
pub(crate) struct Forwarding {
    node: NodeId,
    next: Arc<AtomicU64>,
    load: Arc<Load>,
    stopping: CancellationToken,
    sockets: Sockets,
    webhook: Webhook,
    metrics: Metrics,
    streams: mpsc::Sender<Job>,
    calls: mpsc::Sender<(Arc<Line>, Job)>,
}

/// What a client sent.
pub(crate) struct Sent {
    /// Those who look.
    pub(crate) tails: Option<Tails>,
    pub(crate) event: String,
    /// JSON texts, with markers for bytes.
    pub(crate) arguments: Vec<String>,
    pub(crate) claims: Arc<str>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) socket: SocketId,
    pub(crate) ack: Option<AckId>,
}

/// Both ends, and what answers by the stream arrive at.
pub(crate) fn channel(
    node: &NodeId,
    bus: Arc<dyn Bus>,
    sockets: &Sockets,
    webhook: &Webhook,
    metrics: &Metrics,
    config: &Config,
) -> (Forwarding, Forwarder, Arc<Replies>) {
    // As many as may be on their way altogether, so that neither is ever full.
    let (streams, streams_out) = mpsc::channel(load::MAX_EVENTS);
    let (calls, calls_out) = mpsc::channel(load::MAX_EVENTS);
    let replies = Arc::new(Replies::new(node, metrics.clone()));
    let stopping = CancellationToken::new();
    let forwarding = Forwarding {
        node: node.clone(),
        next: Arc::new(AtomicU64::new(1)),
        load: Arc::default(),
        stopping: stopping.clone(),
        sockets: sockets.clone(),
        webhook: webhook.clone(),
        metrics: metrics.clone(),
        streams,
        calls,
    };
    let forwarder = Forwarder::new(
        (streams_out, calls_out),
        task::Ways {
            bus,
            webhook: webhook.clone(),
            replies: replies.clone(),
            stopping,
            most: config.stream_max_length,
        },
    );
    (forwarding, forwarder, replies)
}

impl Forwarding {
    /// Sends it on. The client is answered later, or at once where it is certain that the backend will not get it.
    ///
    /// What one client sends to the stream stands there in its order; to the webhook it goes one after the other.
    pub(crate) fn submit(&self, sent: Sent, rule: &Forward, line: &Arc<Line>) {
        let (number, at, to) = (
            self.next.fetch_add(1, Ordering::Relaxed),
            SystemTime::now(),
            rule.to(),
        );
        let patience = rule.timeout().unwrap_or_else(|| match to {
            Destination::Stream => TIMEOUT,
            Destination::Webhook => self.webhook.timeout().unwrap_or(TIMEOUT),
        });
        let watched = sent.tails.map(|tails| Watched {
            tails,
            event: sent.event.clone(),
            user: sent.identity.user.clone(),
            since: Instant::now(),
        });
        let asker = Asker::new(&self.sockets, sent.socket, sent.ack, to, &self.metrics, watched);
        let message = Message {
            id: replies::id(&self.node, number),
            event: sent.event,
            arguments: sent.arguments,
            claims: sent.claims,
            identity: sent.identity,
            session: sent.socket.to_string(),
            at,
            deadline: at.checked_add(patience).unwrap_or(at),
        };
        if self.stopping.is_cancelled() {
            return asker.tell(Outcome::Failed(Refusal::BackendUnavailable));
        }
        let Some(held) = load::hold(&self.load, line.count(), message.size()) else {
            self.metrics.dropped(Dropped::ForwardQueueFull, 1);
            return asker.tell(Outcome::QueueFull);
        };
        let job = Job {
            number,
            is_awaited: rule.is_answered() && sent.ack.is_some(),
            is_idempotent: rule.is_idempotent(),
            until: Instant::now() + patience,
            gone: line.gone(),
            message,
            asker,
            _held: held,
        };
        // What is not taken is dropped, and who asked is told by that.
        let full = match to {
            Destination::Stream => self.streams.try_send(job).err().map(|error| error.into_inner()),
            Destination::Webhook => match line.begin(job) {
                Ok(Some(job)) => {
                    let begun = self.calls.try_send((line.clone(), job));
                    begun.err().map(|error| error.into_inner().1)
                }
                Ok(None) => None,
                Err(job) => Some(job),
            },
        };
        if let Some(job) = full {
            self.metrics.dropped(Dropped::ForwardQueueFull, 1);
            job.asker.tell(Outcome::QueueFull);
        }
    }

    /// Nothing is sent on any more, and who waits for an answer is told so, for a second at most.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        if timeout(STOPPING, self.load.idle()).await.is_err() {
            tracing::warn!("some events for the backend were still on their way");
        }
    }
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarding")
    }
}

#[cfg(test)]
#[path = "forwarding/tests.rs"]
mod tests;
