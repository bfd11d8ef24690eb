//! Messages to other nodes on their way out, so that whoever sends one never waits for the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::bus::Bus;
use crate::channel::Channel;
use crate::metrics::{Dropped, Metrics};

/// How many messages are with the bus at the same time. It is asked in their order, without waiting for its answers.
const IN_FLIGHT: usize = 64;

/// What a queue is for: how much may wait in it, and how it is counted what is not sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    messages: usize,
    bytes: usize,
    full: Dropped,
    unsent: Dropped,
}

/// Answers to other nodes. The one who asked waits for a second at most, and whatever is further back than this would be
/// late.
pub(crate) const ANSWERS: Purpose = Purpose {
    messages: 4096,
    bytes: 64 * 1024 * 1024,
    full: Dropped::AnswerQueueFull,
    unsent: Dropped::AnswerUnsent,
};

/// Relays for other nodes. What is further back than this would be no news any more.
pub(crate) const RELAYS: Purpose = Purpose {
    messages: 4096,
    bytes: 64 * 1024 * 1024,
    full: Dropped::RelayQueueFull,
    unsent: Dropped::RelayUnsent,
};

/// Where messages are put.
pub(crate) struct Outbox {
    purpose: Purpose,
    queue: mpsc::Sender<(Channel, Bytes)>,
    /// What waits.
    bytes: Arc<AtomicUsize>,
    metrics: Metrics,
}

/// What sends them.
pub(crate) struct Sending {
    purpose: Purpose,
    queue: mpsc::Receiver<(Channel, Bytes)>,
    bytes: Arc<AtomicUsize>,
    metrics: Metrics,
}

pub(crate) fn outbox(purpose: &Purpose, metrics: &Metrics) -> (Outbox, Sending) {
    let (sender, receiver) = mpsc::channel(purpose.messages);
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        Outbox {
            purpose: *purpose,
            queue: sender,
            bytes: Arc::clone(&bytes),
            metrics: metrics.clone(),
        },
        Sending {
            purpose: *purpose,
            queue: receiver,
            bytes,
            metrics: metrics.clone(),
        },
    )
}

impl Outbox {
    /// Sends a message soon: see [`Outbox::send_all`].
    pub(crate) fn send(&self, channel: Channel, payload: Bytes) {
        self.send_all(vec![(channel, payload)]);
    }

    /// Sends messages soon, in this order and behind all before: all of them or none. Whether they are on their way.
    ///
    /// Full, by number or by bytes: they are dropped and counted, and whoever waits for an answer gets `complete: false`.
    /// Closed: the loop that sends has ended, and this node with it; counted as well.
    pub(crate) fn send_all(&self, messages: Vec<(Channel, Bytes)>) -> bool {
        let count = messages.len();
        let size = messages.iter().map(|(_, payload)| payload.len()).sum::<usize>();
        let waiting = self.bytes.fetch_add(size, Ordering::Relaxed);
        // Something always fits, whatever its size.
        let permits = if waiting > 0 && waiting + size > self.purpose.bytes {
            Err(TrySendError::Full(()))
        } else {
            self.queue.try_reserve_many(count)
        };
        let dropped = match permits {
            Ok(permits) => {
                for (permit, message) in permits.zip(messages) {
                    permit.send(message);
                }
                return true;
            }
            Err(TrySendError::Full(())) => self.purpose.full,
            Err(TrySendError::Closed(())) => self.purpose.unsent,
        };
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        self.metrics.dropped(dropped, count as u64);
        false
    }
}

impl Sending {
    /// Sends until the outbox is gone and empty. A message that the bus does not take is dropped and counted: by the
    /// time of a second try nobody would wait for it.
    ///
    /// The bus is asked for each message before it is asked for the next one, so that those to one channel arrive in
    /// their order.
    pub(crate) async fn run(mut self, bus: &dyn Bus) {
        let (metrics, bytes, unsent) = (&self.metrics, &*self.bytes, self.purpose.unsent);
        stream::poll_fn(|context| self.queue.poll_recv(context))
            .for_each_concurrent(IN_FLIGHT, |(channel, payload)| async move {
                bytes.fetch_sub(payload.len(), Ordering::Relaxed);
                if let Err(error) = bus.publish(&channel, payload).await {
                    metrics.dropped(unsent, 1);
                    tracing::debug!(%error, "a message to other nodes was not sent");
                }
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Purpose = Purpose {
        messages: 3,
        bytes: 10,
        ..RELAYS
    };

    fn message(bytes: &'static [u8]) -> (Channel, Bytes) {
        (Channel::Nodes, Bytes::from_static(bytes))
    }

    /// The counters themselves are looked at in `tests/it`; here: neither case blocks or breaks.
    #[test]
    fn full_and_closed_drop_the_message() {
        let (outbox, sending) = outbox(&ANSWERS, &Metrics::noop());
        for _ in 0..=ANSWERS.messages {
            outbox.send(Channel::Nodes, Bytes::new());
        }
        assert_eq!(outbox.queue.capacity(), 0);
        drop(sending);
        assert!(!outbox.send_all(vec![message(b"")]));
    }

    #[test]
    fn all_are_taken_or_none() {
        let (outbox, mut sending) = outbox(&FEW, &Metrics::noop());
        assert!(outbox.send_all(vec![message(b"1"), message(b"2")]));
        assert!(!outbox.send_all(vec![message(b"3"), message(b"4")]));
        assert!(outbox.send_all(vec![message(b"5")]));
        let sent = std::iter::from_fn(|| sending.queue.try_recv().ok());
        assert_eq!(
            sent.map(|(_, payload)| payload).collect::<Vec<_>>(),
            ["1", "2", "5"]
        );
    }

    #[test]
    fn bytes_are_bounded_too_but_one_message_always_fits() {
        let (outbox, sending) = outbox(&FEW, &Metrics::noop());
        assert!(outbox.send_all(vec![message(b"more than ten bytes")]));
        assert!(!outbox.send_all(vec![message(b"x")]));
        assert_eq!(
            outbox.bytes.load(Ordering::Relaxed),
            19,
            "what was refused does not wait"
        );
        drop(sending);
    }
}
