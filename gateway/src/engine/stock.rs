//! The engine on stock socketioxide. Everything that names it is in this file.
//!
//! What this works around, with the reasons in `docs/decisions/0002-stock-engine.md`: handlers and rooms are set
//! up in a connect *middleware*, because the connect handler runs in a task of its own, after the client was
//! told; events go through one synchronous handler, because the usual ones run in tasks of their own, out of
//! order; transports are closed below, in `stream.rs`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use socketioxide::{
    SocketIo, SocketIoBuilder, TransportType,
    adapter::Emitter,
    extract::{SocketRef, TryData},
    handler::MessageHandler,
    layer::SocketIoLayer,
    socket::{DisconnectReason, Sid, Socket},
};
use socketioxide_core::{
    Value as Raw,
    adapter::{
        BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter, errors::SocketError,
    },
    packet::Packet as SioPacket,
};

use super::{
    AckId, Admitted, Application, CloseReason, Config, Event, Handshake, Malformed, Member, Packet, Peer,
    SocketId, Transports, rooms::Rooms,
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

#[derive(Default)]
struct Shared {
    rooms: RwLock<Rooms<Sid>>,
    adapter: OnceLock<Arc<Bridge>>,
    io: OnceLock<SocketIo<Bridge>>,
    closing: AtomicBool,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sockets")
    }
}

impl Sockets {
    /// Puts a socket into a room; `false` when it was in it already, or is gone.
    pub fn join(&self, socket: SocketId, room: &Arc<str>) -> bool {
        let joined = self.write().join(socket.0, room);
        if let Some(adapter) = self.0.adapter.get().filter(|_| joined) {
            adapter.local.add_all(socket.0, room.to_string());
        }
        joined
    }

    /// Takes a socket out of a room; `false` when it was not in it.
    pub fn leave(&self, socket: SocketId, room: &str) -> bool {
        if let Some(adapter) = self.0.adapter.get() {
            adapter.local.del(socket.0, room.to_owned());
        }
        self.write().leave(socket.0, room)
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
        let reached = self.read().reached(rooms.clone(), except, |id| id.parse().ok());
        let Some(adapter) = self.0.adapter.get().filter(|_| reached > 0) else {
            return Broadcast::default();
        };
        let mut options = BroadcastOptions::default();
        options.rooms = rooms.map(|r| r.to_owned().into()).collect();
        options.except = except.iter().map(|r| r.clone().into()).collect();
        let packet = SioPacket::event(NAMESPACE, raw(packet));
        let errors = adapter.local.broadcast(packet, options).err().unwrap_or_default();
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

    fn forget(&self, socket: Sid) {
        self.write().remove(socket);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Rooms<Sid>> {
        self.0.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Rooms<Sid>> {
        self.0.rooms.write().unwrap_or_else(PoisonError::into_inner)
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

/// The engine as a tower layer around whatever answers the other paths.
pub type Layer = SocketIoLayer<Bridge>;

/// Builds the engine.
pub fn service<A: Application>(config: &Config, application: Arc<A>, sockets: &Sockets) -> Layer {
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
    let sockets = sockets.clone();
    // Set once: a `Sockets` belongs to one engine.
    let _ = sockets.0.io.set(io.clone());
    let admit = async move |socket: SocketRef<Bridge>, TryData(auth): TryData<Value>| {
        admit(&*application, &sockets, socket, auth.unwrap_or(Value::Null)).await
    };
    io.ns(NAMESPACE, {
        use socketioxide::handler::ConnectHandler;
        nothing_more.with(admit)
    });
    layer
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
        .get::<axum::extract::ConnectInfo<Peer>>()
        .map(|c| c.0.0);
    let handshake = Handshake {
        socket: SocketId(socket.id),
        auth,
        request,
        peer,
    };
    let Admitted { member, rooms } = application.connect(handshake).await?;
    // From here on nothing may fail: the guard tells the member the end on every path.
    let link = Arc::new(Link {
        member,
        sockets: sockets.clone(),
        socket: socket.id,
        ended: AtomicBool::new(false),
    });
    socket.on_fallback(Forward(link.clone()));
    let on_end = link.clone();
    socket.on_disconnect(async move |reason: DisconnectReason| on_end.end(close_reason(reason)));
    socket.extensions.insert(Guard(link));
    // `except` may name a socket: its own room makes that work.
    socket.join(socket.id.to_string());
    sockets.write().add(socket.id);
    for room in &rooms {
        sockets.join(SocketId(socket.id), room);
    }
    Ok(())
}

/// A socket and its member, until the first of: the disconnect handler, the end of the socket's memory.
struct Link<M: Member> {
    member: Arc<M>,
    sockets: Sockets,
    socket: Sid,
    ended: AtomicBool,
}

impl<M: Member> Link<M> {
    fn end(&self, reason: CloseReason) {
        let broken = matches!(reason, CloseReason::TransportClose | CloseReason::TransportError);
        let ours = broken && self.sockets.0.closing.load(Ordering::Relaxed);
        let reason = if ours { CloseReason::ServerShutdown } else { reason };
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

/// Keeps the link alive as long as the socket; extensions want `Clone`.
struct Guard<M: Member>(#[allow(dead_code, reason = "held for its Drop")] Arc<Link<M>>);

impl<M: Member> Clone for Guard<M> {
    fn clone(&self) -> Self {
        Guard(self.0.clone())
    }
}

struct Forward<M: Member>(Arc<Link<M>>);

/// Marks [`Forward`] as our own kind of handler, apart from the library's blanket ones.
struct InOrder;

impl<M: Member> MessageHandler<Bridge, InOrder> for Forward<M> {
    fn call(&self, _: Arc<Socket<Bridge>>, value: Raw, ack: Option<i64>) {
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

fn raw(packet: Packet) -> Raw {
    let attachments = (!packet.attachments.is_empty()).then(|| packet.attachments.into());
    Raw::Str(packet.text.into(), attachments)
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

/// socketioxide's own local adapter, within reach: it hides the way to send an encoded packet.
pub struct Bridge {
    local: CoreLocalAdapter<Emitter>,
    sockets: Weak<Shared>,
}

impl CoreAdapter<Emitter> for Bridge {
    type Error = Infallible;
    type State = Sockets;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(sockets: &Sockets, local: CoreLocalAdapter<Emitter>) -> Self {
        Bridge {
            local,
            sockets: Arc::downgrade(&sockets.0),
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        if let Some(shared) = self.sockets.upgrade() {
            // Set once: there is one namespace, and a `Sockets` belongs to one engine.
            let _ = shared.adapter.set(self.clone());
        }
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: SioPacket,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Bridge {}
