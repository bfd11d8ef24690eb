//! The engine on stock socketioxide. Everything that names it is in this file and those below it.
//!
//! What this works around, with the reasons in `docs/decisions/0002-stock-engine.md`: handlers and rooms are set
//! up in a connect *middleware*, because the connect handler runs in a task of its own, after the client was
//! told; events go through one synchronous handler, because the usual ones run in tasks of their own, out of
//! order; transports are closed below, in `stream.rs`.

mod asking;
mod bridge;
mod ending;
mod link;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    middleware::{Next, from_fn},
};
use http::StatusCode;
use serde_json::Value;
use socketioxide::{
    SocketIo, SocketIoBuilder, TransportType,
    extract::{SocketRef, TryData},
    socket::{DisconnectReason, Sid},
};
use socketioxide_core::{
    Value as Raw,
    adapter::{BroadcastOptions, errors::SocketError},
    packet::Packet as SioPacket,
};
use tokio::time::Instant;

pub use self::asking::{Asked, Outcome};
use self::{
    bridge::Bridge,
    ending::Endpoint,
    link::{Forward, Guard, Link},
};
use super::{
    AckId, Admitted, Application, Config, Handshake, Keep, Packet, Peer, SocketId, Transports,
    activity::{Activity, Latest, Seconds},
    rooms::{Joined, Rooms},
    upgrades::Upgrades,
};

/// Packets that may wait for one client. Beyond it, events for that client are lost (and counted): stock
/// socketioxide has no other bound.
const QUEUE: usize = 4096;
/// Of a websocket's messages; the default of 4 KiB is paid by every idle connection.
const READ_BUFFER: usize = 1024;
const NAMESPACE: &str = "/";

pub(super) type Id = Sid;

/// Everything that the rest of the gateway may do with this node's sockets.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Shared>);

struct Shared {
    /// What seconds are counted from.
    began: Instant,
    rooms: RwLock<Rooms<Sid, Keep>>,
    adapter: OnceLock<Arc<Bridge>>,
    io: OnceLock<SocketIo<Bridge>>,
    upgrades: Upgrades<Sid>,
    endpoint: OnceLock<Endpoint>,
    closing: AtomicBool,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            began: Instant::now(),
            rooms: RwLock::default(),
            adapter: OnceLock::new(),
            io: OnceLock::new(),
            upgrades: Upgrades::default(),
            endpoint: OnceLock::new(),
            closing: AtomicBool::new(false),
        }
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sockets")
    }
}

impl Sockets {
    /// Puts a socket into a room; `false` when it was in it already, or is gone. `keep` is held from the first
    /// member of the room to the last, and dropped at once for all others.
    pub fn join(&self, socket: SocketId, room: &Arc<str>, keep: Keep) -> bool {
        self.change(|index, adapter| {
            let joined = index.join(socket.0, room, keep);
            let is_new = matches!(joined, Joined::First | Joined::Another(_));
            if let Some(adapter) = adapter.filter(|_| is_new) {
                adapter.local.add_all(socket.0, room.to_string());
            }
            (is_new, joined)
        })
    }

    /// Takes a socket out of a room; `false` when it was not in it.
    pub fn leave(&self, socket: SocketId, room: &str) -> bool {
        self.change(|index, adapter| {
            let left = index.leave(socket.0, room);
            if let Some(adapter) = adapter.filter(|_| left.is_some()) {
                adapter.local.del(socket.0, room.to_owned());
            }
            (left.is_some(), left)
        })
    }

    /// A socket without a connection, for tests of what is above the engine.
    #[cfg(test)]
    pub(crate) fn add(&self, socket: SocketId) {
        self.change(|index, _| (index.add(socket.0, Arc::default()), ()));
    }

    /// Whether a socket is connected here.
    pub fn is_known(&self, socket: SocketId) -> bool {
        self.read().is_known(socket.0)
    }

    /// Whether a socket is in a room.
    pub fn is_in(&self, socket: SocketId, room: &str) -> bool {
        self.read().is_member(socket.0, room)
    }

    /// The rooms of a socket.
    pub fn rooms_of(&self, socket: SocketId) -> Vec<Arc<str>> {
        self.read().of(socket.0).to_vec()
    }

    /// The sockets in a room.
    pub fn members(&self, room: &str) -> Vec<SocketId> {
        self.read().members(room).map(SocketId).collect()
    }

    /// Sends an event to one socket; `false` when it is gone or its queue is full.
    pub fn emit(&self, socket: SocketId, packet: Packet) -> bool {
        self.send_one(socket, SioPacket::event(NAMESPACE, raw(packet)))
    }

    /// Answers an event; `false` as above.
    pub fn ack(&self, socket: SocketId, id: AckId, packet: Packet) -> bool {
        self.send_one(socket, SioPacket::ack(NAMESPACE, raw(packet), id.0))
    }

    /// Whether anybody on this node is in one of the rooms: worth asking before a payload is touched.
    pub fn is_anybody_in<'a>(&self, mut rooms: impl Iterator<Item = &'a str>) -> bool {
        let index = self.read();
        rooms.any(|room| index.is_inhabited(room))
    }

    /// Sends an event to everybody in one of `rooms` and in none of `except` (rooms or socket ids).
    pub fn broadcast<'a>(
        &self,
        rooms: impl Iterator<Item = &'a str> + Clone,
        except: &[String],
        packet: Packet,
    ) -> Broadcast {
        let reached = {
            let index = self.read();
            index.note(rooms.clone(), self.now());
            index.reached(rooms.clone(), except, |id| id.parse().ok())
        };
        let Some(adapter) = self.0.adapter.get().filter(|_| reached > 0) else {
            return Broadcast::default();
        };
        let packet = SioPacket::event(NAMESPACE, raw(packet));
        let errors = adapter
            .local
            .broadcast(packet, addressed(rooms, except))
            .err()
            .unwrap_or_default();
        let full = errors
            .iter()
            .filter(|e| matches!(e, SocketError::InternalChannelFull))
            .count();
        Broadcast {
            reached: reached.saturating_sub(errors.len()),
            full,
            gone: errors.len() - full,
        }
    }

    /// From now on connections end because the server ends them: what the library sees as a broken transport is
    /// our own doing.
    pub fn begin_closing(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
    }

    /// All sockets, and how recently each was used. Walks over all of them and their rooms: not for each event.
    pub fn activities(&self) -> Vec<(SocketId, Activity)> {
        let index = self.read();
        index
            .activities()
            .map(|(id, activity)| (SocketId(id), activity))
            .collect()
    }

    /// How recently a socket was used: something came from it, or went to a room that it is in. `None` = it is gone.
    pub fn activity(&self, socket: SocketId) -> Option<Activity> {
        self.read().activity(socket.0)
    }

    /// How many sockets there are.
    pub fn count(&self) -> usize {
        self.read().count()
    }

    /// All rooms that somebody is in.
    pub fn rooms(&self) -> Vec<String> {
        self.read().names().map(str::to_owned).collect()
    }

    /// How many rooms somebody is in.
    pub fn room_count(&self) -> usize {
        self.read().len()
    }

    /// Counts the sockets by transport. Walks over all of them: for a scrape, not for an event.
    pub fn transports(&self) -> Transports {
        let mut count = Transports::default();
        for socket in self.0.io.get().map(SocketIo::sockets).unwrap_or_default() {
            match socket.transport_type() {
                TransportType::Websocket => count.websocket += 1,
                TransportType::Polling => count.polling += 1,
            }
        }
        count
    }

    fn send_one(&self, socket: SocketId, packet: SioPacket) -> bool {
        let options = BroadcastOptions::new(socket.0);
        self.0
            .adapter
            .get()
            .is_some_and(|a| a.local.broadcast(packet, options).is_ok())
    }

    fn now(&self) -> Seconds {
        Seconds::try_from(self.0.began.elapsed().as_secs()).unwrap_or(Seconds::MAX)
    }

    fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }

    /// Takes a socket out of everything; from now on it can join nothing.
    fn forget(&self, socket: Sid) {
        self.change(|index, adapter| {
            let kept = index.remove(socket);
            if let Some(adapter) = adapter {
                adapter.local.del_all(socket);
            }
            ((), kept)
        });
    }

    /// Changes the index and the library's own rooms together: a socket is changed from several sides, and both have
    /// to see these in the same order. What is over afterwards is dropped without the lock.
    fn change<R, T>(&self, change: impl FnOnce(&mut Rooms<Sid, Keep>, Option<&Bridge>) -> (R, T)) -> R {
        let mut index = self.0.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let (result, over) = change(&mut index, self.0.adapter.get().map(|a| &**a));
        drop(index);
        drop(over);
        result
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Rooms<Sid, Keep>> {
        self.0.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of an event for rooms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Sockets that the event was queued for.
    pub reached: usize,
    /// Sockets whose queue was full: the event is lost for them.
    pub full: usize,
    /// Sockets that were just going away.
    pub gone: usize,
}

/// Builds the engine. It answers at its path, and 404 elsewhere.
pub fn routes<A: Application>(config: &Config, application: Arc<A>, sockets: &Sockets) -> Router {
    let builder = SocketIo::builder()
        .with_adapter::<Bridge>(sockets.clone())
        .req_path(config.path.clone())
        .ping_interval(config.ping_interval)
        .ping_timeout(config.ping_timeout)
        .connect_timeout(Duration::from_secs(10))
        .max_buffer_size(QUEUE)
        .ws_read_buffer_size(READ_BUFFER);
    let max = if config.max_payload == 0 {
        usize::MAX >> 1
    } else {
        config.max_payload
    };
    let builder = builder
        .max_payload(max as u64)
        .ws_max_message_size(max)
        .ws_max_frame_size(max);
    let (layer, io) = transports(builder, config).build_layer();
    // Set once: a `Sockets` belongs to one engine.
    let _ = sockets.0.io.set(io.clone());
    let admitting = sockets.clone();
    let admit = async move |socket: SocketRef<Bridge>, TryData(auth): TryData<Value>| {
        admit(&*application, &admitting, socket, auth.unwrap_or(Value::Null)).await
    };
    io.ns(NAMESPACE, {
        use socketioxide::handler::ConnectHandler;
        nothing_more.with(admit)
    });
    let upgrading = sockets.clone();
    let routes = Router::new()
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(layer)
        .layer(from_fn(move |request: Request, next: Next| {
            upgrading.note_upgrade(&request);
            next.run(request)
        }))
        // Without it each clone of the router would build an engine of its own around its fallback.
        .with_state(());
    // Set once, as above.
    let _ = sockets
        .0
        .endpoint
        .set(Endpoint::new(&config.path, routes.clone()));
    routes
}

fn transports(builder: SocketIoBuilder<Bridge>, config: &Config) -> SocketIoBuilder<Bridge> {
    match (config.websocket, config.polling) {
        (true, false) => builder.transports([TransportType::Websocket]),
        (false, true) => builder.transports([TransportType::Polling]),
        _ => builder,
    }
}

/// Everything was done in the middleware.
#[allow(clippy::unused_async, reason = "the library takes async functions only")]
async fn nothing_more() {}

async fn admit<A: Application>(
    application: &A,
    sockets: &Sockets,
    socket: SocketRef<Bridge>,
    auth: Value,
) -> Result<(), &'static str> {
    let request = socket.req_parts();
    let peer = request
        .extensions
        .get::<ConnectInfo<Peer>>()
        .map(|c| c.0.address());
    let handshake = Handshake {
        socket: SocketId(socket.id),
        auth,
        request,
        peer,
    };
    let Admitted { member, rooms } = application.connect(handshake).await?;
    // From here on nothing may fail: the guard tells the member the end on every path.
    let own = Arc::new(Latest::at(sockets.now()));
    let link = Link::new(member, sockets.clone(), socket.id, own.clone());
    socket.on_fallback(Forward(link.clone()));
    let on_end = link.clone();
    socket.on_disconnect(async move |socket: SocketRef<Bridge>, reason: DisconnectReason| {
        on_end.ended(&socket, reason);
    });
    socket.extensions.insert(Guard(link));
    // `except` may name a socket: its own room makes that work.
    socket.join(socket.id.to_string());
    sockets.change(|index, _| (index.add(socket.id, own), ()));
    for (room, keep) in rooms {
        sockets.join(SocketId(socket.id), &room, keep);
    }
    Ok(())
}

fn addressed<'a>(rooms: impl Iterator<Item = &'a str>, except: &[String]) -> BroadcastOptions {
    let mut options = BroadcastOptions::default();
    options.rooms = rooms.map(|r| r.to_owned().into()).collect();
    options.except = except.iter().map(|r| r.clone().into()).collect();
    options
}

fn raw(packet: Packet) -> Raw {
    let attachments = (!packet.attachments.is_empty()).then(|| packet.attachments.into());
    Raw::Str(packet.text.into(), attachments)
}
