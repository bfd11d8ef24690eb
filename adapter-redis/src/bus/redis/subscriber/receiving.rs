//! The reading half: messages to the node, confirmations to whoever waits for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::super::connection::Reading;
use super::super::resp::{Kind, Reply, Value};
use super::super::{Failure, Shared};
use super::{OwnChannels, Purpose, Subscriptions};
use crate::bus::Inbound;
use crate::channel::Channel;
use crate::intake::Put;
use crate::local::Gap;
use crate::metrics::Dropped;
use crate::room::RoomName;
use crate::wire::{self, Frame, Message, Stored};

/// How long a node that does not keep up is waited for, while Redis keeps what comes (`client-output-buffer-limit`),
/// before messages are lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The reading half.
pub(in super::super) struct Receiving {
    pub(super) reading: Reading,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) channels: OwnChannels,
}

impl Receiving {
    /// Reads until the connection fails. What arrives goes to the node, in the order of arrival.
    pub(in super::super) async fn run(mut self, shared: &Shared) -> Failure {
        loop {
            let reply = match self.reading.next().await {
                Ok(reply) => reply,
                Err(failure) => return failure,
            };
            let handled = match reply {
                Reply::Message { channel, payload } => {
                    self.message(shared, &channel, payload).await;
                    Ok(())
                }
                Reply::Subscription { kind, channel } => self.confirmation(shared, kind, &channel),
                Reply::Answer(Value::Error(error)) => self.refusal(shared, &String::from_utf8_lossy(&error)),
                Reply::Answer(_) | Reply::OtherPush => Ok(()),
            };
            if let Err(failure) = handled {
                return failure;
            }
        }
    }

    async fn message(&self, shared: &Shared, channel: &[u8], payload: Bytes) {
        let Ok(name) = std::str::from_utf8(channel) else {
            return shared.metrics.dropped(Dropped::FrameMalformed, 1);
        };
        let channel = if let Some(room) = Channel::room_in(&shared.config.prefix, name) {
            if !self.subscriptions.complete.load(Ordering::Acquire) {
                // It lies in the gap that is about to be said.
                return shared.metrics.received(false);
            }
            if let Some(room) = shared.interests.held(room) {
                Channel::Room(room)
            } else if Stored::is_envelope(&payload) {
                // Nobody is in it any more, and it is about to be left.
                return shared.metrics.received(false);
            } else if let Ok(room) = RoomName::new(room) {
                // Likewise, but Redis counted this node: whoever waits for its answer has to get one.
                Channel::Room(room)
            } else {
                return shared.metrics.dropped(Dropped::FrameMalformed, 1);
            }
        } else if name == &*self.channels.nodes {
            Channel::Nodes
        } else if name == &*self.channels.own {
            if wire::is_probe(&payload) {
                return self.probe(shared, &payload);
            }
            Channel::Node(shared.id.clone())
        } else if name == &*self.channels.publish {
            Channel::Publish
        } else if name == &*self.channels.shard {
            return self.probe(shared, &payload);
        } else if let Some(name) = self.channels.foreign.iter().find(|foreign| name == &***foreign) {
            Channel::Foreign(Arc::clone(name))
        } else {
            return shared.metrics.dropped(Dropped::FrameMalformed, 1);
        };
        let mut message = Inbound { channel, payload };
        loop {
            match shared.intake.put(message) {
                Put::Done | Put::Closed => return,
                Put::Full(back) => message = back,
            }
            // Shorter than what confirmations and probes behind this message have.
            let patience = PATIENCE.min(shared.config.command_timeout / 2);
            if timeout(patience, shared.intake.space()).await.is_err() {
                return shared.intake.lose(&message);
            }
        }
    }

    fn probe(&self, shared: &Shared, payload: &Bytes) {
        if let Ok(Message {
            sender,
            frame: Frame::Probe { nonce },
        }) = Message::decode(payload)
            && sender == shared.id
        {
            self.subscriptions.probes.send_replace(nonce);
        }
    }

    fn confirmation(&self, shared: &Shared, kind: Kind, channel: &[u8]) -> Result<(), Failure> {
        let name = String::from_utf8_lossy(channel);
        let room = Channel::room_in(&shared.config.prefix, &name);
        let mut asked = self.subscriptions.asked();
        let expected = asked
            .commands
            .front_mut()
            .and_then(|command| command.confirm(kind, room));
        let Some((purpose, done)) = expected else {
            drop(asked);
            // Nobody asked: the slot of the room moved to another server, or somebody took away our rights.
            if let (Kind::Sunsubscribe, Some(room)) = (kind, room) {
                if shared.interests.lost(room)
                    && let Some(room) = shared.interests.held(room)
                {
                    tracing::warn!("Redis ended the subscription of a room; asking again");
                    self.subscriptions.asked().lost.insert(room);
                }
                return Ok(());
            }
            return Err(Failure::other("Redis confirmed what was not asked"));
        };
        asked.last_progress = Some(Instant::now());
        if done {
            asked.commands.pop_front();
        }
        let lost = room.and_then(|room| asked.lost.take(room));
        drop(asked);
        if let Some(lost) = lost {
            shared.intake.gap(Gap::Rooms(vec![lost]));
        }
        if let (Purpose::Join, Some(room)) = (purpose, room) {
            shared.interests.confirmed(room);
        }
        self.subscriptions.progress.notify_waiters();
        Ok(())
    }

    /// An error is the one answer to a whole command.
    fn refusal(&self, shared: &Shared, error: &str) -> Result<(), Failure> {
        let mut asked = self.subscriptions.asked();
        let Some(command) = asked.commands.pop_front() else {
            return Err(Failure::answer(error));
        };
        if let Purpose::Foreign(place) = command.purpose {
            let name = self.channels.foreign.get(place).map_or("", |name| name);
            let Failure { refused, why } = Failure::answer(error);
            let why = format!("the channel {name:?} of `channels` cannot be subscribed to: {why}");
            return Err(Failure { refused, why });
        }
        // What is not about rights is no matter of single rooms, and may pass: a new link asks for all of them again.
        if command.purpose != Purpose::Join || !error.starts_with("NOPERM") {
            return Err(Failure::answer(error));
        }
        asked.last_progress = Some(Instant::now());
        let mut rooms: Vec<_> = command.names.into();
        if let [room] = rooms.as_slice() {
            drop(asked);
            tracing::error!(
                error,
                "Redis refuses the subscription of a room; its rights are too narrow"
            );
            shared.interests.refused(room.as_str());
        } else {
            // Redis refuses all of them for the sake of one.
            let half = rooms.split_off(rooms.len() / 2);
            asked.again.extend([rooms, half]);
            drop(asked);
            self.subscriptions.again.notify_one();
        }
        self.subscriptions.progress.notify_waiters();
        Ok(())
    }
}
