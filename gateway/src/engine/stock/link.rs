//! The tie between a socket of the library and its member: events one way, the end exactly once.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use socketioxide::{
    handler::MessageHandler,
    socket::{DisconnectReason, Sid, Socket},
};
use socketioxide_core::Value as Raw;

use super::super::{AckId, CloseReason, Event, Malformed, Member, activity::Latest};
use super::{Bridge, Sockets};

/// A socket and its member, until the first of: the disconnect handler, the end of the socket's memory.
pub(super) struct Link<M: Member> {
    member: Arc<M>,
    sockets: Sockets,
    socket: Sid,
    /// When the client last sent something.
    own: Arc<Latest>,
    ended: AtomicBool,
}

impl<M: Member> Link<M> {
    pub(super) fn new(member: Arc<M>, sockets: Sockets, socket: Sid, own: Arc<Latest>) -> Arc<Link<M>> {
        Arc::new(Link {
            member,
            sockets,
            socket,
            own,
            ended: AtomicBool::new(false),
        })
    }

    /// The library says that the socket is gone.
    pub(super) fn ended(&self, socket: &Socket<Bridge>, reason: DisconnectReason) {
        let reason = close_reason(reason);
        let broken = matches!(reason, CloseReason::TransportClose | CloseReason::TransportError);
        // What the library takes for the client's or the network's doing may be ours.
        let reason = match socket.extensions.get::<Ending>() {
            Some(Ending(ours)) if broken => ours,
            _ if broken && self.sockets.is_closing() => CloseReason::ServerShutdown,
            _ => reason,
        };
        self.end(reason);
    }

    fn end(&self, reason: CloseReason) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.sockets.forget(self.socket);
            self.member.gone(reason);
        }
    }
}

impl<M: Member> Drop for Link<M> {
    fn drop(&mut self) {
        self.end(CloseReason::NeverConnected);
    }
}

/// Marks a socket that this node ends, and how: its client may be faster than the library in noticing.
#[derive(Clone)]
pub(super) struct Ending(pub(super) CloseReason);

/// Keeps the link alive as long as the socket; extensions want `Clone`.
pub(super) struct Guard<M: Member>(#[allow(dead_code, reason = "held for its Drop")] pub(super) Arc<Link<M>>);

impl<M: Member> Clone for Guard<M> {
    fn clone(&self) -> Self {
        Guard(self.0.clone())
    }
}

pub(super) struct Forward<M: Member>(pub(super) Arc<Link<M>>);

/// Marks [`Forward`] as our own kind of handler, apart from the library's blanket ones.
pub(super) struct InOrder;

impl<M: Member> MessageHandler<Bridge, InOrder> for Forward<M> {
    fn call(&self, _: Arc<Socket<Bridge>>, value: Raw, ack: Option<i64>) {
        self.0.own.note(self.0.sockets.now());
        let Raw::Str(text, attachments) = value else {
            return self.0.member.malformed(Malformed);
        };
        let attachments: Vec<Bytes> = attachments.unwrap_or_else(VecDeque::new).into();
        match Event::parse(text.as_str(), attachments) {
            Ok(event) => self.0.member.event(event, ack.map(AckId)),
            Err(problem) => self.0.member.malformed(problem),
        }
    }
}

fn close_reason(reason: DisconnectReason) -> CloseReason {
    match reason {
        DisconnectReason::TransportClose => CloseReason::TransportClose,
        DisconnectReason::HeartbeatTimeout => CloseReason::PingTimeout,
        DisconnectReason::PacketParsingError | DisconnectReason::MultipleHttpPollingError => {
            CloseReason::ParseError
        }
        DisconnectReason::ClientNSDisconnect => CloseReason::ClientDisconnect,
        DisconnectReason::ServerNSDisconnect => CloseReason::ServerDisconnect,
        DisconnectReason::ClosingServer => CloseReason::ServerShutdown,
        _ => CloseReason::TransportError,
    }
}
