//! What the rest of the gateway may do with this node's sockets.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    AckId, Activity, CloseReason, Config, Keep, Lost, Packet, Slow, SocketId, Transports,
    asking::{Asked, Outcome},
    connection::{Connection, Pushed},
    engine_io::request::Transport,
    hub::Hub,
    ids::Id,
    rooms::Joined,
    socket_io::outgoing::Outgoing,
};

/// Everything that the rest of the gateway may do with this node's sockets.
#[derive(Clone)]
pub struct Sockets(pub(super) Arc<Hub>);

/// Whom an event is for.
pub struct Audience {
    sockets: Vec<Arc<Connection>>,
    hub: Arc<Hub>,
}

/// What became of an event for rooms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Sockets that the event was put down for.
    pub reached: usize,
    /// Sockets that too much waited for already: the event is lost for them, and they are closed.
    pub full: usize,
    /// Sockets that too much waited for already: only the event is lost for them.
    pub lost: usize,
    /// Sockets that were just going away.
    pub gone: usize,
}

impl Sockets {
    /// Of an engine that is to be built with this configuration.
    pub fn new(config: Config) -> Sockets {
        Sockets(Arc::new(Hub::new(config)))
    }

    /// Puts a socket into a room; `false` when it was in it already, or is gone. `keep` is held from the first
    /// member of the room to the last, and dropped at once for all others.
    pub fn join(&self, socket: SocketId, room: &Arc<str>, keep: Keep) -> bool {
        let joined = self.0.rooms_mut().join(socket.0, room, keep);
        // What is not needed is dropped without the lock.
        matches!(joined, Joined::First | Joined::Another(_))
    }

    /// Takes a socket out of a room; `false` when it was not in it.
    pub fn leave(&self, socket: SocketId, room: &str) -> bool {
        let left = self.0.rooms_mut().leave(socket.0, room);
        left.is_some()
    }

    /// A socket without a connection, for tests of what is above the engine.
    #[cfg(test)]
    pub(crate) fn add(&self, socket: SocketId) {
        let connection = Connection::detached(&self.0, socket.0);
        self.0.rooms_mut().add(connection);
    }

    /// Whether a socket is connected here.
    pub fn is_known(&self, socket: SocketId) -> bool {
        self.0.rooms().is_known(socket.0)
    }

    /// Whether a socket is in a room.
    pub fn is_in(&self, socket: SocketId, room: &str) -> bool {
        self.0.rooms().is_member(socket.0, room)
    }

    /// The rooms of a socket.
    pub fn rooms_of(&self, socket: SocketId) -> Vec<Arc<str>> {
        self.0.rooms().of(socket.0).cloned().collect()
    }

    /// The sockets in a room.
    pub fn members(&self, room: &str) -> Vec<SocketId> {
        self.0.rooms().members(room).iter().map(|c| c.socket()).collect()
    }

    /// Sends an event to one socket; `false` when it is gone, or too much waits for it already.
    pub fn emit(&self, socket: SocketId, packet: Packet) -> bool {
        self.send_one(socket, &Outgoing::event(packet, None))
    }

    /// Answers an event; `false` as above.
    pub fn ack(&self, socket: SocketId, id: AckId, packet: Packet) -> bool {
        self.send_one(socket, &Outgoing::ack(packet, id.0))
    }

    /// Whether anybody on this node is in one of the rooms: worth asking before a payload is touched.
    pub fn is_anybody_in<'a>(&self, mut rooms: impl Iterator<Item = &'a str>) -> bool {
        let index = self.0.rooms();
        rooms.any(|room| index.is_inhabited(room))
    }

    /// Everybody in one of `rooms` and in none of `except` (rooms or socket ids), each once. Whoever joins or leaves from
    /// here on does not wait for anything to be written.
    pub fn audience<'a>(&self, rooms: impl Iterator<Item = &'a str>, except: &[String]) -> Audience {
        let now = self.0.now();
        let index = self.0.rooms();
        Audience {
            sockets: index.reached(rooms, except, now, |id| id.parse().ok()),
            hub: self.0.clone(),
        }
    }

    /// Events that clients did not get because they read too slowly and were not closed, since this was last asked.
    pub fn take_lost(&self) -> Lost {
        self.0.losses.take()
    }

    /// Ends all sessions, those to come included. Clients see the transport close and come back by themselves.
    pub fn end_all(&self) {
        self.0.end_all();
    }

    /// Waits until every task of a session has ended: by itself, or by [`Sockets::end_all`].
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// All sockets, and how recently each was used. Walks over all of them and their rooms: not for each event.
    pub fn activities(&self) -> Vec<(SocketId, Activity)> {
        let index = self.0.rooms();
        let activities = index.activities();
        activities
            .map(|(id, activity)| (SocketId(id), activity))
            .collect()
    }

    /// How recently a socket was used: something came from it, or went to a room that it is in. `None` = it is gone.
    pub fn activity(&self, socket: SocketId) -> Option<Activity> {
        self.0.rooms().activity(socket.0)
    }

    /// How many sockets there are.
    pub fn count(&self) -> usize {
        self.0.rooms().count()
    }

    /// All rooms that somebody is in.
    pub fn rooms(&self) -> Vec<String> {
        self.0.rooms().names().map(str::to_owned).collect()
    }

    /// How many rooms somebody is in.
    pub fn room_count(&self) -> usize {
        self.0.rooms().len()
    }

    /// Counts the sockets by transport, and what waits for them. Walks over all of them: for a scrape, not for an event.
    pub fn transports(&self) -> Transports {
        let mut count = Transports::default();
        for connection in self.0.rooms().sockets() {
            let (transport, waiting) = connection.waiting();
            count.waiting += waiting;
            match transport {
                Some(Transport::Websocket) => count.websocket += 1,
                Some(Transport::Polling) => count.polling += 1,
                None => {}
            }
        }
        count
    }

    /// Sends a client away with a DISCONNECT packet: the official client does not come back by itself after it. The
    /// socket is out of its rooms when this returns. Answers whether there was a socket: one that was not told yet that it
    /// is in would see the two in the wrong order, and is none yet.
    #[allow(clippy::unused_async, reason = "part of the seam")]
    pub async fn disconnect(&self, socket: SocketId) -> bool {
        self.0.socket(socket).is_some_and(|c| c.disconnect())
    }

    /// Closes a client's transport without a word of Socket.IO: the official client comes back by itself. The socket
    /// is out of its rooms when this returns. Answers whether there was a socket.
    #[allow(clippy::unused_async, reason = "part of the seam")]
    pub async fn close(&self, socket: SocketId) -> bool {
        self.close_because(socket, CloseReason::ServerClose)
    }

    /// As [`Sockets::close`], because the server is being stopped.
    #[allow(clippy::unused_async, reason = "part of the seam")]
    pub async fn shut_down(&self, socket: SocketId) -> bool {
        self.close_because(socket, CloseReason::ServerShutdown)
    }

    fn close_because(&self, socket: SocketId, reason: CloseReason) -> bool {
        /// A client that is closed comes back at once; RFC 6455, section 7.4.1, calls it "going away".
        const GOING_AWAY: u16 = 1001;
        let found = self.0.socket(socket);
        if let Some(connection) = &found {
            connection.close_with(reason, GOING_AWAY);
        }
        found.is_some()
    }

    fn send_one(&self, socket: SocketId, outgoing: &Outgoing) -> bool {
        self.0.socket(socket).is_some_and(|c| c.send(outgoing))
    }
}

impl Audience {
    /// Whether there is nobody: worth asking before a payload is touched.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Sends an event to all of them. It is put down for each when this returns, in the order of calls, and written soon
    /// after. What becomes of it where too much waits, `slow` says.
    pub fn send(self, packet: Packet, slow: Slow) -> Broadcast {
        self.put_down(&Outgoing::event(packet, None), slow, |_, _| {})
    }

    /// Sends an event to all of them, and asks each for an answer within `timeout`.
    pub fn ask(self, packet: Packet, timeout: Duration) -> Asked {
        let hub = self.hub.clone();
        let ids: HashSet<Id> = self.sockets.iter().map(|c| c.id).collect();
        let count = ids.len();
        let (number, answers) = hub.asks.begin(ids);
        let question = Outgoing::event(packet, Some(number));
        self.put_down(&question, Slow::Disconnect, |socket, outcome| {
            hub.asks.missed(number, socket, outcome);
        });
        Asked::new(hub, number, answers, count, timeout)
    }

    fn put_down(self, outgoing: &Outgoing, slow: Slow, mut missed: impl FnMut(Id, Outcome)) -> Broadcast {
        let Audience { mut sockets, hub } = self;
        let mut result = Broadcast::default();
        // Who has to be written to is left over; all others are, already.
        sockets.retain(|connection| {
            let pushed = connection.push_event(outgoing, slow);
            match pushed {
                Pushed::First | Pushed::Another => result.reached += 1,
                Pushed::Lost => result.lost += 1,
                Pushed::Full(_) => {
                    result.full += 1;
                    missed(connection.id, Outcome::Full);
                }
                Pushed::Gone => {
                    result.gone += 1;
                    missed(connection.id, Outcome::Silence);
                }
            }
            matches!(pushed, Pushed::First | Pushed::Full(true))
        });
        hub.lanes.schedule(sockets);
        result
    }
}

impl std::fmt::Debug for Audience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audience")
            .field("count", &self.sockets.len())
            .finish_non_exhaustive()
    }
}

/// Those of an engine with usual settings and no limits, for tests and benches of what is above it.
impl Default for Sockets {
    fn default() -> Sockets {
        Sockets::new(Config {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            path: "/socket.io".to_owned(),
            websocket: true,
            polling: true,
            max_payload: 0,
            max_outbound: usize::MAX,
            write_deadline: Duration::from_secs(30),
            compression: None,
        })
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sockets")
    }
}
