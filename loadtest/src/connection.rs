//! The one task behind a client: reads, answers pings, writes, and says why it ended.
//!
//! Reading and writing never wait for each other: a server that does not read cannot stop this client from reading,
//! and an event that nobody fetches is queued, not waited for.

mod reader;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::calls::Calls;
use crate::client::{Client, CloseReason};
use crate::codec::{EnginePacket, Packet};
use crate::connect::ConnectError;
use reader::Reader;

pub(crate) use reader::lost;

/// Packets that may wait to be written; an emit beyond them waits.
const OUTBOX: usize = 1024;
/// How long the WebSocket's close frame may take to be written.
const FAREWELL: Duration = Duration::from_secs(1);
/// However long the server would let its pings take: a clock cannot count to every number it may send.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Sink = SplitSink<Socket, Message>;
type Stream = SplitStream<Socket>;

/// A packet and its attachments on the way out: written together or not at all.
#[derive(Debug)]
pub(crate) struct Outgoing {
    text: String,
    attachments: Vec<Bytes>,
}

impl Outgoing {
    pub(crate) fn new(packet: &Packet, attachments: Vec<Bytes>) -> Self {
        Self {
            text: EnginePacket::Message(&packet.encode()).encode(),
            attachments,
        }
    }
}

/// The answer to a CONNECT: the socket's id and pid, or the refusal. Dropped when the connection ends before it.
type Grant = Result<(String, Option<String>), ConnectError>;

/// Waits for the server's first packet: how long the connection may be silent.
pub(crate) async fn opened(stream: &mut Stream) -> Result<Duration, ConnectError> {
    let frame = stream.next().await.ok_or(CloseReason::TransportClose)??;
    let first = match &frame {
        Message::Close(_) => return Err(CloseReason::TransportClose.into()),
        other => other.to_text()?,
    };
    match EnginePacket::decode(first).map_err(CloseReason::from)? {
        EnginePacket::Open {
            ping_interval_ms,
            ping_timeout_ms,
            ..
        } => {
            let silence = Duration::from_millis(ping_interval_ms.saturating_add(ping_timeout_ms));
            Ok(silence.min(LONGEST_SILENCE))
        }
        _other => Err(ConnectError::Protocol(
            "the first packet is no handshake".to_owned(),
        )),
    }
}

/// Starts the task. The client has no id until the namespace is granted.
pub(crate) fn start(
    sink: Sink,
    stream: Stream,
    heartbeat: Duration,
    namespace: String,
    queue: usize,
) -> (Client, oneshot::Receiver<Grant>) {
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let (events, inbox) = mpsc::channel(queue);
    let (end, ended) = watch::channel(None);
    let (grant, granted) = oneshot::channel();
    let calls = Arc::<Calls>::default();
    let reader = Reader::new(
        stream,
        namespace.clone(),
        heartbeat,
        grant,
        events,
        Arc::clone(&calls),
    );
    let pause = reader.pause();
    let mut task = JoinSet::new();
    task.spawn(run(reader, sink, outgoing, end));
    (
        Client {
            id: String::new(),
            pid: None,
            namespace,
            calls,
            outbox,
            inbox,
            ended,
            pause,
            task,
        },
        granted,
    )
}

/// The task. It ends with the reading half; the order below is what makes every waiter see the reason.
async fn run(
    mut reader: Reader,
    mut sink: Sink,
    outgoing: mpsc::Receiver<Outgoing>,
    end: watch::Sender<Option<CloseReason>>,
) {
    let ping = reader.pinged();
    let reason = tokio::select! {
        reason = reader.read() => reason,
        never = write(&mut sink, outgoing, &ping) => match never {},
    };
    end.send_replace(Some(reason));
    reader.abandon_calls();
    drop(reader);
    let _late = timeout(FAREWELL, sink.close()).await;
}

/// Writes until the client closes or the WebSocket breaks. Why it broke is for the reading half to find out, which
/// may still have events to read.
async fn write(sink: &mut Sink, mut outgoing: mpsc::Receiver<Outgoing>, ping: &Notify) -> Infallible {
    loop {
        let written = tokio::select! {
            biased;
            () = ping.notified() => sink.send(Message::text(EnginePacket::Pong.encode())).await,
            next = outgoing.recv() => match next {
                Some(packet) => send(sink, packet).await,
                None => sink.close().await.and(Err(Error::ConnectionClosed)),
            },
        };
        if written.is_err() {
            break;
        }
    }
    drop(outgoing); // From here on every emit fails.
    std::future::pending().await
}

async fn send(sink: &mut Sink, packet: Outgoing) -> Result<(), Error> {
    sink.feed(Message::text(packet.text)).await?;
    for bytes in packet.attachments {
        sink.feed(Message::Binary(bytes)).await?;
    }
    sink.flush().await
}
