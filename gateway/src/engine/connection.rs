//! One client's session: an Engine.IO session, and the Socket.IO socket that it becomes.
//!
//! It is reached from three sides: its transport brings what the client sends, publishers put down what it is to get, and
//! the clock ends it. Locks are taken in this order: `inner`, the rooms, `out`; none is held while the counterpart is told
//! anything.

mod out;
mod receiving;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tokio::net::TcpStream;

pub(super) use self::out::{Polled, Pushed};
use self::{out::Out, receiving::Inner};
use super::{
    CloseReason, SocketId,
    activity::{Latest, Seconds},
    engine_io::{packet, request::Transport},
    hub::{Counterpart, Hub},
    ids::Id,
    opening::{Held, Opening},
    rooms,
    socket_io::outgoing::control_frame,
    timers::Due,
    websocket::frame::Opcode,
};

/// A session.
pub(super) struct Connection {
    pub(super) hub: Arc<Hub>,
    /// The client's secret.
    pub(super) sid: Id,
    /// What it is called as a socket.
    pub(super) id: Id,
    inner: Mutex<Inner>,
    out: Mutex<Out>,
    /// When the client last sent an event.
    own: Latest,
    heartbeat: Heartbeat,
    /// A request brings packets.
    is_pushing: AtomicBool,
    /// It agreed on compressed messages over its websocket.
    is_deflating: AtomicBool,
    /// Its packets are in MessagePack, see [`socket_io::msgpack`](super::socket_io::msgpack).
    is_packed: AtomicBool,
    _held: Option<Held>,
}

/// The pings of a session are numbered, so that an answer to one does not count for another.
#[derive(Debug, Default)]
struct Heartbeat {
    sent: AtomicU32,
    answered: AtomicU32,
}

impl Connection {
    /// A session that polls.
    pub(super) fn polling(
        hub: &Arc<Hub>,
        opening: Box<Opening>,
        held: Option<Held>,
    ) -> Result<Arc<Connection>, getrandom::Error> {
        Connection::begin(hub, opening, held, Out::polling(), false)
    }

    /// A session over a websocket: one that this side writes to at once, or one that its own task writes to.
    pub(super) fn websocket(
        hub: &Arc<Hub>,
        opening: Box<Opening>,
        held: Option<Held>,
        direct: Option<TcpStream>,
        is_deflating: bool,
    ) -> Result<Arc<Connection>, getrandom::Error> {
        Connection::begin(hub, opening, held, Out::websocket(direct), is_deflating)
    }

    fn begin(
        hub: &Arc<Hub>,
        opening: Box<Opening>,
        held: Option<Held>,
        out: Out,
        is_deflating: bool,
    ) -> Result<Arc<Connection>, getrandom::Error> {
        let (sid, id) = Id::pair()?;
        let connection = Arc::new(Connection {
            hub: hub.clone(),
            sid,
            id,
            inner: Mutex::new(Inner::outside(opening)),
            out: Mutex::new(out),
            own: Latest::at(hub.now()),
            heartbeat: Heartbeat::default(),
            is_pushing: AtomicBool::new(false),
            is_deflating: AtomicBool::new(is_deflating),
            is_packed: AtomicBool::new(false),
            _held: held,
        });
        hub.add(&connection);
        if hub.is_closing() {
            // Whoever ends all sessions may not have seen this one.
            connection.close(CloseReason::ServerShutdown);
        }
        Ok(connection)
    }

    /// A socket without a session, for tests of what is above the engine.
    #[cfg(test)]
    pub(super) fn detached(hub: &Arc<Hub>, id: Id) -> Arc<Connection> {
        Arc::new(Connection {
            hub: hub.clone(),
            sid: id,
            id,
            inner: Mutex::default(),
            out: Mutex::new(Out::gone()),
            own: Latest::at(hub.now()),
            heartbeat: Heartbeat::default(),
            is_pushing: AtomicBool::new(false),
            is_deflating: AtomicBool::new(false),
            is_packed: AtomicBool::new(false),
            _held: None,
        })
    }

    /// What was agreed on for the websocket that it moves to. It means nothing to a session that polls.
    pub(super) fn set_deflating(&self, is_deflating: bool) {
        self.is_deflating.store(is_deflating, Ordering::Relaxed);
    }

    /// From how many bytes on messages to its websocket are compressed; `None` = none is.
    pub(super) fn deflates(&self) -> Option<usize> {
        let is_agreed = self.is_deflating.load(Ordering::Relaxed);
        self.hub.config.compression.filter(|_| is_agreed)
    }

    /// Whether the client's first packet was one in MessagePack, so that all are.
    fn is_packed(&self) -> bool {
        self.is_packed.load(Ordering::Relaxed)
    }

    /// The lane that it begins with.
    pub(super) fn lane(&self) -> usize {
        self.id.spread()
    }

    pub(super) fn socket(&self) -> SocketId {
        SocketId(self.id)
    }

    /// Ends the session: the socket is out of its rooms, its counterpart is told, the transport is gone. Only the first
    /// call does anything.
    pub(super) fn close(&self, reason: CloseReason) {
        self.finish(reason, None);
    }

    /// As [`Connection::close`]; a websocket is told why.
    pub(super) fn close_with(&self, reason: CloseReason, status: u16) {
        self.finish(reason, Some(status));
    }

    fn finish(&self, reason: CloseReason, status: Option<u16>) {
        // The reason stands before the peer hears anything: its answer would be another one.
        let Some(member) = self.inner().end() else {
            return;
        };
        self.hub.remove(self.sid);
        if member.is_some() {
            self.leave_rooms();
        }
        let mut out = self.out();
        if let Some(status) = status.filter(|_| out.transport() == Some(Transport::Websocket)) {
            out.put_last(control_frame(Opcode::Close, &status.to_be_bytes()));
        }
        out.end(reason);
        drop(out);
        self.tell_gone(member, reason);
    }

    /// Sends the client away, and lets its transport be: the client closes it. Answers whether there was a socket.
    pub(super) fn disconnect(self: &Arc<Self>) -> bool {
        let Some(member) = self.inner().leave(false) else {
            return false;
        };
        self.leave_rooms();
        self.say_goodbye();
        self.tell_gone(Some(member), CloseReason::ServerDisconnect);
        // A client that stays would stay for ever.
        self.hub.set(Due::Connect, self, 0);
        true
    }

    /// A request brings packets, until what is returned is dropped; `None` = another one does.
    pub(super) fn begin_push(self: &Arc<Self>) -> Option<Pushing> {
        let is_first = !self.is_pushing.swap(true, Ordering::AcqRel);
        is_first.then(|| Pushing(self.clone()))
    }

    fn leave_rooms(&self) {
        let over = self.hub.rooms_mut().remove(self.id);
        drop(over); // without the lock
    }

    fn tell_gone(&self, member: Option<Arc<dyn Counterpart>>, reason: CloseReason) {
        if let Some(member) = member {
            self.hub.asks.gone(self.id);
            member.gone(reason);
        }
    }

    /// A deadline has come.
    pub(super) fn on_due(self: &Arc<Self>, due: Due, number: u32) {
        match due {
            Due::Ping => self.ping(),
            Due::Pong if self.heartbeat.answered.load(Ordering::Relaxed) < number => {
                self.close(CloseReason::PingTimeout);
            }
            Due::Connect if self.inner().is_outside() => self.close(CloseReason::TransportClose),
            Due::Upgrade | Due::Connect | Due::Pong => {}
            Due::Write => self.check_progress(),
        }
    }

    fn ping(self: &Arc<Self>) {
        let number = self.heartbeat.sent.fetch_add(1, Ordering::Relaxed) + 1;
        if self.push_control(packet::PING) {
            self.hub.set(Due::Pong, self, number);
        }
    }

    /// The client answered a ping: the next one comes an interval later.
    fn pong(self: &Arc<Self>) {
        let sent = self.heartbeat.sent.load(Ordering::Relaxed);
        if self.heartbeat.answered.swap(sent, Ordering::Relaxed) != sent {
            self.hub.set(Due::Ping, self, 0);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that brings packets.
pub(super) struct Pushing(Arc<Connection>);

impl Drop for Pushing {
    fn drop(&mut self) {
        self.0.is_pushing.store(false, Ordering::Release);
    }
}

impl rooms::Member for Arc<Connection> {
    fn id(&self) -> Id {
        self.id
    }

    fn own(&self) -> Seconds {
        self.own.get()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.id.to_string()).finish()
    }
}

#[cfg(test)]
mod tests;
