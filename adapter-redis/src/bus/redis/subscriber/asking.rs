//! The writing half: what is wanted is asked for, and what is not any more is left.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{Failure, Shared, resp};
use super::{Command, OwnChannels, Purpose, Subscriptions};
use crate::channel::Channel;
use crate::room::RoomName;

/// How many rooms one command names. Redis does nothing else meanwhile: about half a millisecond.
const BATCH: usize = 512;

/// How many commands may wait for their confirmations.
const PIPELINE: usize = 64;

/// The writing half.
pub(in super::super) struct Asking {
    pub(super) writing: OwnedWriteHalf,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) channels: OwnChannels,
}

impl Asking {
    /// Asks for what is wanted, and leaves what is not any more, until the connection fails.
    pub(in super::super) async fn run(mut self, shared: &Shared) -> Failure {
        let mut out = Vec::new();
        self.own(&mut out);
        loop {
            let due = self.collect(shared, &mut out);
            if out.is_empty() {
                let subscriptions = &self.subscriptions;
                tokio::select! {
                    () = shared.interests.changed() => {}
                    () = subscriptions.again.notified() => {}
                    () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                }
                continue;
            }
            match timeout(shared.config.command_timeout, self.writing.write_all(&out)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Failure::other(&error.to_string()),
                Err(_) => return Failure::other("Redis does not read what is sent to it"),
            }
            // What a wave of joins needed is not kept.
            out = Vec::new();
            loop {
                let progress = self.subscriptions.progress.notified();
                if self.subscriptions.asked().commands.len() < PIPELINE {
                    break;
                }
                progress.await;
            }
        }
    }

    fn own(&self, out: &mut Vec<u8>) {
        let OwnChannels {
            publish,
            nodes,
            own,
            shard,
            foreign,
        } = &self.channels;
        let parts = ["SUBSCRIBE", publish, nodes, own].map(str::as_bytes);
        resp::encode(out, parts.into_iter());
        self.expect(Purpose::Own, Vec::new(), parts.len() - 1);
        resp::encode(out, ["SSUBSCRIBE", shard].map(str::as_bytes).into_iter());
        self.expect(Purpose::OwnShard, Vec::new(), 1);
        // One by one: a refusal does not say of which channel.
        for (place, name) in foreign.iter().enumerate() {
            resp::encode(out, ["SUBSCRIBE", name].map(str::as_bytes).into_iter());
            self.expect(Purpose::Foreign(place), Vec::new(), 1);
        }
    }

    /// Writes what there is to ask, and says when there will be something to leave.
    fn collect(&self, shared: &Shared, out: &mut Vec<u8>) -> Option<Instant> {
        let prefix = &shared.config.prefix;
        let (again, refresh) = {
            let mut asked = self.subscriptions.asked();
            (asked.again.pop_front(), std::mem::take(&mut asked.refresh))
        };
        if refresh {
            self.own(out);
            for rooms in shared.interests.live().chunks(BATCH) {
                self.rooms(out, prefix, Purpose::Refresh, rooms.to_vec());
            }
        }
        if let Some(rooms) = again {
            self.rooms(out, prefix, Purpose::Join, rooms);
        }
        // Before what is wanted: the same room may be in both, in this order.
        let (idle, due) = shared.interests.take_idle(Instant::now(), BATCH);
        self.rooms(out, prefix, Purpose::Leave, idle);
        self.rooms(out, prefix, Purpose::Join, shared.interests.take_wanted(BATCH));
        due
    }

    fn rooms(&self, out: &mut Vec<u8>, prefix: &str, purpose: Purpose, rooms: Vec<RoomName>) {
        if rooms.is_empty() {
            return;
        }
        let command = if purpose == Purpose::Leave {
            "SUNSUBSCRIBE"
        } else {
            "SSUBSCRIBE"
        };
        let names: Vec<String> = std::iter::once(command.to_owned())
            .chain(rooms.iter().map(|room| Channel::Room(room.clone()).name(prefix)))
            .collect();
        resp::encode(out, names.iter().map(String::as_bytes));
        self.expect(purpose, rooms, 0);
    }

    fn expect(&self, purpose: Purpose, rooms: Vec<RoomName>, own: usize) {
        self.subscriptions.asked().commands.push_back(Command {
            purpose,
            names: rooms.into(),
            own,
            since: Instant::now(),
        });
    }
}
