//! The node's own sockets, as the cluster sees them. The gateway implements this.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::census::Census;
use crate::publication::Publication;
use crate::question::{Acks, Answer, Question};
use crate::room::RoomName;

/// What the sockets of this node do with what arrives.
///
/// Called from the cluster's receive loop: an implementation must not block, and nothing that it does may wait for a
/// socket. It is called once for each publication that arrives, in the order of arrival. What is answered with a
/// future is polled beside that loop. What reaches this node's own sockets first is delivered by whoever publishes or
/// relays it, beside the loop as well; an implementation must not relay itself.
pub trait LocalSockets: Send + Sync + 'static {
    /// Gives the event to every socket of this node that is in one of the rooms and in none of the exceptions, and
    /// answers to how many. A socket counts when the event was accepted for sending, not when the client has it.
    fn deliver(&self, publication: &Publication) -> usize;

    /// As [`LocalSockets::deliver`], and asks each socket for an acknowledgement. Ends when all have answered, and
    /// after `timeout` at the latest.
    fn request(&self, publication: &Publication, timeout: Duration) -> Later<Acks>;

    /// Answers a question about this node's sockets, or carries out an order.
    fn answer(&self, question: Question) -> Later<Answer>;

    /// Events for these rooms may have been lost between what was delivered before this call and what will be
    /// delivered after it.
    fn gap(&self, gap: &Gap);

    /// Who is connected to this node now.
    fn census(&self) -> Census;

    /// How much this node has to do now.
    fn load(&self) -> Load;
}

/// An answer on its way.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where events may have been lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// In any room: the link was away, or was doubted.
    All,
    /// In these rooms: this node was too slow for them.
    Rooms(Vec<RoomName>),
}

/// How much a node has to do; it travels with heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Load {
    /// Connected sockets.
    pub connected: u64,
    /// Rooms with members.
    pub rooms: u64,
    /// What it can take over from others; `None` from a build that does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

/// Whether a node takes clients, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Admission {
    /// It is being stopped: it takes nobody, and its clients are about to go to others.
    pub is_draining: bool,
    /// New sessions that it can admit each second, beyond those that come anyway.
    pub per_second: u64,
}

/// The sockets of a process that only publishes: none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSockets;

impl LocalSockets for NoSockets {
    fn deliver(&self, _: &Publication) -> usize {
        0
    }

    fn request(&self, _: &Publication, _: Duration) -> Later<Acks> {
        Box::pin(std::future::ready(Acks::default()))
    }

    fn answer(&self, _: Question) -> Later<Answer> {
        Box::pin(std::future::ready(Answer::default()))
    }

    fn gap(&self, _: &Gap) {}

    fn census(&self) -> Census {
        Census::default()
    }

    fn load(&self) -> Load {
        Load::default()
    }
}
