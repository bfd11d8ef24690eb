//! What arrived and waits to be applied: one bounded queue between the bus and the node.
//!
//! A queue that is full loses what comes next, and not what is in it: so what a node delivers of a room is what was
//! published up to some point, then a [`Gap`], then what was published from some later point on.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::bus::Inbound;
use crate::channel::Channel;
use crate::local::Gap;
use crate::metrics::{Dropped, Metrics};
use crate::room::RoomName;

/// The most that may wait in bytes, whatever their number.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a message takes besides its payload.
const OVERHEAD: usize = 64;

/// How many messages between nodes may wait on top: a node that is slow must not look dead as well.
const FOR_NODES: usize = 4096;

/// How many rooms a gap names before it means all of them.
const MAX_NAMED: usize = 10_000;

/// What comes out of a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message(Inbound),
    /// Messages may be missing here.
    Gap(Gap),
}

/// The end of the queue that a node reads.
pub struct Arrivals {
    shared: Arc<Shared>,
    batch: VecDeque<Arrival>,
}

/// The end that a bus fills. Clones are the same.
pub(crate) struct Intake {
    shared: Arc<Shared>,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Put {
    /// It waits, or it is counted as lost with others before it.
    Done,
    /// There is no room for it now.
    Full(Inbound),
    /// Nobody will read it.
    Closed,
}

struct Shared {
    queue: Mutex<Queue>,
    capacity: usize,
    senders: AtomicUsize,
    arrived: Notify,
    space: Notify,
    lost_as: Dropped,
    metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arrival>,
    bytes: usize,
    /// What was lost behind the messages that wait. While this is set, everything else is lost too.
    lost: Option<Lost>,
    reader_gone: bool,
    closed: bool,
}

#[derive(Default)]
struct Lost {
    rooms: HashSet<RoomName>,
    everywhere: bool,
    messages: u64,
}

/// A queue for `capacity` messages, and not more than 64 MiB of them. What is lost is counted as `lost_as`.
pub(crate) fn intake(capacity: usize, lost_as: Dropped, metrics: Metrics) -> (Intake, Arrivals) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        capacity: capacity.max(1),
        senders: AtomicUsize::new(1),
        arrived: Notify::new(),
        space: Notify::new(),
        lost_as,
        metrics,
    });
    let arrivals = Arrivals {
        shared: Arc::clone(&shared),
        batch: VecDeque::new(),
    };
    (Intake { shared }, arrivals)
}

// === impl Intake ===

impl Intake {
    /// Puts a message behind those that wait. Never waits itself.
    pub(crate) fn put(&self, message: Inbound) -> Put {
        let mut queue = self.shared.queue();
        if queue.reader_gone {
            self.shared.metrics.dropped(Dropped::BusQueueClosed, 1);
            return Put::Closed;
        }
        let for_nodes = matches!(message.channel, Channel::Nodes | Channel::Node(_));
        let capacity = self.shared.capacity + if for_nodes { FOR_NODES } else { 0 };
        let size = message.payload.len() + OVERHEAD;
        // One message always fits, whatever its size.
        let full = queue.waiting.len() >= capacity || (queue.bytes > 0 && queue.bytes + size > MAX_BYTES);
        if queue.lost.is_some() && (full || !for_nodes) {
            self.shared.lose(&mut queue, &message);
            return Put::Done;
        }
        if full {
            return Put::Full(message);
        }
        queue.bytes += size;
        self.push(queue, Arrival::Message(message));
        Put::Done
    }

    /// Gives a message up for which there is no room. The incident ends, with its [`Gap`], when the node has read what
    /// was waiting.
    pub(crate) fn lose(&self, message: &Inbound) {
        let mut queue = self.shared.queue();
        if queue.lost.is_none() {
            tracing::warn!(
                waiting = queue.waiting.len(),
                "this node is slower than its bus: messages are lost"
            );
        }
        self.shared.lose(&mut queue, message);
        drop(queue);
        // The node may have read everything meanwhile.
        self.shared.arrived.notify_one();
    }

    /// Says that messages may be missing behind those that wait.
    pub(crate) fn gap(&self, gap: Gap) {
        let queue = self.shared.queue();
        if !queue.reader_gone {
            self.push(queue, Arrival::Gap(gap));
        }
    }

    /// Waits until the node has taken something, or has gone.
    pub(crate) async fn space(&self) {
        loop {
            let space = self.shared.space.notified();
            {
                let queue = self.shared.queue();
                if queue.reader_gone
                    || (queue.waiting.len() < self.shared.capacity && queue.bytes < MAX_BYTES)
                {
                    return;
                }
            }
            space.await;
        }
    }

    /// Ends the queue for its reader, once that has read what waits.
    pub(crate) fn close(&self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_one();
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, arrival: Arrival) {
        let first = queue.waiting.is_empty();
        queue.waiting.push_back(arrival);
        drop(queue);
        if first {
            self.shared.arrived.notify_one();
        }
    }
}

impl Clone for Intake {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.arrived.notify_one();
        }
    }
}

// === impl Arrivals ===

impl Arrivals {
    /// The next one, in the order of arrival; `None` when the bus is gone and everything was read. Nothing is lost
    /// when the future is dropped.
    pub async fn recv(&mut self) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.batch.pop_front() {
                return Some(arrival);
            }
            let closed = self.shared.senders.load(Ordering::Acquire) == 0 || self.shared.queue().closed;
            if self.take() {
                continue;
            }
            if closed {
                return None;
            }
            self.shared.arrived.notified().await;
        }
    }

    /// The next one if it is there already.
    pub fn try_recv(&mut self) -> Option<Arrival> {
        if self.batch.is_empty() {
            self.take();
        }
        self.batch.pop_front()
    }

    /// Takes all that waits in one go.
    fn take(&mut self) -> bool {
        let mut queue = self.shared.queue();
        std::mem::swap(&mut queue.waiting, &mut self.batch);
        queue.bytes = 0;
        if let Some(lost) = queue.lost.take() {
            tracing::warn!(
                messages = lost.messages,
                room.count = lost.rooms.len(),
                "messages were lost because this node was slower than its bus"
            );
            if lost.everywhere {
                self.batch.push_back(Arrival::Gap(Gap::All));
            } else if !lost.rooms.is_empty() {
                self.batch
                    .push_back(Arrival::Gap(Gap::Rooms(lost.rooms.into_iter().collect())));
            }
        }
        drop(queue);
        if self.batch.is_empty() {
            return false;
        }
        self.shared.space.notify_one();
        true
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.reader_gone = true;
        queue.waiting.clear();
        queue.lost = None;
        drop(queue);
        self.shared.space.notify_one();
    }
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals").finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, queue: &mut Queue, message: &Inbound) {
        self.metrics.dropped(self.lost_as, 1);
        let lost = queue.lost.get_or_insert_with(Lost::default);
        lost.messages += 1;
        match &message.channel {
            Channel::Room(room) if lost.rooms.len() < MAX_NAMED => {
                lost.rooms.insert(room.clone());
            }
            // An envelope for whatever rooms, or too many rooms to name.
            Channel::Room(_) | Channel::Publish | Channel::Foreign(_) => lost.everywhere = true,
            Channel::Nodes | Channel::Node(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use bytes::Bytes;

    use super::*;

    fn message(room: &str, payload: &'static str) -> Inbound {
        Inbound {
            channel: Channel::Room(RoomName::new(room).unwrap()),
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    fn put_or_lose(intake: &Intake, message: Inbound) {
        if let Put::Full(message) = intake.put(message) {
            intake.lose(&message);
        }
    }

    fn texts(arrivals: &mut Arrivals) -> Vec<String> {
        std::iter::from_fn(|| arrivals.try_recv())
            .map(|arrival| match arrival {
                Arrival::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
                Arrival::Gap(Gap::All) => "gap everywhere".to_owned(),
                Arrival::Gap(Gap::Rooms(mut rooms)) => {
                    rooms.sort();
                    format!("gap in {rooms:?}")
                }
            })
            .collect()
    }

    #[test]
    fn a_gap_is_where_messages_were_lost_and_names_their_rooms() {
        let (intake, mut arrivals) = intake(2, Dropped::BusLag, Metrics::noop());
        for (room, text) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("b", "5")] {
            put_or_lose(&intake, message(room, text));
        }
        assert_eq!(texts(&mut arrivals), ["1", "2", r#"gap in ["a", "b"]"#]);
        put_or_lose(&intake, message("a", "6"));
        assert_eq!(texts(&mut arrivals), ["6"], "the incident is over");
    }

    #[test]
    fn a_lost_envelope_is_a_gap_everywhere_and_nodes_are_heard_all_the_while() {
        let (intake, mut arrivals) = intake(1, Dropped::BusLag, Metrics::noop());
        let on = |channel| Inbound {
            channel,
            payload: Bytes::from_static(b"x"),
        };
        put_or_lose(&intake, on(Channel::Publish));
        put_or_lose(&intake, on(Channel::Publish));
        put_or_lose(&intake, on(Channel::Nodes));
        assert_eq!(texts(&mut arrivals), ["x", "x", "gap everywhere"]);
    }

    #[test]
    fn bytes_are_bounded_too_but_one_message_always_fits() {
        let (intake, mut arrivals) = intake(100, Dropped::BusLag, Metrics::noop());
        let big = Inbound {
            channel: Channel::Publish,
            payload: vec![b'x'; MAX_BYTES].into(),
        };
        assert!(matches!(intake.put(big.clone()), Put::Done));
        assert!(matches!(intake.put(big), Put::Full(_)));
        assert!(arrivals.try_recv().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn both_ends_notice_that_the_other_is_gone() {
        let (intake, mut arrivals) = intake(1, Dropped::BusLag, Metrics::noop());
        let other = intake.clone();
        drop(intake);
        assert!(matches!(other.put(message("a", "1")), Put::Done));
        drop(other);
        assert!(arrivals.recv().await.is_some());
        assert!(arrivals.recv().await.is_none());

        let (intake, arrivals) = super::intake(1, Dropped::BusLag, Metrics::noop());
        assert!(matches!(intake.put(message("a", "1")), Put::Done));
        drop(arrivals);
        intake.space().await;
        assert!(matches!(intake.put(message("a", "2")), Put::Closed));
    }
}
