//! One link to Redis from its first byte to its failure: a client for commands, a subscriber, and the proof that what
//! is published comes back.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, PubsubInterface as _};
use fred::types::RespVersion;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, TcpConfig, UnresponsiveConfig};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::subscriber::{Subscriptions, shard, subscriber};
use super::{Shared, is_answer};
use crate::bus::BusError;
use crate::channel::Channel;
use crate::local::Gap;
use crate::wire::Frame;

/// How many commands a client of fred takes; see [`super::IN_FLIGHT`].
pub(super) const COMMAND_BUFFER: usize = 2 * super::IN_FLIGHT as usize;

/// How many probes in a row may stay away before the link counts as lost. After the first one everything is subscribed
/// to again: it may be that alone.
const MISSES: u32 = 2;

/// Why there is no link.
#[derive(Debug)]
pub(super) struct Failure {
    /// Redis answered, and said no.
    pub(super) refused: bool,
    /// For the log; holds no secrets.
    pub(super) why: String,
}

/// The end of a link.
pub(super) struct Ended {
    pub(super) failure: Failure,
    /// For how long it was proved; `None` when it never was.
    pub(super) lasted: Option<Duration>,
}

/// The client for commands.
struct Commands {
    client: Client,
    /// What fred runs the connection with. It ends when the connection does, as there is no reconnect policy.
    task: AbortOnDropHandle<Result<(), Error>>,
}

/// The two connections, once there are both.
struct Link<'a> {
    shared: &'a Shared,
    commands: Commands,
    subscriptions: &'a Subscriptions,
    nonce: u64,
}

/// Makes a link and uses it until it fails or is told to stop. `connected` is called once it is proved.
pub(super) async fn run(shared: &Shared, stop: &CancellationToken, connected: impl FnOnce()) -> Ended {
    let mut lasted = None;
    let failure = match open_and_use(shared, stop, connected, &mut lasted).await {
        Err(failure) => failure,
        Ok(()) => Failure::other("closed"),
    };
    Ended {
        failure,
        lasted: lasted.map(|since: Instant| since.elapsed()),
    }
}

async fn open_and_use(
    shared: &Shared,
    stop: &CancellationToken,
    connected: impl FnOnce(),
    since: &mut Option<Instant>,
) -> Result<(), Failure> {
    shared.interests.link_opening();
    let (commands, (receiving, asking, subscriptions)) =
        tokio::try_join!(Commands::open(shared), subscriber(shared))?;
    let mut link = Link {
        shared,
        commands,
        subscriptions: &subscriptions,
        nonce: 0,
    };
    let life = async {
        link.prove().await?;
        *since = Some(Instant::now());
        connected();
        shared.connected(link.commands.client.clone());
        tokio::select! {
            failure = link.watch() => Err(failure),
            () = stop.cancelled() => {
                link.retire().await;
                Ok(())
            }
        }
    };
    tokio::select! {
        // A connection that has ended has the better reason.
        biased;
        failure = receiving.run(shared) => Err(failure),
        failure = asking.run(shared) => Err(failure),
        ended = life => ended,
    }
}

// === impl Link ===

impl Link<'_> {
    /// Everything is subscribed to, the function is there, and a message comes back.
    async fn prove(&mut self) -> Result<(), Failure> {
        let shared = self.shared;
        shared.library.load(shared).await?;
        let complete = self.subscriptions.complete(shared);
        tokio::select! {
            () = complete => {}
            stalled = self.stalled() => return Err(stalled),
        }
        self.probe().await
    }

    /// Watches the link until it fails.
    async fn watch(&mut self) -> Failure {
        let mut misses = 0;
        loop {
            let pause = if misses == 0 {
                self.shared.config.probe_interval
            } else {
                Duration::ZERO
            };
            let (shared, subscriptions) = (self.shared, self.subscriptions);
            tokio::select! {
                biased;
                ended = self.commands.ended() => return ended,
                stalled = stalled(shared, subscriptions) => return stalled,
                () = shared.suspicion.notified() => {}
                () = sleep(pause) => {}
            }
            match self.probe().await {
                Ok(()) => {
                    if misses > 0 {
                        // It may have been deaf for a moment.
                        self.shared.intake.gap(Gap::All);
                    }
                    misses = 0;
                }
                Err(failure) if failure.refused => return failure,
                Err(failure) => {
                    misses += 1;
                    tracing::warn!(
                        misses,
                        why = failure.why,
                        "a message to ourselves did not come back from Redis"
                    );
                    if misses >= MISSES {
                        return failure;
                    }
                    // Only then the next probe: a gap that it ends must not be said while rooms are still missing.
                    self.subscriptions.refresh();
                    tokio::select! {
                        ended = self.commands.ended() => return ended,
                        stalled = stalled(shared, subscriptions) => return stalled,
                        () = subscriptions.settled() => {}
                    }
                }
            }
        }
    }

    /// Ends the commands in good order: publications on their way are answered before, unless that takes too long.
    /// The subscriber runs meanwhile, because what this node publishes last comes to itself as well.
    async fn retire(&self) {
        let work = async {
            self.shared.retire_publisher().await;
            self.commands.client.quit().await
        };
        // Whether it went in good order is all the same: the connection is gone in a moment.
        let _ = timeout(self.shared.config.command_timeout, work).await;
    }

    /// Sends messages to ourselves in both ways that there are, and waits for the second: it cannot overtake the first.
    async fn probe(&mut self) -> Result<(), Failure> {
        let shared = self.shared;
        let (own, shard) = (
            Channel::Node(shared.id.clone()).name(&shared.config.prefix),
            shard(shared),
        );
        let (first, second) = (self.next_probe(), self.next_probe());
        let client = &self.commands.client;
        let work = async {
            let (own, shard) = tokio::join!(
                client.publish::<u64, _, _>(own, first),
                client.spublish::<u64, _, _>(shard, second)
            );
            if own.map_err(Failure::from)? == 0 || shard.map_err(Failure::from)? == 0 {
                return Err(Failure::other("Redis has lost our subscriptions"));
            }
            self.subscriptions.probe(self.nonce).await;
            match shared.library.ask_time(client).await {
                // Without the right to ask there are no deadlines.
                Ok(()) | Err(BusError::Refused(_)) => Ok(()),
                Err(error) => Err(Failure::other(&error.to_string())),
            }
        };
        timeout(shared.config.command_timeout, work)
            .await
            .unwrap_or_else(|_| Err(Failure::other("Redis did not answer in time")))
    }

    fn next_probe(&mut self) -> Bytes {
        self.nonce += 1;
        Frame::Probe { nonce: self.nonce }.encode(&self.shared.id)
    }

    async fn stalled(&self) -> Failure {
        stalled(self.shared, self.subscriptions).await
    }
}

/// Waits until a subscription was not confirmed for too long.
async fn stalled(shared: &Shared, subscriptions: &Subscriptions) -> Failure {
    let limit = shared.config.command_timeout;
    let mut ticks = interval((limit / 4).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        if subscriptions.stalled(Instant::now()) > limit {
            return Failure::other("Redis did not confirm a subscription in time");
        }
    }
}

// === impl Commands ===

impl Commands {
    async fn open(shared: &Shared) -> Result<Self, Failure> {
        let client = client(shared)?;
        let task = AbortOnDropHandle::new(client.connect());
        let mut commands = Self { client, task };
        tokio::select! {
            ended = ended(&mut commands.task) => Err(ended),
            () = connected(&commands.client) => Ok(commands),
        }
    }

    /// Waits for the end of the connection. Not to be called again once it has answered.
    async fn ended(&mut self) -> Failure {
        ended(&mut self.task).await
    }
}

async fn ended(task: &mut AbortOnDropHandle<Result<(), Error>>) -> Failure {
    match task.await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => Failure::other("the connection was closed"),
        Err(_) => Failure::other("the task of the connection failed"),
    }
}

/// fred looks at its state and begins to listen for a change of it afterwards, so that it can miss the one change that
/// there is: ask again from time to time. A connection that does not come about is noticed by its task.
async fn connected(client: &Client) {
    const AGAIN: Duration = Duration::from_millis(50);
    while !matches!(timeout(AGAIN, client.wait_for_connect()).await, Ok(Ok(()))) {
        // An error is said by the task as well, in a moment.
        sleep(Duration::from_millis(1)).await;
    }
}

/// A client with nothing left to fred's defaults: those never time out, queue without bound, repeat commands whose
/// outcome is unknown, and speak RESP2.
pub(super) fn client(shared: &Shared) -> Result<Client, Failure> {
    let limit = shared.config.command_timeout;
    let config = Config {
        fail_fast: true,
        version: RespVersion::RESP3,
        ..shared
            .config
            .client_config()
            .map_err(|error| Failure::other(&error.to_string()))?
    };
    let connection = ConnectionConfig {
        connection_timeout: limit,
        internal_command_timeout: limit,
        max_command_attempts: 1,
        max_command_buffer_len: COMMAND_BUFFER,
        // Probes are what finds a dead connection.
        unresponsive: UnresponsiveConfig {
            max_timeout: None,
            ..UnresponsiveConfig::default()
        },
        tcp: TcpConfig {
            nodelay: Some(true),
            // What a lost link has not sent is thrown away with it, instead of reaching Redis whenever it can.
            linger: Some(Duration::ZERO),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    };
    let performance = PerformanceConfig {
        default_command_timeout: limit,
        ..PerformanceConfig::default()
    };
    Ok(Client::new(config, Some(performance), Some(connection), None))
}

// === impl Failure ===

impl Failure {
    pub(super) fn other(why: &str) -> Self {
        Self {
            refused: false,
            why: why.to_owned(),
        }
    }

    /// Redis answered with an error.
    pub(super) fn answer(error: &str) -> Self {
        // LOADING, BUSY, MASTERDOWN and their like pass by themselves.
        let refused = ["NOPERM", "ERR", "NOAUTH", "WRONGPASS"]
            .iter()
            .any(|word| error.starts_with(word));
        Self {
            refused,
            why: error.to_owned(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if *error.kind() == ErrorKind::Auth {
            return Self {
                refused: true,
                why: error.details().to_owned(),
            };
        }
        if is_answer(&error) {
            Self::answer(error.details())
        } else {
            Self::other(error.details())
        }
    }
}
