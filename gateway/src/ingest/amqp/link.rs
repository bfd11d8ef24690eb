//! One connection to the broker that consumes one queue.

use std::time::Duration;

use adapter_redis::NodeId;
use async_compat::Compat;
use futures_util::{FutureExt, StreamExt, future::try_join_all};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::{AMQPUriTcpExt, TLSConfig},
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use tokio::{net::TcpStream, time::timeout};

use super::{
    super::{Broker, publishing::Message},
    dead_letter,
    socket::Socket,
    uri,
};

/// How long a connection may take, with TLS.
const CONNECTING: Duration = Duration::from_secs(5);

/// How long the broker may take to store what was refused.
const STORING: Duration = Duration::from_secs(10);

/// How long it may take to say goodbye.
const CLOSING: Duration = Duration::from_secs(1);

/// The argument of a queue that only one consumer gets messages of at a time.
const SINGLE_CONSUMER: &str = "x-single-active-consumer";

/// A queue that is being consumed.
pub(super) struct Link {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    refused: ShortString,
    /// What deliveries without a name of their own are called.
    calls: String,
    count: u64,
    /// Last: the connection may say goodbye before.
    _socket: Socket,
}

/// A message in hand.
pub(super) struct Delivered {
    delivery: lapin::message::Delivery,
    key: String,
}

/// Why there is no link any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the URL of RabbitMQ: expected {0}")]
    Url(&'static str),
    #[error("{0:?} is no name of a queue")]
    Name(String),
    #[error("RabbitMQ did not answer in time")]
    Slow,
    #[error("the queue {0:?} does not exist; make it, or set amqp.declare = true")]
    Missing(String),
    #[error("RabbitMQ ended the consumer: the queue is gone, or moves to another node")]
    Cancelled,
    #[error("RabbitMQ did not take a refused message into {0:?}")]
    NotStored(String),
    #[error("the connection was lost")]
    Lost,
    #[error("{0}")]
    Broker(#[from] lapin::Error),
}

impl LinkError {
    /// It will be the same until somebody changes something.
    pub(super) fn needs_somebody(&self) -> bool {
        match self {
            LinkError::Url(_) | LinkError::Name(_) | LinkError::Missing(_) | LinkError::NotStored(_) => true,
            LinkError::Broker(error) => {
                let refused = |error: &lapin::protocol::AMQPError| match error.kind() {
                    AMQPErrorKind::Soft(_) => true,
                    AMQPErrorKind::Hard(error) => {
                        matches!(error.get_id(), 402 | 530) // invalid-path, not-allowed
                    }
                };
                matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if refused(error))
                    || matches!(error.kind(), lapin::ErrorKind::ParsingError(_))
            }
            LinkError::Slow | LinkError::Cancelled | LinkError::Lost => false,
        }
    }
}

impl Link {
    /// Connects, makes sure of the queues, and begins to consume.
    pub(super) async fn open(broker: &Broker, queue: &str, node: &NodeId) -> Result<Link, LinkError> {
        let socket = Socket::default();
        let connection = connect(broker, node, &socket).await?;
        let refused = dead_letter::queue_for(queue);
        let mut arguments = FieldTable::default();
        arguments.insert(SINGLE_CONSUMER.into(), AMQPValue::Boolean(true));
        ensure(&connection, broker, queue, arguments).await?;
        ensure(&connection, broker, &refused, FieldTable::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        channel
            .basic_qos(broker.prefetch, BasicQosOptions::default())
            .await?;
        let consumer = channel
            .basic_consume(
                name(queue)?,
                name(&format!("roomcast-{node}"))?,
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(Link {
            connection,
            channel,
            consumer,
            refused: name(&refused)?,
            calls: format!("{node}-{:x}", getrandom::u64().unwrap_or_default()),
            count: 0,
            _socket: socket,
        })
    }

    /// The next message. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Delivered, LinkError> {
        let delivery = self.consumer.next().await.ok_or(LinkError::Cancelled)??;
        self.count += 1;
        let named = delivery.properties.message_id().as_ref();
        let key = match named.map(ShortString::as_str).filter(|id| !id.is_empty()) {
            Some(id) => id.to_owned(),
            // Once as long as it is in hand. When it is delivered again, nobody knows that it is the same.
            None => format!("{}-{}", self.calls, self.count),
        };
        Ok(Delivered { delivery, key })
    }

    /// The next message, if there is one already.
    pub(super) fn next_at_once(&mut self) -> Option<Result<Delivered, LinkError>> {
        self.next().now_or_never()
    }

    /// Whether the link is there as far as is known.
    pub(super) fn check(&self) -> Result<(), LinkError> {
        let is_well = self.connection.status().connected() && self.channel.status().connected();
        is_well.then_some(()).ok_or(LinkError::Lost)
    }

    /// They are dealt with, and the broker may forget them.
    pub(super) async fn acknowledge(&self, done: &[Delivered]) -> Result<(), LinkError> {
        let acknowledged = try_join_all(done.iter().map(|delivered| {
            let acker = &delivered.delivery.acker;
            acker.ack(BasicAckOptions::default())
        }));
        let all = acknowledged.await?.into_iter().all(|acknowledged| acknowledged);
        all.then_some(()).ok_or(LinkError::Lost)
    }

    /// Nothing will ever become of it: it is put aside with the reason, and acknowledged when it is stored there.
    pub(super) async fn refuse(&self, delivered: &Delivered, reason: &str) -> Result<(), LinkError> {
        let properties: BasicProperties = dead_letter::properties(&delivered.delivery.properties, reason);
        let storing = async {
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let exchange = ShortString::default();
            let data = &delivered.delivery.data;
            let publishing =
                self.channel
                    .basic_publish(exchange, self.refused.clone(), options, data, properties);
            publishing.await?.await
        };
        let stored = timeout(STORING, storing).await.map_err(|_| LinkError::Slow)??;
        if !stored.is_ack() || stored.take_message().is_some() {
            return Err(LinkError::NotStored(self.refused.to_string()));
        }
        self.acknowledge(std::slice::from_ref(delivered)).await
    }

    /// Lets go of the queue: what is in hand is in its place there again.
    pub(super) async fn close(self) -> Result<(), LinkError> {
        let goodbye = self.connection.close(200, ShortString::default());
        timeout(CLOSING, goodbye).await.map_err(|_| LinkError::Slow)??;
        Ok(())
    }
}

impl Delivered {
    pub(super) fn message(&self) -> Message<'_> {
        Message {
            text: &self.delivery.data,
            key: &self.key,
        }
    }
}

async fn connect(broker: &Broker, node: &NodeId, socket: &Socket) -> Result<Connection, LinkError> {
    let uri = uri::parse(&broker.url).map_err(LinkError::Url)?;
    let properties = ConnectionProperties::default().with_connection_name(format!("roomcast-{node}").into());
    let holder = socket.holder();
    let connecting = async move |uri: AMQPUri, runtime| {
        let stream = timeout(
            CONNECTING,
            uri.connect_with_config_async(TLSConfig::default(), &runtime),
        );
        let stream: AsyncTcpStream<Compat<TcpStream>> = stream
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
        let is_wanted = match &stream {
            AsyncTcpStream::Plain(plain) => holder.hold(plain.get_ref()),
            // A broker that has answered so far will go on.
            _ => true,
        };
        if is_wanted {
            Ok(stream)
        } else {
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into())
        }
    };
    let runtime = lapin::runtime::default_runtime()?;
    Ok(Connection::connector(uri, runtime, connecting, properties).await?)
}

/// Makes a queue if there is none. One that is there stays as it is.
async fn ensure(
    connection: &Connection,
    broker: &Broker,
    queue: &str,
    arguments: FieldTable,
) -> Result<(), LinkError> {
    // A channel ends with what it is refused.
    let asking = connection.create_channel().await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match asking
        .queue_declare(name(queue)?, passive, FieldTable::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) && broker.declare => {
            let making = connection.create_channel().await?;
            let durable = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            making.queue_declare(name(queue)?, durable, arguments).await?;
            tracing::info!(queue, "the queue did not exist and was made");
            Ok(())
        }
        Err(error) if is_missing(&error) => Err(LinkError::Missing(queue.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else {
        return false;
    };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

fn name(name: &str) -> Result<ShortString, LinkError> {
    ShortString::try_new(name).map_err(|_| LinkError::Name(name.to_owned()))
}
