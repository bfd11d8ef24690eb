//! Answers of backends to what they found in the stream: published to the node's own room, under the id of the event.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adapter_redis::{NodeId, Publication, RoomName};
use tokio::sync::oneshot;

use crate::{
    engine::Packet,
    metrics::{Dropped, Metrics},
};

/// Whoever waits for an answer by the stream. There are no more of them than events may be on their way.
pub struct Replies {
    node: NodeId,
    room: RoomName,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Packet>>>,
    metrics: Metrics,
}

/// One that waits. Dropping it ends that.
pub(super) struct Reply {
    replies: Arc<Replies>,
    number: u64,
    answer: oneshot::Receiver<Packet>,
}

/// The id of an event, which says whose it is.
pub(super) fn id(node: &NodeId, number: u64) -> String {
    format!("{node}-{number}")
}

/// The room where the answer to an event is waited for; `None` = that is no id of an event.
pub(crate) fn room_of(id: &str) -> Option<RoomName> {
    let (node, number) = id.split_at_checked(16)?;
    let node = NodeId::parse(node).ok()?;
    let _: u64 = number.strip_prefix('-')?.parse().ok()?;
    Some(RoomName::of_replies(&node))
}

impl Replies {
    pub(crate) fn new(node: &NodeId, metrics: Metrics) -> Replies {
        Replies {
            node: node.clone(),
            room: RoomName::of_replies(node),
            waiting: Mutex::default(),
            metrics,
        }
    }

    /// Where they are published.
    pub(super) fn room(&self) -> &RoomName {
        &self.room
    }

    pub(super) fn wait_for(self: &Arc<Replies>, number: u64) -> Reply {
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(number, sender);
        Reply {
            replies: self.clone(),
            number,
            answer,
        }
    }

    /// Takes a publication to a room of answers, whoever's it is: to how many it was given. `None` = it is for clients.
    pub fn take(&self, publication: &Publication) -> Option<usize> {
        let room = publication.rooms.first().filter(|room| room.is_reserved())?;
        // Backends that publish on the channel of all reach all nodes.
        if *room != self.room {
            return Some(0);
        }
        let given = self.number(publication.event.as_str()).is_some_and(|number| {
            let waiting = self.waiting().remove(&number);
            let packet = publication.args.to_ack();
            let packet = Packet {
                text: packet.text,
                attachments: packet.attachments,
            };
            waiting.is_some_and(|waiting| waiting.send(packet).is_ok())
        });
        if !given {
            self.metrics.dropped(Dropped::ForwardReplyLate, 1);
            tracing::debug!("an answer that nobody waits for");
        }
        Some(usize::from(given))
    }

    fn number(&self, id: &str) -> Option<u64> {
        let number = id.strip_prefix(self.node.as_str())?.strip_prefix('-')?;
        number.parse().ok()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Packet>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    /// The answer.
    pub(super) async fn answer(&mut self) -> Packet {
        match (&mut self.answer).await {
            Ok(packet) => packet,
            // Only this takes it out without an answer.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.replies.waiting().remove(&self.number);
    }
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replies").field(&self.room).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_answer_is_waited_for() {
        let node = NodeId::parse("0123456789ab-_YZ").unwrap();
        assert_eq!(room_of(&id(&node, 42)), Some(RoomName::of_replies(&node)));
        for other in [
            "",
            "0123456789ab-_YZ",
            "0123456789ab-_YZ-",
            "0123456789ab-_YZ-x",
            "0123456789ab-_Y-1",
            "0123456789ab-_ü-1",
        ] {
            assert_eq!(room_of(other), None, "{other}");
        }
    }
}
