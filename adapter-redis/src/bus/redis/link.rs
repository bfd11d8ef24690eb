//! One link to Redis from its first byte to its failure: two connections, the subscriptions, and the proof that what
//! is published comes back.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::types::Message;
use fred::types::RespVersion;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, TcpConfig, UnresponsiveConfig};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Shared, is_answer};
use crate::channel::Channel;
use crate::node::NodeId;
use crate::wire::{Frame, Message as NodeMessage, is_probe};

/// How many messages a client of fred keeps for a reader that is behind. fred's default of 32 loses a burst.
pub(super) const RING: usize = 16_384;

/// How many commands a client of fred takes; see [`super::IN_FLIGHT`].
pub(super) const COMMAND_BUFFER: usize = 2 * super::IN_FLIGHT;

/// How many probes in a row may stay away before the link counts as lost. One may be the fault of a slow moment.
const MISSES: u32 = 2;

/// Why there is no link.
#[derive(Debug)]
pub(super) struct Failure {
    /// Redis answered, and said no.
    pub(super) refused: bool,
    /// For the log; holds no secrets.
    pub(super) why: String,
}

/// Two connections that are known to work.
pub(super) struct Link {
    publisher: Connection,
    subscriber: Connection,
    nonce: u64,
}

struct Connection {
    client: Client,
    /// What fred runs the connection with. It ends when the connection does, as there is no reconnect policy.
    task: AbortOnDropHandle<Result<(), Error>>,
}

// === impl Link ===

impl Link {
    /// Connects, subscribes and proves the link. The messages that arrive from then on are in the ring.
    pub(super) async fn open(shared: &Shared) -> Result<(Self, Receiver<Message>), Failure> {
        let (publisher, subscriber) = tokio::try_join!(Connection::open(shared), Connection::open(shared))?;
        let mut link = Self {
            publisher,
            subscriber,
            nonce: 0,
        };
        let ring = link.subscriber.client.message_rx();
        link.subscribe(shared).await?;
        link.probe(shared).await?;
        Ok((link, ring))
    }

    /// The client to publish with.
    pub(super) fn publisher(&self) -> Client {
        self.publisher.client.clone()
    }

    /// Watches the link until it fails.
    pub(super) async fn watch(&mut self, shared: &Shared) -> Failure {
        let mut misses = 0;
        loop {
            let pause = if misses == 0 {
                shared.config.probe_interval
            } else {
                Duration::ZERO
            };
            tokio::select! {
                // A connection that has ended has the better reason, and need not be probed.
                biased;
                ended = self.publisher.ended() => return ended,
                ended = self.subscriber.ended() => return ended,
                () = sleep(pause) => {}
                () = shared.suspicion.notified() => {}
            }
            match self.probe(shared).await {
                Ok(()) => misses = 0,
                Err(failure) if failure.refused => return failure,
                Err(failure) => {
                    misses += 1;
                    tracing::debug!(
                        misses,
                        why = failure.why,
                        "a message to ourselves did not come back from Redis"
                    );
                    if misses >= MISSES {
                        return failure;
                    }
                }
            }
        }
    }

    /// Ends both connections. Publications on their way are answered before, unless that takes longer than `limit`.
    pub(super) async fn retire(self, limit: Duration) {
        // In this order, because what this node publishes last comes to itself as well.
        let quit = async {
            let _ = self.publisher.client.quit().await;
            let _ = self.subscriber.client.quit().await;
        };
        // Whether they went in good order is all the same: the connections are gone at the end of this function.
        let _ = timeout(limit, quit).await;
    }

    /// fred answers that it has subscribed when the command is written, and drops Redis' own answer, an error
    /// included. So a probe goes the same way behind it: an error is taken for the answer to that, and the count of
    /// receivers tells whether we are among them.
    async fn subscribe(&mut self, shared: &Shared) -> Result<(), Failure> {
        let prefix = &shared.config.prefix;
        let own = own_channel(shared);
        let names = vec![
            Channel::Publish.name(prefix),
            Channel::Nodes.name(prefix),
            own.clone(),
        ];
        let probe = self.next_probe(&shared.id).0;
        let client = &self.subscriber.client;
        let (subscribed, receivers) = timed(shared, async {
            Ok(tokio::join!(
                client.subscribe(names),
                client.publish::<u64, _, _>(own, probe)
            ))
        })
        .await?;
        subscribed.map_err(Failure::from)?;
        if receivers.map_err(Failure::from)? == 0 {
            return Err(Failure::other("Redis did not take the subscriptions"));
        }
        Ok(())
    }

    /// Sends a message to ourselves through both connections and waits for it.
    async fn probe(&mut self, shared: &Shared) -> Result<(), Failure> {
        let (probe, nonce) = self.next_probe(&shared.id);
        // A receiver of its own for each probe: one that is kept would hold on to a ring full of payloads, and the
        // node's may be far behind.
        let mut ring = self.subscriber.client.message_rx();
        let own = own_channel(shared);
        timed(shared, async {
            self.publisher
                .client
                .publish::<u64, _, _>(own.clone(), probe)
                .await
                .map_err(Failure::from)?;
            comes_back(&mut ring, &own, nonce, &shared.id).await
        })
        .await
    }

    fn next_probe(&mut self, id: &NodeId) -> (Bytes, u64) {
        self.nonce += 1;
        (Frame::Probe { nonce: self.nonce }.encode(id), self.nonce)
    }
}

async fn comes_back(ring: &mut Receiver<Message>, own: &str, nonce: u64, id: &NodeId) -> Result<(), Failure> {
    loop {
        let message = match ring.recv().await {
            Ok(message) => message,
            // The probe may be among what was lost. Then it is missed, as it should be on a link like that.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err(Failure::other("the connection was closed")),
        };
        if *message.channel != *own {
            continue;
        }
        let payload = message.value.convert::<Bytes>().unwrap_or_default();
        if is_probe(&payload)
            && NodeMessage::decode(&payload).is_ok_and(|probe| {
                probe
                    == NodeMessage {
                        sender: id.clone(),
                        frame: Frame::Probe { nonce },
                    }
            })
        {
            return Ok(());
        }
    }
}

// === impl Connection ===

impl Connection {
    async fn open(shared: &Shared) -> Result<Self, Failure> {
        let client = client(shared)?;
        let task = AbortOnDropHandle::new(client.connect());
        let mut connection = Self { client, task };
        tokio::select! {
            ended = ended(&mut connection.task) => Err(ended),
            () = connected(&connection.client) => Ok(connection),
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
fn client(shared: &Shared) -> Result<Client, Failure> {
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
        // Probes are what finds a dead connection: this check does not see subscriptions.
        unresponsive: UnresponsiveConfig {
            max_timeout: None,
            ..UnresponsiveConfig::default()
        },
        tcp: TcpConfig {
            nodelay: Some(true),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    };
    let performance = PerformanceConfig {
        default_command_timeout: limit,
        broadcast_channel_capacity: RING,
        ..PerformanceConfig::default()
    };
    Ok(Client::new(config, Some(performance), Some(connection), None))
}

/// The channel that only this node listens on.
pub(super) fn own_channel(shared: &Shared) -> String {
    Channel::Node(shared.id.clone()).name(&shared.config.prefix)
}

async fn timed<T>(shared: &Shared, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(shared.config.command_timeout, work)
        .await
        .unwrap_or_else(|_| Err(Failure::other("Redis did not answer in time")))
}

// === impl Failure ===

impl Failure {
    pub(super) fn other(why: &str) -> Self {
        Self {
            refused: false,
            why: why.to_owned(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let details = error.details();
        // LOADING, BUSY, MASTERDOWN and their like pass by themselves.
        let refused = *error.kind() == ErrorKind::Auth
            || (is_answer(&error) && (details.starts_with("NOPERM") || details.starts_with("ERR")));
        Self {
            refused,
            why: details.to_owned(),
        }
    }
}
