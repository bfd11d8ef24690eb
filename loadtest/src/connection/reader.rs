//! The reading half: frames in; events, answers and finally the reason of the end out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Grant, Stream};
use crate::calls::Calls;
use crate::client::{CloseReason, Event};
use crate::codec::binary::{self, Assembly, Whole};
use crate::codec::{DecodeError, EnginePacket, Kind, Packet};
use crate::connect::ConnectError;

/// What is known about the connection while it is read.
pub(super) struct Reader {
    stream: Stream,
    namespace: String,
    /// The longest silence between two pings.
    heartbeat: Duration,
    deadline: Instant,
    ping: Arc<Notify>,
    /// After each frame, in milliseconds; see [`Client::read_slowly`](crate::Client::read_slowly).
    pause: Arc<AtomicU64>,
    assembly: Assembly,
    /// Taken when the server has answered the CONNECT.
    grant: Option<oneshot::Sender<Grant>>,
    events: mpsc::Sender<Event>,
    calls: Arc<Calls>,
}

impl Reader {
    pub(super) fn new(
        stream: Stream,
        namespace: String,
        heartbeat: Duration,
        grant: oneshot::Sender<Grant>,
        events: mpsc::Sender<Event>,
        calls: Arc<Calls>,
    ) -> Self {
        Self {
            stream,
            namespace,
            heartbeat,
            deadline: Instant::now() + heartbeat,
            ping: Arc::default(),
            pause: Arc::default(),
            assembly: Assembly::default(),
            grant: Some(grant),
            events,
            calls,
        }
    }

    /// Is notified of every ping that is to be answered.
    pub(super) fn pinged(&self) -> Arc<Notify> {
        Arc::clone(&self.ping)
    }

    /// How long to wait after each frame.
    pub(super) fn pause(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.pause)
    }

    /// No answer will come any more.
    pub(super) fn abandon_calls(&self) {
        self.calls.abandon();
    }

    /// Reads until the connection is over. A ping that arrived in time counts even when it is read late.
    pub(super) async fn read(&mut self) -> CloseReason {
        loop {
            let taken = match timeout_at(self.deadline, self.stream.next()).await {
                Err(_elapsed) => Err(CloseReason::PingTimeout),
                Ok(None) => Err(CloseReason::TransportClose),
                Ok(Some(Err(error))) => Err(lost(&error)),
                Ok(Some(Ok(frame))) => self.frame(frame),
            };
            if let Err(reason) = taken {
                return reason;
            }
            match self.pause.load(Ordering::Relaxed) {
                0 => {}
                pause => sleep(Duration::from_millis(pause)).await,
            }
        }
    }

    fn frame(&mut self, frame: Message) -> Result<(), CloseReason> {
        let whole = match frame {
            Message::Text(text) => match EnginePacket::decode(&text)? {
                EnginePacket::Message(packet) => self.assembly.packet(Packet::decode(packet)?)?,
                EnginePacket::Ping => {
                    self.deadline = Instant::now() + self.heartbeat;
                    self.ping.notify_one();
                    None
                }
                // A browser ignores a close packet over WebSocket too: the close frame counts.
                EnginePacket::Noop | EnginePacket::Close => None,
                other => return Err(CloseReason::Protocol(format!("unexpected {other:?}"))),
            },
            Message::Binary(bytes) => self.assembly.attachment(bytes)?,
            Message::Close(_) => return Err(CloseReason::TransportClose),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
        };
        whole.map_or(Ok(()), |whole| self.packet(whole))
    }

    fn packet(&mut self, (packet, attachments): Whole) -> Result<(), CloseReason> {
        if packet.namespace != self.namespace {
            return Err(CloseReason::Protocol(format!(
                "packet for {:?}",
                packet.namespace
            )));
        }
        match packet.kind {
            Kind::Connect | Kind::ConnectError => self.answered(&packet),
            Kind::Disconnect => Err(CloseReason::ServerDisconnect),
            Kind::Event | Kind::BinaryEvent => {
                let event = event(&packet, attachments)?;
                self.events.try_send(event).map_err(|_| CloseReason::Overflow)
            }
            Kind::Ack | Kind::BinaryAck => {
                let mut values = packet.arguments()?;
                if packet.kind.is_binary() {
                    binary::inline(&mut values, &attachments)?;
                }
                self.calls.answer(packet.ack.ok_or(DecodeError::Ack)?, values);
                Ok(())
            }
        }
    }

    /// The one answer to the CONNECT.
    fn answered(&mut self, packet: &Packet) -> Result<(), CloseReason> {
        let value = packet.value()?;
        let text = |key| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let grant = if packet.kind == Kind::Connect {
            Ok((text("sid").ok_or(DecodeError::Payload)?, text("pid")))
        } else {
            let message = value.as_str().map(str::to_owned).or_else(|| text("message"));
            Err(ConnectError::Refused {
                message: message.ok_or(DecodeError::Payload)?,
                data: value.get("data").cloned().unwrap_or_default(),
            })
        };
        let Some(waiting) = self.grant.take() else {
            return Err(CloseReason::Protocol("CONNECT answered twice".to_owned()));
        };
        let _gave_up = waiting.send(grant);
        Ok(())
    }
}

fn event(packet: &Packet, attachments: Vec<Bytes>) -> Result<Event, DecodeError> {
    let mut values = packet.arguments()?;
    if packet.kind.is_binary() {
        binary::check(&mut values, &attachments)?;
    }
    let mut values = values.into_iter();
    match values.next() {
        Some(Value::String(name)) => Ok(Event {
            name,
            args: values.collect(),
            attachments,
            ack: packet.ack,
        }),
        _nameless => Err(DecodeError::Payload),
    }
}

/// What a broken WebSocket means.
pub(crate) fn lost(error: &Error) -> CloseReason {
    match error {
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::TransportClose,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            CloseReason::TransportClose
        }
        other => CloseReason::Protocol(other.to_string()),
    }
}

impl From<DecodeError> for CloseReason {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}
