//! What a client sends, and how it becomes a socket.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use serde_json::Value;

use super::Connection;
use crate::engine::{
    AckId, CloseReason, Event, Packet as Arguments, Recovery, Refused,
    engine_io::packet,
    hub::{Counterpart, Decided, Entry},
    opening::Opening,
    socket_io::{
        attachments::Waiting,
        msgpack,
        outgoing::Outgoing,
        packet::{self as socket_io, Kind, MAIN, Packet},
    },
    timers::Due,
};

/// Bytes of a message at most from who is not in: it says who it is, and no more. Long enough for a token.
const OUTSIDE: usize = 128 << 10;

/// How often a client may be refused in one session. The official client ends it after the first time; who goes on
/// begins another one, and is counted where sessions are.
const REFUSALS: u8 = 8;

/// What becomes of the client.
#[derive(Default)]
pub(super) struct Inner {
    standing: Standing,
    /// It has sent a packet, which says what all of them are like.
    has_spoken: bool,
    refusals: u8,
    /// A packet whose bytes have not all come.
    waiting: Option<Box<Waiting>>,
}

/// Where a client stands.
#[derive(Default)]
enum Standing {
    /// It has not asked to be let in, or was refused.
    Outside(Box<Opening>),
    /// It has asked.
    Connecting,
    /// It is in.
    In(Arc<dyn Counterpart>),
    /// It was in, and went.
    Left,
    /// It was in, and was sent away, which it may not know yet.
    SentAway,
    /// The session is over.
    #[default]
    Over,
}

impl Inner {
    pub(super) fn outside(opening: Box<Opening>) -> Inner {
        Inner {
            standing: Standing::Outside(opening),
            has_spoken: false,
            refusals: 0,
            waiting: None,
        }
    }

    /// The session is over; `None` = it was before.
    pub(super) fn end(&mut self) -> Option<Option<Arc<dyn Counterpart>>> {
        self.waiting = None;
        match mem::take(&mut self.standing) {
            Standing::Over => None,
            Standing::In(member) => Some(Some(member)),
            _ => Some(None),
        }
    }

    /// The client is no socket any more; `None` = it was none.
    pub(super) fn leave(&mut self, is_own_wish: bool) -> Option<Arc<dyn Counterpart>> {
        let Standing::In(member) = &self.standing else {
            return None;
        };
        let member = member.clone();
        self.waiting = None;
        self.standing = match is_own_wish {
            true => Standing::Left,
            false => Standing::SentAway,
        };
        Some(member)
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_outside(&self) -> bool {
        matches!(
            self.standing,
            Standing::Outside(_) | Standing::Left | Standing::SentAway
        )
    }
}

impl Connection {
    /// Bytes of a message at most.
    pub(in crate::engine) fn longest(&self) -> usize {
        let most = match self.hub.config.max_payload {
            0 => usize::MAX,
            bytes => bytes,
        };
        match self.inner().standing {
            Standing::Outside(_) | Standing::Connecting => most.min(OUTSIDE),
            _ => most,
        }
    }

    /// A packet of text came.
    ///
    /// # Errors
    /// Why the session has to end.
    pub(in crate::engine) fn receive(self: &Arc<Self>, text: &str) -> Result<(), CloseReason> {
        match text.as_bytes().first() {
            Some(&packet::MESSAGE) => self.receive_message(text.get(1..).unwrap_or_default()),
            Some(&packet::PONG) => {
                self.pong();
                Ok(())
            }
            Some(&packet::CLOSE) => Err(CloseReason::TransportClose),
            Some(&packet::NOOP) => Ok(()),
            _ => Err(CloseReason::ParseError),
        }
    }

    /// A packet of bytes came.
    ///
    /// # Errors
    /// As above.
    pub(in crate::engine) fn receive_bytes(self: &Arc<Self>, bytes: &[u8]) -> Result<(), CloseReason> {
        if self.is_packed() {
            return self.receive_packed(bytes);
        }
        let whole = {
            let mut inner = self.inner();
            let Some(waiting) = inner.waiting.as_mut() else {
                let is_first = !mem::replace(&mut inner.has_spoken, true);
                drop(inner);
                return match is_first {
                    true => self.receive_packed(bytes),
                    false => Err(CloseReason::ParseError),
                };
            };
            match waiting.push(bytes).map_err(|_| CloseReason::ParseError)? {
                true => inner.waiting.take(),
                false => None,
            }
        };
        match whole {
            Some(whole) => self.dispatch(whole.kind, whole.id, &whole.data, whole.attachments),
            None => Ok(()),
        }
    }

    /// A packet in MessagePack came. With another one than a CONNECT nobody begins, whatever it is written in.
    fn receive_packed(self: &Arc<Self>, bytes: &[u8]) -> Result<(), CloseReason> {
        let packet = msgpack::reading::read(bytes, self.longest()).map_err(|_| CloseReason::ParseError)?;
        if packet.kind == Kind::Connect {
            self.is_packed.store(true, Ordering::Relaxed);
        }
        self.take(
            packet.kind,
            packet.namespace,
            packet.id,
            &packet.data,
            packet.attachments,
        )
    }

    fn receive_message(self: &Arc<Self>, text: &str) -> Result<(), CloseReason> {
        let packet = socket_io::read(text).map_err(|_| CloseReason::ParseError)?;
        {
            let mut inner = self.inner();
            inner.has_spoken = true;
            if inner.waiting.is_some() || self.is_packed() {
                return Err(CloseReason::ParseError);
            }
        }
        match packet.attachments {
            1.. if packet.namespace == MAIN => self.await_bytes(&packet),
            _ => self.take(packet.kind, packet.namespace, packet.id, packet.data, Vec::new()),
        }
    }

    /// A packet is there with all that belongs to it.
    fn take(
        self: &Arc<Self>,
        kind: Kind,
        namespace: &str,
        id: Option<i64>,
        data: &str,
        attachments: Vec<Bytes>,
    ) -> Result<(), CloseReason> {
        if namespace != MAIN {
            if kind != Kind::Connect {
                return Err(CloseReason::ParseError);
            }
            self.send(&Outgoing::refused(namespace, "Invalid namespace", None));
            return Ok(());
        }
        match kind {
            Kind::Connect => self.ask(data),
            Kind::Disconnect => self.client_leaves(),
            Kind::Event | Kind::Ack => self.dispatch(kind, id, data, attachments),
        }
    }

    fn await_bytes(&self, packet: &Packet<'_>) -> Result<(), CloseReason> {
        let max = self.longest();
        let mut inner = self.inner();
        match inner.standing {
            Standing::In(_) => {}
            Standing::SentAway | Standing::Over => return Ok(()),
            _ => return Err(CloseReason::ParseError),
        }
        let waiting = Waiting::begin(packet, max).map_err(|_| CloseReason::ParseError)?;
        inner.waiting = Some(Box::new(waiting));
        Ok(())
    }

    fn dispatch(
        &self,
        kind: Kind,
        id: Option<i64>,
        data: &str,
        attachments: Vec<Bytes>,
    ) -> Result<(), CloseReason> {
        let member = match &self.inner().standing {
            Standing::In(member) => member.clone(),
            Standing::SentAway | Standing::Over => return Ok(()),
            _ => return Err(CloseReason::ParseError),
        };
        if kind == Kind::Ack {
            if !is_json(data) {
                return Err(CloseReason::ParseError);
            }
            let arguments = Arguments {
                text: data.to_owned(),
                attachments,
            };
            self.hub.asks.answer(id.unwrap_or_default(), self.id, arguments);
            return Ok(());
        }
        self.own.note(self.hub.now());
        // Nobody knows in which state a panic leaves the counterpart, or whoever was going to write what it said.
        let unfinished = Unfinished(self);
        let event = Event::parse(data, attachments);
        let is_event = event.is_ok();
        match event {
            Ok(event) => member.event(event, id.map(AckId)),
            Err(problem) => member.malformed(problem),
        }
        mem::forget(unfinished);
        // Clients may number their events; nobody here knows one.
        match is_event || (is_json(data) && data.as_bytes().get(1).is_some_and(u8::is_ascii_digit)) {
            true => Ok(()),
            false => Err(CloseReason::ParseError),
        }
    }

    /// The client asks to be let in.
    fn ask(self: &Arc<Self>, auth: &str) -> Result<(), CloseReason> {
        let auth = match auth {
            "" => Value::Object(serde_json::Map::new()),
            text => serde_json::from_str(text).map_err(|_| CloseReason::ParseError)?,
        };
        let opening = {
            let mut inner = self.inner();
            if inner.refusals >= REFUSALS {
                return Err(CloseReason::ParseError);
            }
            match mem::replace(&mut inner.standing, Standing::Connecting) {
                Standing::Outside(opening) => opening,
                // Once is enough; and who was sent away begins anew, with all that belongs to it.
                other => {
                    inner.standing = other;
                    return Err(CloseReason::ParseError);
                }
            }
        };
        let Some(door) = self.hub.door() else {
            return Err(CloseReason::ServerShutdown);
        };
        let unfinished = Unfinished(self);
        let mut deciding = door.ask(self.socket(), auth, opening);
        // Most is decided without waiting for anybody, and needs no task.
        let decided = deciding.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        mem::forget(unfinished);
        if let Poll::Ready(decided) = decided {
            self.decide(decided);
            return Ok(());
        }
        let connection = self.clone();
        self.hub.tasks.spawn(async move {
            // Whatever becomes of it: who asks is not kept waiting.
            let unfinished = Unfinished(&connection);
            let decided = deciding.await;
            mem::forget(unfinished);
            connection.decide(decided);
        });
        Ok(())
    }

    fn decide(self: &Arc<Self>, decided: Decided) {
        match decided {
            Ok(entry) => self.enter(entry),
            Err((opening, refused)) => self.refuse(opening, refused),
        }
    }

    /// The client is in: it is in all its rooms, and it is told first.
    fn enter(self: &Arc<Self>, entry: Entry) {
        let Entry {
            member,
            rooms,
            recovery,
        } = entry;
        let Recovery { pid, missed } = recovery.unwrap_or_default();
        let pid = Some(pid.as_str()).filter(|pid| !pid.is_empty());
        let mut inner = self.inner();
        if !matches!(inner.standing, Standing::Connecting) {
            drop(inner);
            return member.gone(CloseReason::NeverConnected);
        }
        let pushed = {
            let mut index = self.hub.rooms_mut();
            index.add(self.clone());
            let not_needed: Vec<_> = rooms
                .into_iter()
                .map(|(room, keep)| index.join(self.id, &room, keep))
                .collect();
            // What it missed comes before, and what is published from here on comes behind.
            let missed = missed.into_iter().map(|packet| Outgoing::event(packet, None));
            let all = missed.chain([Outgoing::connected(self.id, pid)]);
            let pushed: Vec<_> = all.map(|outgoing| self.push(&outgoing)).collect();
            drop(index);
            drop(not_needed); // without the lock
            pushed
        };
        inner.standing = Standing::In(member);
        drop(inner);
        for pushed in pushed {
            self.follow_up(pushed);
        }
    }

    fn refuse(self: &Arc<Self>, opening: Box<Opening>, refused: Refused) {
        {
            let mut inner = self.inner();
            if !matches!(inner.standing, Standing::Connecting) {
                return;
            }
            inner.standing = Standing::Outside(opening);
            inner.refusals += 1;
        }
        self.send(&Outgoing::refused(MAIN, &refused.message, refused.data));
        self.hub.set(Due::Connect, self, 0);
    }

    fn client_leaves(self: &Arc<Self>) -> Result<(), CloseReason> {
        let mut inner = self.inner();
        let Some(member) = inner.leave(true) else {
            return match inner.standing {
                Standing::SentAway | Standing::Over => Ok(()),
                _ => Err(CloseReason::ParseError),
            };
        };
        drop(inner);
        self.leave_rooms();
        self.tell_gone(Some(member), CloseReason::ClientDisconnect);
        // There is nothing else that the session could be for: its client opens another one, if it comes back.
        Err(CloseReason::TransportClose)
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Ends the session of a client whose counterpart, or whoever decides about it, did not come to an end.
struct Unfinished<'a>(&'a Connection);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.close(CloseReason::TransportError);
    }
}
