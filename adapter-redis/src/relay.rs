//! Events of clients for other clients: at once to the sockets of this node, and as soon as can be to those of others.
//!
//! What begins with such an event ends by itself when nobody ends it. The node that relayed the beginning sees to that;
//! the others step in when they hear nothing of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::bus::BusState;
use crate::channel::Channel;
use crate::cluster::{Node, unix_ms};
use crate::metrics::{Dropped, Outcome, Source};
use crate::node::NodeId;
use crate::outbox::{Outbox, RELAYS, Sending, outbox};
use crate::publication::Publication;
use crate::publish::serial;
use crate::tap::{Passage, Way};
use crate::wire::{Frame, Handling};

mod endings;
mod phase;

use endings::Endings;
pub use phase::{Ending, Phase, Relay};

/// How long the node that began something has for saying that it ended, when that was due.
const GRACE: Duration = Duration::from_secs(1);

/// For how long the others remember that they ended something themselves, in case its node says so later.
const REMEMBERED: Duration = Duration::from_secs(10);

/// How many endings are delivered before what arrives gets its turn. Not more than are taken from there at a time, because
/// each of them comes back.
const BATCH: usize = 16;

/// What became of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// How many sockets of this node got it.
    pub sockets: u64,
    /// Whether it is on its way to the other nodes. That it arrives there is not promised.
    pub queued: bool,
    /// When it was relayed, in milliseconds since 1970: with this node and its rooms what other nodes know it by.
    pub at_ms: u64,
}

/// What a node knows of its relays, and of those of others.
pub(crate) struct Relays {
    /// What this node began.
    own: Mutex<Endings>,
    /// What others began, for rooms of this node.
    others: Mutex<Endings>,
    /// Frames for others; none while the node does not run.
    outbox: Mutex<Option<Outbox>>,
    /// Something is due earlier than all before.
    earlier: Notify,
}

// === impl Relays ===

impl Relays {
    pub(crate) fn new() -> Self {
        Self {
            own: Mutex::new(Endings::new(Duration::ZERO)),
            others: Mutex::new(Endings::new(REMEMBERED)),
            outbox: Mutex::new(None),
            earlier: Notify::new(),
        }
    }

    /// A node is gone, and what it began is over.
    pub(crate) fn gone(&self, node: &NodeId) {
        let mut others = lock(&self.others);
        let before = others.next();
        others.gone(node, Instant::now());
        self.wake(before, others.next());
    }

    /// How many things have begun, here and elsewhere.
    pub(crate) fn len(&self) -> (usize, usize) {
        (lock(&self.own).len(), lock(&self.others).len())
    }

    /// Wakes who waits for what is due next, if that is earlier than it was.
    fn wake(&self, before: Option<Instant>, now: Option<Instant>) {
        if now.is_some_and(|now| before.is_none_or(|before| now < before)) {
            self.earlier.notify_one();
        }
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn relay(&self, relay: Relay, phase: Phase) -> Relayed {
        let publication = relay.into_publication(unix_ms());
        // Held until the frame is queued: or what ends by itself just now could come behind what prolongs it.
        let _own = match &phase {
            Phase::Once => None,
            Phase::Begins(ending) => Some(self.begin_own(ending, &publication)),
            Phase::Ends { key } => {
                let mut own = lock(&self.relays.own);
                own.end(&(self.id.clone(), *key));
                Some(own)
            }
        };
        self.relay_now(publication, phase)
    }

    fn begin_own(&self, ending: &Ending, publication: &Publication) -> MutexGuard<'_, Endings> {
        let key = (self.id.clone(), ending.key);
        let due = ending.after.and_then(|after| Instant::now().checked_add(after));
        let mut own = lock(&self.relays.own);
        let before = own.next();
        if due.is_none() {
            // Only others have to know: it ends with this node.
            own.end(&key);
        } else if !own.begin(key, ending.of(publication), due) {
            self.metrics.dropped(Dropped::RelayEndingsFull, 1);
        }
        self.relays.wake(before, own.next());
        own
    }

    /// To the sockets of this node and to the other nodes.
    fn relay_now(&self, publication: Publication, phase: Phase) -> Relayed {
        let way = Way::here(Source::Relay, &self.id);
        let (sockets, at_ms) = (
            self.deliver(&publication, way) as u64,
            publication.published_at_ms,
        );
        let connected = *self.bus.state().borrow() == BusState::Connected;
        let outcome = match sockets {
            _ if !connected => Outcome::Local,
            0 => Outcome::Uncounted,
            1.. => Outcome::Reached,
        };
        self.metrics.publish(Source::Relay, outcome);
        let frames = publication.rooms.len() as u64;
        let watched = self.config.tap.is_open().then(|| publication.clone());
        let queued = if connected {
            self.queue_relay(publication, phase)
        } else {
            self.metrics.dropped(Dropped::RelayUnsent, frames);
            false
        };
        if let Some(publication) = watched.as_ref().filter(|_| !queued) {
            let reason = if connected {
                Dropped::RelayQueueFull
            } else {
                Dropped::RelayUnsent
            };
            self.config.tap.show(&Passage::Lost {
                way,
                reason: reason.label(),
                publication: Some(publication),
                room: None,
                bytes: None,
            });
        }
        Relayed {
            sockets,
            queued,
            at_ms,
        }
    }

    fn queue_relay(&self, publication: Publication, phase: Phase) -> bool {
        let rooms = publication.rooms.clone();
        let frame = Frame::Publication {
            handling: Handling {
                serial: serial(&rooms, None),
                local_first: true,
                phase,
                ..Handling::default()
            },
            publication,
        };
        let bytes = frame.encode(&self.id);
        let mut frames: Vec<_> = rooms
            .into_iter()
            .map(|room| (Channel::Room(room), bytes.clone()))
            .collect();
        // Nodes that do not know rooms' channels get it on their own: on the channel of all it would come twice to the
        // others, and to this one.
        let old = self.members().of_wire_below(2);
        if !old.is_empty() && !frames.is_empty() {
            let bytes = frame.encode_for(&self.id, 1);
            frames.extend(old.into_iter().map(|node| (Channel::Node(node), bytes.clone())));
        }
        let sealed = frames.into_iter().map(|(channel, bytes)| {
            let payload = self.seal(&channel, bytes);
            (channel, payload)
        });
        let sealed = sealed.collect::<Vec<_>>();
        match &*lock(&self.relays.outbox) {
            Some(outbox) => outbox.send_all(sealed),
            None => {
                self.metrics.dropped(Dropped::RelayUnsent, sealed.len() as u64);
                false
            }
        }
    }

    /// From now on relays go to other nodes, for as long as what comes back runs.
    pub(crate) fn open_relays(&self) -> Sending {
        let (outbox, sending) = outbox(&RELAYS, &self.metrics);
        *lock(&self.relays.outbox) = Some(outbox);
        sending
    }

    /// What another node's relay begins or ends. Whether its event is to be delivered: not an end that was delivered here
    /// before its node spoke of it.
    pub(crate) fn relayed(&self, sender: &NodeId, phase: Phase, publication: &Publication) -> bool {
        match phase {
            Phase::Once => true,
            Phase::Ends { key } => lock(&self.relays.others).end(&(sender.clone(), key)),
            Phase::Begins(ending) => {
                // Nobody here has seen it begin: a subscription lasts a little longer than its room is used.
                if self.somebody_in(publication) {
                    let after = ending.after.map(|after| after.saturating_add(GRACE));
                    let due = after.and_then(|after| Instant::now().checked_add(after));
                    let mut others = lock(&self.relays.others);
                    let before = others.next();
                    if !others.begin((sender.clone(), ending.key), ending.of(publication), due) {
                        self.metrics.dropped(Dropped::RelayEndingsFull, 1);
                    }
                    self.relays.wake(before, others.next());
                }
                true
            }
        }
    }

    /// Ends what is due, for ever.
    pub(crate) async fn end_relays(&self) {
        let relays = &self.relays;
        loop {
            let next = [&relays.own, &relays.others].map(|table| lock(table).next());
            let now = Instant::now();
            match next.into_iter().flatten().min() {
                Some(due) if due <= now => {
                    self.end_due(now);
                    yield_now().await;
                }
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = relays.earlier.notified() => {}
                },
                None => relays.earlier.notified().await,
            }
        }
    }

    fn end_due(&self, now: Instant) {
        let mut own = lock(&self.relays.own);
        for ((_, key), end) in own.take_due(now, BATCH) {
            self.relay_now(at_once(end), Phase::Ends { key });
        }
        drop(own);
        let over = lock(&self.relays.others).take_due(now, BATCH);
        for (_, end) in over {
            let sockets = self.deliver(&at_once(end), Way::of(Source::Relay));
            let outcome = if sockets > 0 {
                Outcome::Reached
            } else {
                Outcome::Uncounted
            };
            self.metrics.publish(Source::Relay, outcome);
        }
    }

    /// What began at nodes that nobody will declare dead is over.
    pub(crate) fn end_relays_of_strangers(&self) {
        let patience = self.config.heartbeat_timeout;
        let members = self.members();
        let mut others = lock(&self.relays.others);
        let before = others.next();
        others.strangers_gone(Instant::now(), patience, |node| members.knows(node));
        self.relays.wake(before, others.next());
    }

    /// Forgets what began in rooms that nobody here is in any more: its end may have gone by unheard.
    pub(crate) fn forget_relays(&self) {
        lock(&self.relays.others).forget(|end| !self.somebody_in(end));
    }

    fn somebody_in(&self, publication: &Publication) -> bool {
        let (interests, mut rooms) = (self.bus.interests(), publication.rooms.iter());
        rooms.any(|room| interests.held(room.as_str()).is_some())
    }
}

fn at_once(end: Publication) -> Publication {
    Publication {
        published_at_ms: unix_ms(),
        ..end
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
