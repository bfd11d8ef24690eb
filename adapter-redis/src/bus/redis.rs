//! The bus over Redis or Valkey. The only file, with those below it, that names `fred`.
//!
//! fred runs the commands. Subscriptions have a connection of our own (`subscriber.rs`), because what fred does with
//! them loses confirmations, errors and messages. Everything that decides whether a link is good is here: there is no
//! fred reconnect policy, and a link that fails in any way is thrown away and made anew as a whole (`link.rs`), by one
//! task that never gives up (`keeper.rs`).
//!
//! A Redis Cluster will have a subscriber for each master here, each with its part of the interests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, PubsubInterface as _};
use fred::types::{ClusterHash, CustomCommand, Value};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Appending, Bus, BusError, BusState, Fields, Inbound, Publishing, Receipt, Storing};
use crate::channel::Channel;
use crate::intake::{Arrivals, Intake, Put, intake};
use crate::interest::Interests;
use crate::metrics::{Dropped, Metrics};
use crate::node::NodeId;
use crate::room::RoomName;

mod backoff;
mod config;
mod connection;
mod keeper;
mod library;
mod link;
pub(crate) mod notices;
mod resp;
mod sets;
pub(crate) mod stream;
mod subscriber;

pub use config::{RedisConfig, RedisConfigError};
use keeper::keep;
use library::Library;
use link::Failure;
#[cfg(feature = "test-util")]
pub use resp::read_replies;

/// How many publications may be on their way to Redis. Less than [`link::COMMAND_BUFFER`], because a client of fred
/// whose own buffer was full once does not flush reliably any more.
const IN_FLIGHT: u32 = 8192;

/// A node's link to Redis.
///
/// It connects in the background and does so for ever, with growing and random pauses; [`Bus::state`] says how it is.
/// A link counts as connected when a message to ourselves went through Redis and came back, and that is repeated each
/// [`RedisConfig::probe_interval`] and whenever a publication was not answered.
///
/// At most 8192 publications may be on their way. More than that are [`BusError::Refused`]; when the link is down or
/// the bus was closed, all are [`BusError::Disconnected`]. A publication is sent once and never repeated.
///
/// The user of Redis needs channels and keys below the prefix, `&roomcast:* ~roomcast:*`, and the commands `+hello
/// +subscribe +ssubscribe +sunsubscribe +publish +spublish +fcall +time +get +set`. To load the function also `+fcall_ro
/// +function|load +watch +unwatch +multi +exec`; without these another node has to load it, or `+script|load +evalsha`
/// stand in for it. For each of [`RedisConfig::channels`] its name, `&name`. For the stream of envelopes ([`Ingest`](crate::Ingest)): `+xgroup|create +xreadgroup +xack +xdel +xadd
/// +pexpire +del`. For shared sets ([`SharedSets`](crate::SharedSets)): `+zadd +zrem +zscan +zcount +zremrangebyscore`. For what is
/// appended to streams of backends (`append`): `+xadd`. `SELECT` for another database than 0.
///
/// Dropping it ends the link at once.
pub struct RedisBus {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

/// What publishers and the task that keeps the link share.
struct Shared {
    config: RedisConfig,
    id: NodeId,
    metrics: Metrics,
    state: watch::Sender<BusState>,
    /// The client to publish with; none unless the link was proved.
    publisher: Mutex<Option<fred::clients::Client>>,
    in_flight: Semaphore,
    interests: Interests,
    intake: Intake,
    library: Library,
    /// Something went wrong that a probe would show.
    suspicion: Notify,
}

impl RedisBus {
    /// Begins to connect, and answers at once with the bus and what will arrive from it.
    ///
    /// When the arrivals are not read, up to [`RedisConfig::queue`] messages wait. Behind them Redis keeps what comes
    /// for a second, then it is dropped and counted (`roomcast_dropped_total{reason="bus_lag"}`), and a gap takes its
    /// place. When they are dropped, what arrives is dropped and counted (`bus_queue_closed`), and publishing still
    /// works.
    ///
    /// # Errors
    /// When the configuration cannot work. Whether Redis can be reached plays no part.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        config: RedisConfig,
        id: &NodeId,
        metrics: Metrics,
    ) -> Result<(Self, Arrivals), RedisConfigError> {
        config.validate()?;
        let (intake, arrivals) = intake(config.queue, Dropped::BusLag, metrics.clone());
        let interests = Interests::new(config.unsubscribe_delay);
        let shared = Arc::new(Shared {
            config,
            id: id.clone(),
            metrics,
            state: watch::Sender::new(BusState::Connecting),
            publisher: Mutex::new(None),
            in_flight: Semaphore::new(IN_FLIGHT as usize),
            interests,
            intake,
            library: Library::default(),
            suspicion: Notify::new(),
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(Arc::clone(&shared), stop.clone()));
        Ok((
            Self {
                shared,
                stop,
                tasks: Mutex::new(tasks),
            },
            arrivals,
        ))
    }

    /// Ends the link in good order: publications that are on their way are answered first, for as long as
    /// [`RedisConfig::command_timeout`]; what is published meanwhile is [`BusError::Disconnected`]. Afterwards the state
    /// stays [`BusState::Reconnecting`].
    pub async fn close(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

impl Bus for RedisBus {
    fn publish<'a>(&'a self, channel: &'a Channel, payload: Bytes) -> Publishing<'a> {
        Box::pin(self.shared.publish(channel, payload))
    }

    fn store<'a>(&'a self, room: &'a RoomName, frame: Bytes, id: Option<&'a str>) -> Storing<'a> {
        Box::pin(self.shared.store(room, frame, id))
    }

    fn append<'a>(&'a self, stream: &'a str, fields: Fields, most: u32) -> Appending<'a> {
        Box::pin(self.shared.append(stream, fields, most))
    }

    fn loop_back(&self, channel: Channel, payload: Bytes) -> bool {
        matches!(self.shared.intake.put(Inbound { channel, payload }), Put::Done)
    }

    fn interests(&self) -> &Interests {
        &self.shared.interests
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.shared.state.subscribe()
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        // The task ends with its set; whoever still holds the state must not believe in it.
        self.shared.lost(BusState::Reconnecting);
    }
}

impl Shared {
    async fn publish(&self, channel: &Channel, payload: Bytes) -> Result<u64, BusError> {
        let (publisher, _permit) = self.begin()?;
        let name = channel.name(&self.config.prefix);
        let published = if channel.is_sharded() {
            publisher.spublish(name, payload).await
        } else {
            publisher.publish(name, payload).await
        };
        self.suspect(published.map_err(|error| bus_error(&error)))
    }

    async fn store(&self, room: &RoomName, frame: Bytes, id: Option<&str>) -> Result<Receipt, BusError> {
        let (publisher, _permit) = self.begin()?;
        let key = Channel::Room(room.clone()).name(&self.config.prefix);
        self.suspect(self.library.store(self, &publisher, &key, frame, id).await)
    }

    async fn append(&self, stream: &str, fields: Fields, most: u32) -> Result<String, BusError> {
        let (publisher, _permit) = self.begin()?;
        let key = format!("{}:{stream}", self.config.prefix);
        let mut args: Vec<Value> = vec![
            key.into(),
            "MAXLEN".into(),
            "~".into(),
            i64::from(most).into(),
            "*".into(),
        ];
        for (name, value) in fields {
            args.extend([name.into(), Value::Bytes(value)]);
        }
        let command = CustomCommand::new_static("XADD", ClusterHash::FirstKey, false);
        let appended = publisher.custom(command, args).await;
        self.suspect(appended.map_err(|error| bus_error(&error)))
    }

    fn begin(&self) -> Result<(fred::clients::Client, SemaphorePermit<'_>), BusError> {
        // Taken before the publisher is looked at: who retires that waits until all permits are back.
        let permit = self.in_flight.try_acquire();
        let publisher = self.publisher().clone().ok_or(BusError::Disconnected)?;
        let permit = permit
            .map_err(|_| BusError::Refused(format!("{IN_FLIGHT} publications are on their way already")))?;
        Ok((publisher, permit))
    }

    /// Nobody publishes any more, and what was on its way is answered, when this is done.
    async fn retire_publisher(&self) {
        *self.publisher() = None;
        // It is never closed, and holds exactly as many.
        let _ = self.in_flight.acquire_many(IN_FLIGHT).await;
    }

    fn publisher(&self) -> MutexGuard<'_, Option<fred::clients::Client>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspect<T>(&self, result: Result<T, BusError>) -> Result<T, BusError> {
        if matches!(result, Err(BusError::Timeout | BusError::Disconnected)) {
            self.suspicion.notify_one();
        }
        result
    }

    fn connected(&self, publisher: fred::clients::Client) {
        *self.publisher() = Some(publisher);
        self.state.send_replace(BusState::Connected);
    }

    fn lost(&self, state: BusState) {
        *self.publisher() = None;
        self.interests.link_down();
        self.state
            .send_if_modified(|now| std::mem::replace(now, state) != state);
    }
}

/// What an error of fred means for a publication. Only what is certain is said: when in doubt the outcome is unknown.
fn bus_error(error: &Error) -> BusError {
    match error.kind() {
        // The buffer of the client was full, so that nothing was sent.
        ErrorKind::Backpressure => BusError::Disconnected,
        _ if is_answer(error) => BusError::Refused(error.details().to_owned()),
        _ => BusError::Timeout,
    }
}

/// Whether the error is an answer of Redis: these begin with a word in capitals (`ERR`, `NOPERM`, `MISCONF`…).
fn is_answer(error: &Error) -> bool {
    let word = error.details().split(' ').next().unwrap_or_default();
    *error.kind() == ErrorKind::Auth
        || (word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certain_errors_are_certain() {
        for (kind, details, expected) in [
            (ErrorKind::Timeout, "Request timed out.", BusError::Timeout),
            (
                ErrorKind::Canceled,
                "Connection closed unexpectedly.",
                BusError::Timeout,
            ),
            (ErrorKind::IO, "Connection closed.", BusError::Timeout),
            (
                ErrorKind::Unknown,
                "Client is not initialized.",
                BusError::Timeout,
            ),
            (ErrorKind::Backpressure, "", BusError::Disconnected),
            (
                ErrorKind::Auth,
                "NOAUTH Authentication required.",
                BusError::Refused("NOAUTH Authentication required.".into()),
            ),
            (
                ErrorKind::Unknown,
                "NOPERM no",
                BusError::Refused("NOPERM no".into()),
            ),
            (ErrorKind::Unknown, "ERR no", BusError::Refused("ERR no".into())),
        ] {
            assert_eq!(bus_error(&Error::new(kind, details)), expected, "{details}");
        }
    }
}
