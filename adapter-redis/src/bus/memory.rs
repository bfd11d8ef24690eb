//! The bus inside one process: what a single node runs on, and what tests build clusters of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Bus, BusError, BusState, Inbound, Publishing};
use crate::channel::Channel;
use crate::metrics::{Dropped, Metrics};
use crate::node::NodeId;

#[cfg(feature = "test-util")]
mod faults;

/// How many messages may wait for a node unless the hub is told otherwise.
const QUEUE: usize = 8192;

/// What the members of a memory bus are connected to. Clones are the same hub.
///
/// Each member has a bounded queue. When it is full, what is published to that member is dropped and counted
/// (`roomcast_dropped_total{reason="bus_queue_full"}`); when its receiver is gone, likewise (`bus_queue_closed`), and
/// the member with it. A publisher never waits.
#[derive(Clone)]
pub struct MemoryHub {
    hub: Arc<Hub>,
}

/// One node's link to a [`MemoryHub`]. It is connected from the start, and for ever; dropping it leaves the hub.
pub struct MemoryBus {
    hub: Arc<Hub>,
    id: NodeId,
    ticket: u64,
    state: watch::Receiver<BusState>,
}

struct Hub {
    members: Mutex<HashMap<NodeId, Member>>,
    next_ticket: AtomicU64,
    queue: usize,
    metrics: Metrics,
    #[cfg(feature = "test-util")]
    faults: faults::Faults,
}

struct Member {
    /// Tells a member from a later one with the same id.
    ticket: u64,
    queue: mpsc::Sender<Inbound>,
    state: watch::Sender<BusState>,
}

// === impl MemoryHub ===

impl MemoryHub {
    /// A hub without members, whose members may have 8192 messages waiting.
    #[must_use]
    pub fn new() -> Self {
        Self::with(QUEUE, Metrics::noop())
    }

    /// A hub whose members may have `queue` messages waiting (at least one), and that counts in `metrics` what it drops.
    #[must_use]
    pub fn with(queue: usize, metrics: Metrics) -> Self {
        Self {
            hub: Arc::new(Hub {
                members: Mutex::default(),
                next_ticket: AtomicU64::new(0),
                queue: queue.max(1),
                metrics,
                #[cfg(feature = "test-util")]
                faults: faults::Faults::default(),
            }),
        }
    }

    /// Connects a node. A member that joined with the same id before gets nothing any more.
    #[must_use]
    pub fn join(&self, id: &NodeId) -> (MemoryBus, mpsc::Receiver<Inbound>) {
        let (queue, inbound) = mpsc::channel(self.hub.queue);
        let (state, states) = watch::channel(BusState::Connected);
        let ticket = self.hub.next_ticket.fetch_add(1, Ordering::Relaxed);
        self.hub
            .members()
            .insert(id.clone(), Member { ticket, queue, state });
        (
            MemoryBus {
                hub: Arc::clone(&self.hub),
                id: id.clone(),
                ticket,
                state: states,
            },
            inbound,
        )
    }
}

impl Default for MemoryHub {
    fn default() -> Self {
        Self::new()
    }
}

// === impl MemoryBus ===

impl Bus for MemoryBus {
    fn publish<'a>(&'a self, channel: &'a Channel, payload: Bytes) -> Publishing<'a> {
        Box::pin(async move {
            if *self.state.borrow() != BusState::Connected {
                return Err(BusError::Disconnected);
            }
            #[cfg(feature = "test-util")]
            {
                self.hub.publish_with_faults(channel, payload)
            }
            #[cfg(not(feature = "test-util"))]
            {
                Ok(self.hub.deliver(channel, &payload))
            }
        })
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.state.clone()
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        let mut members = self.hub.members();
        if members
            .get(&self.id)
            .is_some_and(|member| member.ticket == self.ticket)
        {
            members.remove(&self.id);
        }
    }
}

// === impl Hub ===

impl Hub {
    fn members(&self) -> MutexGuard<'_, HashMap<NodeId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the message to whoever listens and answers with how many that are. One lock for all of them, so that all
    /// see messages in the same order.
    fn deliver(&self, channel: &Channel, payload: &Bytes) -> u64 {
        let mut receivers = 0;
        self.members().retain(|id, member| {
            if !member.listens(id, channel) {
                return true;
            }
            match member.queue.try_send(Inbound {
                channel: channel.clone(),
                payload: payload.clone(),
            }) {
                Ok(()) => receivers += 1,
                // It listens, and that is what is counted: Redis counts subscribers that lag, too.
                Err(mpsc::error::TrySendError::Full(_)) => {
                    receivers += 1;
                    self.metrics.dropped(Dropped::BusQueueFull, 1);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.metrics.dropped(Dropped::BusQueueClosed, 1);
                    return false;
                }
            }
            true
        });
        receivers
    }
}

impl Member {
    fn listens(&self, id: &NodeId, channel: &Channel) -> bool {
        *self.state.borrow() == BusState::Connected
            && match channel {
                Channel::Publish | Channel::Nodes => true,
                Channel::Node(to) => to == id,
            }
    }
}
