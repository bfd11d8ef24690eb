//! The bus over Redis or Valkey. The only file, with those below it, that names `fred`.
//!
//! fred connects, pipelines and parses; everything that decides whether a link is good is here, because what fred does
//! by itself loses subscriptions: there is no fred reconnect policy, and a link that fails in any way is thrown away
//! and made anew as a whole (`link.rs`), by one task that never gives up (`keeper.rs`).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fred::error::{Error, ErrorKind};
use fred::interfaces::PubsubInterface as _;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Bus, BusError, BusState, Inbound, Publishing};
use crate::channel::Channel;
use crate::metrics::Metrics;
use crate::node::NodeId;

mod backoff;
mod config;
mod keeper;
mod link;
mod pump;

pub use config::{RedisConfig, RedisConfigError};
use keeper::keep;
use link::Failure;

/// How many publications may be on their way to Redis. Less than [`link::COMMAND_BUFFER`], because a client of fred
/// whose own buffer was full once does not flush reliably any more.
const IN_FLIGHT: usize = 8192;

/// A node's link to Redis.
///
/// It connects in the background and does so for ever, with growing and random pauses; [`Bus::state`] says how it is.
/// A link counts as connected when a message to ourselves went through Redis and came back, and that is repeated each
/// [`RedisConfig::probe_interval`] and whenever a publication was not answered.
///
/// At most 8192 publications may be on their way. More than that are [`BusError::Refused`]; when the link is down or
/// the bus was closed, all are [`BusError::Disconnected`]. A publication is sent once and never repeated.
///
/// The user of Redis needs the commands `HELLO`, `SUBSCRIBE`, `PUBLISH` and, where they are allowed, `CLIENT ID` and
/// `INFO` (`SELECT` for another database than 0), and the channels below the prefix: `+hello +subscribe +publish
/// &roomcast:*`.
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
    /// Something went wrong that a probe would show.
    suspicion: Notify,
}

impl RedisBus {
    /// Begins to connect, and answers at once with the bus and what will arrive from it.
    ///
    /// When the receiver is not read, up to [`RedisConfig::queue`] messages wait for it and what comes behind them is
    /// kept for a while, then dropped and counted (`roomcast_dropped_total{reason="bus_lag"}`). When it is dropped,
    /// what arrives is dropped and counted (`bus_queue_closed`), and publishing still works.
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
    ) -> Result<(Self, mpsc::Receiver<Inbound>), RedisConfigError> {
        config.validate()?;
        let (queue, inbound) = mpsc::channel(config.queue);
        let shared = Arc::new(Shared {
            config,
            id: id.clone(),
            metrics,
            state: watch::Sender::new(BusState::Connecting),
            publisher: Mutex::new(None),
            in_flight: Semaphore::new(IN_FLIGHT),
            suspicion: Notify::new(),
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(Arc::clone(&shared), queue, stop.clone()));
        Ok((
            Self {
                shared,
                stop,
                tasks: Mutex::new(tasks),
            },
            inbound,
        ))
    }

    /// Ends the link in good order: publications that are on their way are answered first, for as long as
    /// [`RedisConfig::command_timeout`]. Afterwards the state stays [`BusState::Reconnecting`].
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
        let publisher = self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let publisher = publisher.ok_or(BusError::Disconnected)?;
        let _permit = self
            .in_flight
            .try_acquire()
            .map_err(|_| BusError::Refused(format!("{IN_FLIGHT} publications are on their way already")))?;
        let name = channel.name(&self.config.prefix);
        publisher
            .publish::<u64, _, _>(name, payload)
            .await
            .map_err(|error| {
                let error = bus_error(&error);
                if !matches!(error, BusError::Refused(_)) {
                    self.suspicion.notify_one();
                }
                error
            })
    }

    fn connected(&self, publisher: fred::clients::Client) {
        *self.publisher.lock().unwrap_or_else(PoisonError::into_inner) = Some(publisher);
        self.state.send_replace(BusState::Connected);
    }

    fn lost(&self, state: BusState) {
        *self.publisher.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
