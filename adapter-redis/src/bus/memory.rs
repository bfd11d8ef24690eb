//! The bus inside one process: what a single node runs on, and what tests build clusters of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Appending, Bus, BusError, BusState, Fields, Inbound, Publishing, Storing};
use crate::channel::Channel;
use crate::intake::{Arrivals, Intake, Put, intake};
use crate::interest::Interests;
use crate::metrics::{Dropped, Metrics};
use crate::node::NodeId;
use crate::room::RoomName;

#[cfg(feature = "test-util")]
mod faults;
mod sets;
mod store;
mod streams;

use sets::Sets;
use store::Store;
use streams::Streams;

/// How many messages may wait for a node unless the hub is told otherwise.
const QUEUE: usize = 8192;

/// What the members of a memory bus are connected to. Clones are the same hub.
///
/// Each member has a bounded queue. When it is full, what is published to that member is dropped and counted
/// (`roomcast_dropped_total{reason="bus_queue_full"}`), and the member gets a gap in its place; when its receiver is
/// gone, likewise (`bus_queue_closed`), and the member with it. A publisher never waits.
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
    interests: Interests,
    intake: Intake,
}

struct Hub {
    members: Mutex<HashMap<NodeId, Member>>,
    store: Mutex<Store>,
    sets: Mutex<Sets>,
    streams: Mutex<Streams>,
    next_ticket: AtomicU64,
    queue: usize,
    metrics: Metrics,
    #[cfg(feature = "test-util")]
    faults: faults::Faults,
}

struct Member {
    /// Tells a member from a later one with the same id.
    ticket: u64,
    intake: Intake,
    interests: Interests,
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
                store: Mutex::default(),
                sets: Mutex::default(),
                streams: Mutex::default(),
                next_ticket: AtomicU64::new(0),
                queue: queue.max(1),
                metrics,
                #[cfg(feature = "test-util")]
                faults: faults::Faults::default(),
            }),
        }
    }

    /// Publishes a message to a foreign channel, to which every member listens whatever its name is. Answers with how many
    /// those are. Nothing of the faults of tests happens to it.
    pub fn publish_foreign(&self, channel: &str, payload: impl Into<Bytes>) -> u64 {
        self.hub
            .deliver(&Channel::Foreign(channel.into()), &payload.into())
    }

    /// What is in a stream, with the place of each entry: for tests, which are the backend.
    #[must_use]
    pub fn stream(&self, name: &str) -> Vec<(String, Fields)> {
        self.hub.streams().read(name)
    }

    /// Connects a node. A member that joined with the same id before gets nothing any more.
    #[must_use]
    pub fn join(&self, id: &NodeId) -> (MemoryBus, Arrivals) {
        let (intake, arrivals) = intake(self.hub.queue, Dropped::BusQueueFull, self.hub.metrics.clone());
        let (state, states) = watch::channel(BusState::Connected);
        let ticket = self.hub.next_ticket.fetch_add(1, Ordering::Relaxed);
        // Nothing has to be asked for here, so that nothing has to be kept either.
        let interests = Interests::new(Duration::ZERO);
        interests.link_instant();
        let member = Member {
            ticket,
            intake: intake.clone(),
            interests: interests.clone(),
            state,
        };
        if let Some(before) = self.hub.members().insert(id.clone(), member) {
            before.intake.close();
        }
        let bus = MemoryBus {
            hub: Arc::clone(&self.hub),
            id: id.clone(),
            ticket,
            state: states,
            interests,
            intake,
        };
        (bus, arrivals)
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
            self.check_link()?;
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

    fn store<'a>(&'a self, room: &'a RoomName, frame: Bytes, id: Option<&'a str>) -> Storing<'a> {
        Box::pin(async move {
            self.check_link()?;
            let mut store = self.hub.store();
            store.once(room, id, |stamp| {
                let payload = Store::payload(stamp, frame);
                let channel = Channel::Room(room.clone());
                // Under the lock, so that what is stamped first arrives first.
                #[cfg(feature = "test-util")]
                {
                    self.hub.publish_with_faults(&channel, payload)
                }
                #[cfg(not(feature = "test-util"))]
                {
                    Ok(self.hub.deliver(&channel, &payload))
                }
            })
        })
    }

    fn append<'a>(&'a self, stream: &'a str, fields: Fields, most: u32) -> Appending<'a> {
        Box::pin(async move {
            self.check_link()?;
            Ok(self.hub.streams().append(stream, fields, most))
        })
    }

    fn loop_back(&self, channel: Channel, payload: Bytes) -> bool {
        matches!(self.intake.put(Inbound { channel, payload }), Put::Done)
    }

    fn interests(&self) -> &Interests {
        &self.interests
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.state.clone()
    }
}

impl MemoryBus {
    fn check_link(&self) -> Result<(), BusError> {
        if *self.state.borrow() == BusState::Connected {
            Ok(())
        } else {
            Err(BusError::Disconnected)
        }
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

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the message to whoever listens and answers with how many that are. One lock for all of them, so that all
    /// see messages in the same order.
    fn deliver(&self, channel: &Channel, payload: &Bytes) -> u64 {
        let mut receivers = 0;
        self.members().retain(|id, member| {
            if !member.listens(id, channel) {
                return true;
            }
            let message = Inbound {
                channel: channel.clone(),
                payload: payload.clone(),
            };
            match member.intake.put(message) {
                Put::Done => receivers += 1,
                // It listens, and that is what is counted: Redis counts subscribers that lag, too.
                Put::Full(message) => {
                    receivers += 1;
                    member.intake.lose(&message);
                }
                Put::Closed => return false,
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
                Channel::Publish | Channel::Nodes | Channel::Foreign(_) => true,
                Channel::Node(to) => to == id,
                Channel::Room(room) => self.interests.is_live(room.as_str()),
            }
    }
}
