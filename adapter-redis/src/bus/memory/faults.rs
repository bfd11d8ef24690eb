//! What goes wrong on a real bus, on demand (feature `test-util`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{BusError, BusState, Channel, Hub, MemoryHub, NodeId};
use crate::local::Gap;

/// Faults that are still to happen.
#[derive(Default)]
pub(super) struct Faults {
    next: Mutex<Next>,
    delayed: Arc<Delayed>,
}

#[derive(Default)]
struct Next {
    drop: u64,
    duplicate: u64,
    time_out: u64,
    delay: Duration,
    /// Moves delayed messages on; started with the first delay.
    pump: JoinSet<()>,
}

/// Messages on a slow way, in the order in which they were published.
#[derive(Default)]
struct Delayed {
    messages: Mutex<VecDeque<(Instant, Channel, Bytes)>>,
    arrived: Notify,
}

impl MemoryHub {
    /// Cuts a node off: its state is [`BusState::Reconnecting`], it gets nothing, and publishing answers
    /// [`BusError::Disconnected`].
    pub fn partition(&self, id: &NodeId) {
        if let Some(member) = self.hub.members().get(id) {
            member.interests.link_down();
            member.state.send_replace(BusState::Reconnecting);
        }
    }

    /// Ends [`MemoryHub::partition`]. What was published meanwhile is lost, and the node gets a gap.
    pub fn heal(&self, id: &NodeId) {
        if let Some(member) = self.hub.members().get(id) {
            member.intake.gap(Gap::All);
            member.interests.link_instant();
            member.state.send_replace(BusState::Connected);
        }
    }

    /// From now on the bus does not answer to a node's wish for a room, until it is told to again: then it grants all
    /// that wait, or refuses them.
    pub fn hold_confirmations(&self, id: &NodeId) {
        if let Some(member) = self.hub.members().get(id) {
            member.interests.link_up_by_hand();
        }
    }

    /// Grants every room that a node waits for, and from now on all at once.
    pub fn confirm(&self, id: &NodeId) {
        if let Some(member) = self.hub.members().get(id) {
            member.interests.link_instant();
        }
    }

    /// Refuses every room that a node waits for now.
    pub fn refuse(&self, id: &NodeId) {
        if let Some(member) = self.hub.members().get(id) {
            for room in member.interests.take_wanted(usize::MAX) {
                member.interests.refused(room.as_str());
            }
        }
    }

    /// Loses the next `count` messages of nodes after their publishers were told of success.
    pub fn drop_next(&self, count: u64) {
        self.hub.faults.next().drop = count;
    }

    /// Delivers each of the next `count` messages of nodes twice, which no bus may do.
    pub fn duplicate_next(&self, count: u64) {
        self.hub.faults.next().duplicate = count;
    }

    /// Delivers the next `count` messages of nodes, but tells their publishers [`BusError::Timeout`].
    pub fn time_out_next(&self, count: u64) {
        self.hub.faults.next().time_out = count;
    }

    /// From now on messages of nodes arrive this much later; zero is at once. Their order stays.
    pub fn delay(&self, delay: Duration) {
        let mut next = self.hub.faults.next();
        next.delay = delay;
        if next.pump.is_empty() {
            next.pump.spawn(pump(
                Arc::downgrade(&self.hub),
                Arc::clone(&self.hub.faults.delayed),
            ));
        }
    }

    /// Plays a backend: publishes to a channel without being a node and without faults.
    pub fn inject(&self, channel: &Channel, payload: Bytes) -> u64 {
        self.hub.deliver(channel, &payload)
    }
}

impl Hub {
    pub(super) fn publish_with_faults(&self, channel: &Channel, payload: Bytes) -> Result<u64, BusError> {
        let (dropped, copies, timed_out, delay) = {
            let mut next = self.faults.next();
            let dropped = take_one(&mut next.drop);
            let copies = if take_one(&mut next.duplicate) { 2 } else { 1 };
            (dropped, copies, take_one(&mut next.time_out), next.delay)
        };
        let mut receivers = self
            .members()
            .iter()
            .filter(|(id, member)| member.listens(id, channel))
            .count() as u64;
        if !dropped {
            for _ in 0..copies {
                if delay.is_zero() && self.faults.delayed.is_empty() {
                    receivers = self.deliver(channel, &payload);
                } else {
                    self.faults
                        .delayed
                        .push(Instant::now() + delay, channel.clone(), payload.clone());
                }
            }
        }
        if timed_out {
            Err(BusError::Timeout)
        } else {
            Ok(receivers)
        }
    }
}

impl Faults {
    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delayed {
    fn messages(&self) -> MutexGuard<'_, VecDeque<(Instant, Channel, Bytes)>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.messages().is_empty()
    }

    fn push(&self, due: Instant, channel: Channel, payload: Bytes) {
        self.messages().push_back((due, channel, payload));
        self.arrived.notify_one();
    }
}

fn take_one(left: &mut u64) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// Ends with its hub, which owns it.
async fn pump(hub: Weak<Hub>, delayed: Arc<Delayed>) {
    loop {
        let due = delayed.messages().front().map(|(due, ..)| *due);
        match due {
            None => delayed.arrived.notified().await,
            Some(due) => {
                sleep_until(due).await;
                let Some(hub) = hub.upgrade() else { return };
                // Delivered under the lock, so that nothing overtakes it.
                let mut messages = delayed.messages();
                if let Some((_, channel, payload)) = messages.pop_front() {
                    hub.deliver(&channel, &payload);
                }
            }
        }
    }
}
