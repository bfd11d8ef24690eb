//! What the connections of a node have in common.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    AckId, Admitted, Application, CloseReason, Config, Event, Handshake, Keep, Malformed, Member, Recovery,
    Refused, SocketId,
    activity::Seconds,
    asking::Asks,
    connection::Connection,
    ids::{ById, Id},
    lanes::Lanes,
    opening::Opening,
    rooms::Rooms,
    slow::Losses,
    timers::{Due, Timers},
};

/// How long a session may take to become a socket, or to move to its websocket.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest and the shortest time between two looks whether a blocked peer takes something.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// Sessions, sockets, rooms and deadlines of a node.
pub(super) struct Hub {
    pub(super) config: Config,
    began: Instant,
    sessions: Mutex<ById<Arc<Connection>>>,
    rooms: RwLock<Rooms<Arc<Connection>, Keep>>,
    timers: Mutex<Timers<(Weak<Connection>, u32)>>,
    /// There is an earlier deadline than before.
    earlier: Notify,
    pub(super) lanes: Lanes,
    pub(super) asks: Asks,
    pub(super) losses: Losses,
    door: RwLock<Option<Arc<dyn Door>>>,
    closing: AtomicBool,
    /// Connections, and clients that are just being let in.
    pub(super) tasks: TaskTracker,
}

impl Hub {
    pub(super) fn new(config: Config) -> Hub {
        let (interval, timeout, write) = (config.ping_interval, config.ping_timeout, config.write_deadline);
        Hub {
            config,
            began: Instant::now(),
            sessions: Mutex::default(),
            rooms: RwLock::default(),
            timers: Mutex::new(Timers::new(|due| match due {
                Due::Ping => interval,
                Due::Pong => timeout,
                Due::Connect | Due::Upgrade => PATIENCE,
                Due::Write => (write / 4).clamp(LOOKS[0], LOOKS[1]),
            })),
            earlier: Notify::new(),
            lanes: Lanes::default(),
            asks: Asks::default(),
            losses: Losses::default(),
            door: RwLock::default(),
            closing: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        }
    }

    /// From now on this decides who is let in.
    pub(super) fn open<A: Application>(&self, application: Arc<A>) {
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(application));
    }

    pub(super) fn door(&self) -> Option<Arc<dyn Door>> {
        self.door.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn now(&self) -> Seconds {
        Seconds::try_from(self.began.elapsed().as_secs()).unwrap_or(Seconds::MAX)
    }

    /// A clock for short times: after 49 days it begins again.
    pub(super) fn millis(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }

    pub(super) fn rooms(&self) -> RwLockReadGuard<'_, Rooms<Arc<Connection>, Keep>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rooms_mut(&self) -> RwLockWriteGuard<'_, Rooms<Arc<Connection>, Keep>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        self.sessions().insert(connection.sid, connection.clone());
        self.set(Due::Connect, connection, 0);
        self.set(Due::Ping, connection, 0);
    }

    /// A session is over.
    pub(super) fn remove(&self, sid: Id) {
        let removed = self.sessions().remove(&sid);
        drop(removed);
    }

    /// A session, by its secret.
    pub(super) fn session(&self, sid: Id) -> Option<Arc<Connection>> {
        self.sessions().get(&sid).cloned()
    }

    /// A socket, by its public id.
    pub(super) fn socket(&self, socket: SocketId) -> Option<Arc<Connection>> {
        self.rooms().get(socket.0).cloned()
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self) {
        self.begin_closing();
        let all: Vec<_> = self
            .sessions()
            .drain()
            .map(|(_, connection)| connection)
            .collect();
        for connection in all {
            connection.close(CloseReason::ServerShutdown);
        }
    }

    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Sets a deadline. The number says later whether it still means something.
    pub(super) fn set(&self, due: Due, connection: &Arc<Connection>, number: u32) {
        let whom = (Arc::downgrade(connection), number);
        if self.timers().set(due, whom, Instant::now()) {
            self.earlier.notify_one();
        }
    }

    /// Keeps deadlines, until it is dropped.
    pub(super) async fn keep_time(&self) {
        let mut due = Vec::new();
        loop {
            let next = self.timers().next();
            let sleeping = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleeping => {}
                () = self.earlier.notified() => continue,
            }
            self.timers().take(Instant::now(), &mut due);
            for (number, (due, (connection, count))) in due.drain(..).enumerate() {
                if let Some(connection) = connection.upgrade() {
                    connection.on_due(due, count);
                }
                // After a storm very many are due at once: connections have their turn.
                if number % 64 == 63 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn sessions(&self) -> MutexGuard<'_, ById<Arc<Connection>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timers(&self) -> MutexGuard<'_, Timers<(Weak<Connection>, u32)>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tasks that all connections share. It ends them with itself.
pub struct Engine(pub(super) Arc<Hub>);

impl Engine {
    /// Works until it is dropped: then all sessions end.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for lane in 0..self.0.lanes.count() {
            let hub = self.0.clone();
            tasks.spawn(async move { hub.lanes.run(lane).await });
        }
        let hub = self.0.clone();
        tasks.spawn(async move { hub.keep_time().await });
        // None of them ends by itself. Without one of them a node would look healthy, and be deaf.
        tasks.join_next().await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The application holds the sockets: without this they would hold one another.
        *self.0.door.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.end_all();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// What became of asking to be let in: what the client may try again with, or the counterpart and its rooms.
pub(super) type Decided = Result<Entry, (Box<Opening>, Refused)>;

/// Any [`Admitted`].
pub(super) struct Entry {
    pub(super) member: Arc<dyn Counterpart>,
    pub(super) rooms: Vec<(Arc<str>, Keep)>,
    pub(super) recovery: Option<Recovery>,
}

/// Any [`Application`].
pub(super) trait Door: Send + Sync {
    fn ask(
        self: Arc<Self>,
        socket: SocketId,
        auth: Value,
        opening: Box<Opening>,
    ) -> Pin<Box<dyn Future<Output = Decided> + Send>>;
}

impl<A: Application> Door for Arc<A> {
    fn ask(
        self: Arc<Self>,
        socket: SocketId,
        auth: Value,
        opening: Box<Opening>,
    ) -> Pin<Box<dyn Future<Output = Decided> + Send>> {
        Box::pin(async move {
            let handshake = Handshake {
                socket,
                auth,
                request: &opening.request,
                peer: opening.peer,
            };
            match self.connect(handshake).await {
                Ok(Admitted {
                    member,
                    rooms,
                    recovery,
                }) => Ok(Entry {
                    member: Arc::new(member),
                    rooms,
                    recovery,
                }),
                Err(refused) => Err((opening, refused)),
            }
        })
    }
}

/// Any [`Member`].
pub(super) trait Counterpart: Send + Sync {
    fn event(&self, event: Event<'_>, ack: Option<AckId>);
    fn malformed(&self, problem: Malformed);
    fn gone(&self, reason: CloseReason);
}

impl<M: Member> Counterpart for Arc<M> {
    fn event(&self, event: Event<'_>, ack: Option<AckId>) {
        Member::event(self, event, ack);
    }

    fn malformed(&self, problem: Malformed) {
        Member::malformed(&**self, problem);
    }

    fn gone(&self, reason: CloseReason) {
        Member::gone(&**self, reason);
    }
}
