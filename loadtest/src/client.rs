//! The handle of one connected client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::calls::Calls;
use crate::codec::{self, Kind, Packet};
use crate::connection::Outgoing;

/// How long `next`, `call` and `close` wait. A server that is well answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket in one namespace.
///
/// Its task reads from the start, whether or not anybody asks for events: they wait in a bounded queue. Dropping the
/// client aborts the task and with it the TCP connection, as a crash would; [`Client::close`] says goodbye.
#[derive(Debug)]
pub struct Client {
    pub(crate) id: String,
    pub(crate) pid: Option<String>,
    pub(crate) namespace: String,
    pub(crate) calls: Arc<Calls>,
    pub(crate) outbox: mpsc::Sender<Outgoing>,
    pub(crate) inbox: mpsc::Receiver<Event>,
    pub(crate) ended: watch::Receiver<Option<CloseReason>>,
    /// The reader's pause after each frame, in milliseconds.
    pub(crate) pause: Arc<AtomicU64>,
    /// Owns the client's one task; aborts it on drop.
    pub(crate) task: JoinSet<()>,
}

/// What the server emitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The event's name.
    pub name: String,
    /// Its arguments. A [`placeholder`](crate::placeholder) stands for each attachment.
    pub args: Vec<Value>,
    /// Its binary arguments.
    pub attachments: Vec<Bytes>,
    /// Set when the server wants an answer: see [`Client::acknowledge`].
    pub ack: Option<u64>,
}

/// Why the connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The server threw the socket out of the namespace; a browser would not come back.
    #[error("disconnected by the server")]
    ServerDisconnect,
    /// The WebSocket closed or broke, whoever began it; a browser would come back.
    #[error("transport closed")]
    TransportClose,
    /// No ping came in time.
    #[error("ping timeout")]
    PingTimeout,
    /// The server said something that the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The queue of events that nobody fetched was full, so the client gave up rather than lose one.
    #[error("too many events waiting")]
    Overflow,
}

/// Why a client cannot do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nothing came within five seconds.
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    /// The connection is over.
    #[error("connection closed: {0}")]
    Closed(CloseReason),
    /// The connection is over because the queue of events was full. Those in it were delivered.
    #[error("too many events waiting")]
    Overflow,
}

impl Client {
    /// The socket's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret that recovers this session: another connection sends it as `pid` in its
    /// [`auth`](crate::Connect::auth), and as `offset` the last string argument of the last event. None when the
    /// server does not offer recovery.
    #[must_use]
    pub fn pid(&self) -> Option<&str> {
        self.pid.as_deref()
    }

    /// Sends an event. Returns when it is queued for the socket, whose order is that of the calls.
    pub async fn emit(&self, event: &str, args: &[Value]) -> Result<(), ClientError> {
        self.send_event(None, event, args, Vec::new()).await
    }

    /// Sends an event and waits for its acknowledgement. Binary in the answer appears as
    /// `{"type":"Buffer","data":[…]}`.
    pub async fn call(&self, event: &str, args: &[Value]) -> Result<Vec<Value>, ClientError> {
        let answered = async {
            let call = self.calls.begin();
            self.send_event(Some(call.number()), event, args, Vec::new())
                .await?;
            match call.answer().await {
                Some(values) => Ok(values),
                None => Err(self.failure().await),
            }
        };
        timeout(PATIENCE, answered)
            .await
            .unwrap_or(Err(ClientError::Timeout))
    }

    /// Sends an event with attachments. A [`placeholder`](crate::placeholder) in the arguments says where each
    /// belongs; nothing is checked, so that a test can send what a server must refuse.
    pub async fn emit_binary(
        &self,
        event: &str,
        args: &[Value],
        attachments: Vec<Bytes>,
    ) -> Result<(), ClientError> {
        self.send_event(None, event, args, attachments).await
    }

    /// Answers an event that the server wants acknowledged; does nothing for any other.
    pub async fn acknowledge(&self, event: &Event, args: &[Value]) -> Result<(), ClientError> {
        let Some(ack) = event.ack else { return Ok(()) };
        let mut packet = Packet::new(Kind::Ack, self.namespace.as_str());
        packet.ack = Some(ack);
        packet.data = Some(codec::array_text(args));
        self.send(packet, Vec::new()).await
    }

    /// The next event, in the order in which the server sent them.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        match timeout(PATIENCE, self.inbox.recv()).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(self.failure().await),
            Err(_) => Err(ClientError::Timeout),
        }
    }

    /// The next event if it is here already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.inbox.try_recv().ok()
    }

    /// The next event of that name. Others before it are skipped; all together have five seconds.
    pub async fn next_named(&mut self, name: &str) -> Result<Event, ClientError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, self.next())
                .await
                .unwrap_or(Err(ClientError::Timeout))?
            {
                event if event.name == name => return Ok(event),
                _other => {}
            }
        }
    }

    /// From now on waits that long after each frame before the next one is read, pings included: a client whose
    /// machine or network cannot keep up. One frame may be on its way already. Zero reads at full speed again.
    pub fn read_slowly(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause.store(pause, Ordering::Relaxed);
    }

    /// Waits until the connection is over. There is no deadline but the server's own: at the latest the missing
    /// ping ends it. Events that came before stay in the queue.
    pub async fn closed(&mut self) -> CloseReason {
        let reason = self
            .ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or(CloseReason::TransportClose)
    }

    /// Leaves the namespace, closes the WebSocket, and waits (five seconds at most) until the server has done so too.
    pub async fn close(self) {
        let goodbye = Packet::new(Kind::Disconnect, self.namespace.as_str());
        let Self {
            outbox,
            mut task,
            inbox: _inbox,
            ..
        } = self;
        let finished = async {
            let _already_over = outbox.send(Outgoing::new(&goodbye, Vec::new())).await;
            drop(outbox); // The task closes the WebSocket when nothing more can come.
            task.join_next().await
        };
        let _late = timeout(PATIENCE, finished).await;
    }

    async fn send_event(
        &self,
        ack: Option<u64>,
        event: &str,
        args: &[Value],
        attachments: Vec<Bytes>,
    ) -> Result<(), ClientError> {
        let kind = if attachments.is_empty() {
            Kind::Event
        } else {
            Kind::BinaryEvent
        };
        let mut packet = Packet::new(kind, self.namespace.as_str());
        packet.ack = ack;
        packet.attachments = attachments.len();
        packet.data = Some(codec::event_text(event, args));
        self.send(packet, attachments).await
    }

    pub(crate) async fn send(&self, packet: Packet, attachments: Vec<Bytes>) -> Result<(), ClientError> {
        match self.outbox.send(Outgoing::new(&packet, attachments)).await {
            Ok(()) => Ok(()),
            Err(_over) => Err(self.failure().await),
        }
    }

    /// The error of a client whose connection is over. Writing can notice it first: the reason is the reader's to
    /// say, a moment later.
    async fn failure(&self) -> ClientError {
        let mut ended = self.ended.clone();
        let reason = match timeout(PATIENCE, ended.wait_for(Option::is_some)).await {
            Ok(Ok(reason)) => reason.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match reason.unwrap_or(CloseReason::TransportClose) {
            CloseReason::Overflow => ClientError::Overflow,
            reason => ClientError::Closed(reason),
        }
    }
}
