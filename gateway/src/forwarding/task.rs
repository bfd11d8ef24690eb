//! The task: what is on its way to the backend, and what waits for its answers.

use std::{fmt, sync::Arc, time::Duration};

use adapter_redis::{Bus, BusError};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    asker::Outcome,
    line::{Job, Line},
    replies::{Replies, Reply},
};
use crate::{
    refusal::Refusal,
    webhook::{Call, Kind, Webhook},
};

/// The stream's name, behind the prefix.
const STREAM: &str = "inbound";

/// How many entries are with the bus at the same time. It is asked in their order, without waiting for its answers.
const APPENDING: usize = 256;

/// After which time the room of answers is asked for again that the bus refused.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// By which ways the backend is reached.
pub(super) struct Ways {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) webhook: Webhook,
    pub(super) replies: Arc<Replies>,
    pub(super) stopping: CancellationToken,
    /// About how many entries the stream keeps.
    pub(super) most: u32,
}

/// The task's end.
pub struct Forwarder {
    streams: mpsc::Receiver<Job>,
    calls: mpsc::Receiver<(Arc<Line>, Job)>,
    ways: Ways,
}

/// One that is in the stream, and waits for its answer.
struct Awaited {
    job: Job,
    reply: Reply,
}

impl Forwarder {
    pub(super) fn new(
        (streams, calls): (mpsc::Receiver<Job>, mpsc::Receiver<(Arc<Line>, Job)>),
        ways: Ways,
    ) -> Forwarder {
        Forwarder { streams, calls, ways }
    }

    /// Sends on what clients send. Ends when no session can come any more.
    pub async fn run(self) {
        let Forwarder {
            mut streams,
            mut calls,
            ways,
        } = self;
        let mut appending = FuturesUnordered::new();
        let mut awaited = FuturesUnordered::new();
        let mut calling = FuturesUnordered::new();
        let listening = ways.listen();
        tokio::pin!(listening);
        loop {
            tokio::select! {
                job = streams.recv(), if appending.len() < APPENDING => match job {
                    Some(job) => appending.push(ways.append(job)),
                    None => return,
                },
                call = calls.recv() => match call {
                    Some((line, job)) => calling.push(ways.call_all(line, job)),
                    None => return,
                },
                Some(appended) = appending.next() => awaited.extend(appended.map(|a: Awaited| a.wait(&ways))),
                Some(()) = awaited.next() => {}
                Some(()) = calling.next() => {}
                () = &mut listening => {}
            }
        }
    }
}

impl Ways {
    /// Hears of answers for as long as it is polled.
    async fn listen(&self) {
        loop {
            match self.bus.interests().hold(self.replies.room()).await {
                Ok(_interest) => std::future::pending().await,
                Err(error) => {
                    tracing::error!(%error, "backends' answers by the stream do not reach this node");
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// Appends it to the stream; given back, its answer is to be waited for.
    async fn append(&self, job: Job) -> Option<Awaited> {
        // An answer may be here before the bus has said that it took the entry.
        let reply = job.is_awaited.then(|| self.replies.wait_for(job.number));
        let fields = job.message.entry(reply.as_ref().map(|_| self.replies.room()));
        match self.bus.append(STREAM, fields, self.most).await {
            Ok(_) => match reply {
                Some(reply) => return Some(Awaited { job, reply }),
                None => job.asker.tell(Outcome::Accepted(Some(job.message.id))),
            },
            Err(error) => {
                if let BusError::Refused(why) = &error {
                    tracing::error!(why, "Redis does not take an event for the backend");
                }
                job.asker.tell(Outcome::Failed(match error {
                    BusError::Timeout => Refusal::BackendTimeout,
                    BusError::Disconnected | BusError::Refused(_) => Refusal::BackendUnavailable,
                }));
            }
        }
        None
    }

    /// Asks the webhook, and then for whatever waits behind it.
    async fn call_all(&self, line: Arc<Line>, job: Job) {
        let mut next = Some(job);
        while let Some(job) = next {
            self.call(job).await;
            next = line.next();
        }
    }

    async fn call(&self, job: Job) {
        let left = job.until.saturating_duration_since(Instant::now());
        // Its time went by while it waited for those before: the backend has certainly not got it.
        if left.is_zero() || self.stopping.is_cancelled() {
            return job.asker.tell(Outcome::Failed(Refusal::BackendUnavailable));
        }
        let call = Call {
            kind: Kind::Event,
            id: job.message.id.clone(),
            body: job.message.body(),
            patience: Some(left),
            is_idempotent: job.is_idempotent,
        };
        let outcome = tokio::select! {
            answered = self.webhook.call(call) => answer::read(answered),
            () = self.stopping.cancelled() => Outcome::Failed(Refusal::BackendTimeout),
        };
        job.asker.tell(outcome);
    }
}

impl Awaited {
    /// Until the answer is there, or nobody waits for it any more.
    async fn wait(self, ways: &Ways) {
        let Awaited { job, mut reply } = self;
        let outcome = tokio::select! {
            biased;
            packet = reply.answer() => Outcome::Answered(packet),
            () = job.gone.cancelled() => Outcome::Gone,
            () = ways.stopping.cancelled() => Outcome::Failed(Refusal::BackendTimeout),
            () = sleep_until(job.until) => Outcome::Failed(Refusal::BackendTimeout),
        };
        job.asker.tell(outcome);
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarder")
    }
}
