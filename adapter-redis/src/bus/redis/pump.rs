//! From fred's ring of messages to the node's queue.

use bytes::Bytes;
use fred::types::Message;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::Shared;
use super::link::own_channel;
use crate::bus::Inbound;
use crate::channel::Channel;
use crate::metrics::Dropped;
use crate::wire;

/// Moves messages on until the link that they come from is gone and the ring is empty.
///
/// When the queue is full it waits. Behind it the ring goes on filling, and when that is full the oldest messages are
/// lost, which is counted and said once for each time that it happens. When the receiver is gone, messages are dropped
/// and counted: the link is still good for publishing.
pub(super) async fn pump(ring: Receiver<Message>, queue: mpsc::Sender<Inbound>, shared: &Shared) {
    let mut ring = Ring { ring, shared };
    let own = own_channel(shared);
    // An incident ends when a message arrives without a further loss.
    let mut lagging = false;
    loop {
        let message = match ring.ring.recv().await {
            Ok(message) => message,
            Err(RecvError::Lagged(lost)) => {
                shared.metrics.dropped(Dropped::BusLag, lost);
                if !std::mem::replace(&mut lagging, true) {
                    tracing::warn!(
                        messages = lost,
                        "this node is slower than Redis: messages are lost"
                    );
                }
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        lagging &= !ring.ring.is_empty();
        let is_own = *message.channel == *own;
        let channel = if is_own {
            Some(Channel::Node(shared.id.clone()))
        } else {
            Channel::parse(&shared.config.prefix, &message.channel)
        };
        let (Some(channel), Ok(payload)) = (channel, message.value.convert::<Bytes>()) else {
            shared.metrics.dropped(Dropped::FrameMalformed, 1);
            continue;
        };
        if is_own && wire::is_probe(&payload) {
            continue;
        }
        if queue.send(Inbound { channel, payload }).await.is_err() {
            shared.metrics.dropped(Dropped::BusQueueClosed, 1);
        }
    }
}

/// Counts what is still in the ring when nobody waits for it any more.
struct Ring<'a> {
    ring: Receiver<Message>,
    shared: &'a Shared,
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        self.shared
            .metrics
            .dropped(Dropped::BusLag, self.ring.len() as u64);
    }
}
