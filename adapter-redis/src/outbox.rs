//! Answers to other nodes on their way out, so that the receive loop never waits for the bus.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use crate::bus::Bus;
use crate::channel::Channel;
use crate::metrics::{Dropped, Metrics};

/// How many answers may wait. The one who asked waits for a second at most, and whatever is further back than this
/// would be late.
const QUEUE: usize = 4096;

/// How many answers are with the bus at the same time. They are independent of each other.
const IN_FLIGHT: usize = 64;

/// Where answers are put.
pub(crate) struct Outbox {
    queue: mpsc::Sender<(Channel, Bytes)>,
    metrics: Metrics,
}

/// What sends them.
pub(crate) struct Sending {
    queue: mpsc::Receiver<(Channel, Bytes)>,
    metrics: Metrics,
}

pub(crate) fn outbox(metrics: &Metrics) -> (Outbox, Sending) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (
        Outbox {
            queue: sender,
            metrics: metrics.clone(),
        },
        Sending {
            queue: receiver,
            metrics: metrics.clone(),
        },
    )
}

impl Outbox {
    /// Sends an answer soon.
    ///
    /// Full: the answer is dropped and counted, and whoever asked gets `complete: false`. Closed: the loop that sends
    /// has ended, and this node with it; counted as well.
    pub(crate) fn send(&self, channel: Channel, payload: Bytes) {
        match self.queue.try_send((channel, payload)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.metrics.dropped(Dropped::AnswerQueueFull, 1),
            Err(mpsc::error::TrySendError::Closed(_)) => self.metrics.dropped(Dropped::AnswerUnsent, 1),
        }
    }
}

impl Sending {
    /// Sends until the outbox is gone and empty. An answer that the bus does not take is dropped and counted: by the
    /// time of a second try nobody would wait for it.
    pub(crate) async fn run(mut self, bus: &dyn Bus) {
        let metrics = &self.metrics;
        stream::poll_fn(|context| self.queue.poll_recv(context))
            .for_each_concurrent(IN_FLIGHT, |(channel, payload)| async move {
                if let Err(error) = bus.publish(&channel, payload).await {
                    metrics.dropped(Dropped::AnswerUnsent, 1);
                    tracing::debug!(%error, "an answer to another node was not sent");
                }
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counters themselves are looked at in `tests/it`; here: neither case blocks or breaks.
    #[test]
    fn full_and_closed_drop_the_answer() {
        let (outbox, sending) = outbox(&Metrics::noop());
        for _ in 0..=QUEUE {
            outbox.send(Channel::Nodes, Bytes::new());
        }
        assert_eq!(outbox.queue.capacity(), 0);
        drop(sending);
        outbox.send(Channel::Nodes, Bytes::new());
    }
}
