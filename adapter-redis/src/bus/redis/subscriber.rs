//! The subscribing connection: rooms are subscribed to in batches, without waiting for one batch before the next, and
//! every confirmation is matched to what was asked.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connection::Connection;
use super::resp::Kind;
use super::{Failure, Shared};
use crate::channel::Channel;
use crate::local::Gap;
use crate::room::RoomName;

mod asking;
mod receiving;

use asking::Asking;
use receiving::Receiving;

/// What the halves of the connection share.
pub(super) struct Subscriptions {
    asked: Mutex<Asked>,
    /// A confirmation came.
    progress: Notify,
    /// There is something to ask again.
    again: Notify,
    /// Everything that was wanted at first was confirmed.
    complete: AtomicBool,
    /// The nonce of the last probe that came back.
    probes: watch::Sender<u64>,
}

#[derive(Default)]
struct Asked {
    commands: VecDeque<Command>,
    /// Batches that were refused whole, in smaller ones.
    again: VecDeque<Vec<RoomName>>,
    refresh: bool,
    /// Rooms whose subscription Redis ended, until it is confirmed again: a gap is said then, and not before.
    lost: HashSet<RoomName>,
    last_progress: Option<Instant>,
}

/// A command that waits for its confirmations, of which there is one for each name.
struct Command {
    purpose: Purpose,
    names: VecDeque<RoomName>,
    /// Of the node's own channels, which are no rooms.
    own: usize,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The node's own channels.
    Own,
    /// Its own sharded channel.
    OwnShard,
    /// The channel of others at this place of the configuration.
    Foreign(usize),
    Join,
    Refresh,
    Leave,
}

#[derive(Clone)]
struct OwnChannels {
    publish: Arc<str>,
    nodes: Arc<str>,
    own: Arc<str>,
    /// For probes alone: whether sharded messages come back too. No room has this name.
    shard: Arc<str>,
    /// Those of others, in the order of the configuration.
    foreign: Arc<[Arc<str>]>,
}

/// Connects, and does nothing until both halves run.
pub(super) async fn subscriber(shared: &Shared) -> Result<(Receiving, Asking, Arc<Subscriptions>), Failure> {
    let (reading, writing) = Connection::open(&shared.config, &format!("roomcast-sub-{}", shared.id))
        .await?
        .into_halves();
    let subscriptions = Arc::new(Subscriptions {
        asked: Mutex::default(),
        progress: Notify::new(),
        again: Notify::new(),
        complete: AtomicBool::new(false),
        probes: watch::Sender::new(0),
    });
    let prefix = &shared.config.prefix;
    let channels = OwnChannels {
        publish: Channel::Publish.name(prefix).into(),
        nodes: Channel::Nodes.name(prefix).into(),
        own: Channel::Node(shared.id.clone()).name(prefix).into(),
        shard: shard(shared).into(),
        foreign: shared
            .config
            .channels
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
    };
    let receiving = Receiving {
        reading,
        subscriptions: Arc::clone(&subscriptions),
        channels: channels.clone(),
    };
    let asking = Asking {
        writing,
        subscriptions: Arc::clone(&subscriptions),
        channels,
    };
    Ok((receiving, asking, subscriptions))
}

/// The channel of a node's sharded probes.
pub(super) fn shard(shared: &Shared) -> String {
    format!("{}:{{}}{}", shared.config.prefix, shared.id)
}

// === impl Subscriptions ===

impl Subscriptions {
    /// Waits until everything that is wanted was confirmed, and says so to whoever enters a room from then on.
    ///
    /// Whatever was published while nobody listened is missing before all that comes from then on. That is said here
    /// and not earlier, because whoever hears of it asks for the current state and must miss nothing afterwards.
    pub(super) async fn complete(&self, shared: &Shared) {
        loop {
            let progress = self.progress.notified();
            if self.asked().commands.is_empty() && self.has_begun() && shared.interests.try_link_up() {
                if !shared.interests.is_empty() {
                    shared.intake.gap(Gap::All);
                }
                self.complete.store(true, Ordering::Release);
                return;
            }
            progress.await;
        }
    }

    /// Asks for everything once more, in case Redis has forgotten some of it.
    pub(super) fn refresh(&self) {
        self.asked().refresh = true;
        self.again.notify_one();
    }

    /// Waits until all that was asked is confirmed.
    pub(super) async fn settled(&self) {
        loop {
            let progress = self.progress.notified();
            {
                let asked = self.asked();
                if asked.commands.is_empty() && asked.again.is_empty() && !asked.refresh {
                    return;
                }
            }
            progress.await;
        }
    }

    /// Waits until this probe is back.
    pub(super) async fn probe(&self, nonce: u64) {
        let mut probes = self.probes.subscribe();
        // The sender is in this very struct.
        let _ = probes.wait_for(|last| *last >= nonce).await;
    }

    /// For how long nothing was confirmed although something was asked.
    pub(super) fn stalled(&self, now: Instant) -> Duration {
        let asked = self.asked();
        asked.commands.front().map_or(Duration::ZERO, |command| {
            let since = asked
                .last_progress
                .map_or(command.since, |last| last.max(command.since));
            now.saturating_duration_since(since)
        })
    }

    fn has_begun(&self) -> bool {
        self.asked().last_progress.is_some()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Command ===

impl Command {
    /// Whether this confirms the next name of the command; and whether that was the last.
    fn confirm(&mut self, kind: Kind, room: Option<&str>) -> Option<(Purpose, bool)> {
        let wanted = match self.purpose {
            Purpose::Own | Purpose::Foreign(_) => Kind::Subscribe,
            Purpose::OwnShard | Purpose::Join | Purpose::Refresh => Kind::Ssubscribe,
            Purpose::Leave => Kind::Sunsubscribe,
        };
        if kind != wanted {
            return None;
        }
        if self.own > 0 {
            if room.is_some() {
                return None;
            }
            self.own = self.own.checked_sub(1)?;
        } else {
            if room.is_none() || self.names.front().map(RoomName::as_str) != room {
                return None;
            }
            self.names.pop_front();
        }
        Some((self.purpose, self.own == 0 && self.names.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn command(purpose: Purpose, rooms: &[&str], own: usize) -> Command {
        Command {
            purpose,
            names: rooms.iter().map(|room| RoomName::new(room).unwrap()).collect(),
            own,
            since: Instant::now(),
        }
    }

    #[test]
    fn confirmations_come_in_the_order_of_the_names() {
        let mut join = command(Purpose::Join, &["a", "b"], 0);
        assert_eq!(join.confirm(Kind::Ssubscribe, Some("b")), None, "not yet");
        assert_eq!(join.confirm(Kind::Sunsubscribe, Some("a")), None, "not that");
        assert_eq!(
            join.confirm(Kind::Ssubscribe, Some("a")),
            Some((Purpose::Join, false))
        );
        assert_eq!(
            join.confirm(Kind::Ssubscribe, Some("b")),
            Some((Purpose::Join, true))
        );
        assert_eq!(join.confirm(Kind::Ssubscribe, Some("b")), None, "no more");
    }

    #[test]
    fn own_channels_are_counted_and_are_no_rooms() {
        let mut own = command(Purpose::Own, &[], 2);
        assert_eq!(own.confirm(Kind::Subscribe, Some("a")), None);
        assert_eq!(own.confirm(Kind::Subscribe, None), Some((Purpose::Own, false)));
        assert_eq!(own.confirm(Kind::Subscribe, None), Some((Purpose::Own, true)));
        assert_eq!(own.confirm(Kind::Subscribe, None), None);
        let mut foreign = command(Purpose::Foreign(0), &[], 1);
        assert_eq!(foreign.confirm(Kind::Ssubscribe, None), None);
        assert_eq!(
            foreign.confirm(Kind::Subscribe, None),
            Some((Purpose::Foreign(0), true))
        );
        let mut shard = command(Purpose::OwnShard, &[], 1);
        assert_eq!(
            shard.confirm(Kind::Ssubscribe, None),
            Some((Purpose::OwnShard, true))
        );
    }
}
