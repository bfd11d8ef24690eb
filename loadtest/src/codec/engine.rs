//! Engine.IO v4: the frame around everything else.

use serde_json::{Value, json};

use super::{DecodeError, first};

/// One text frame of Engine.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePacket<'a> {
    /// The server's first packet.
    Open {
        /// The connection's id; not the socket's, which comes with [`Kind::Connect`](super::Kind::Connect).
        sid: String,
        /// A ping is due this often,
        ping_interval_ms: u64,
        /// and the connection is lost when it is this late.
        ping_timeout_ms: u64,
        /// Transports that the connection may move to.
        upgrades: Vec<String>,
        /// The most bytes that the server takes in one HTTP request or frame.
        max_payload: u64,
    },
    /// The connection ends (long polling only; over WebSocket the close frame says it).
    Close,
    /// The server asks for a sign of life.
    Ping,
    /// The answer to it.
    Pong,
    /// The text of a Socket.IO [`Packet`](super::Packet).
    Message(&'a str),
    /// The move to another transport is complete.
    Upgrade,
    /// Nothing; ends a pending poll.
    Noop,
}

impl<'a> EnginePacket<'a> {
    /// The packet as a text frame.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Open {
                sid,
                ping_interval_ms,
                ping_timeout_ms,
                upgrades,
                max_payload,
            } => {
                let open = json!({
                    "sid": sid,
                    "upgrades": upgrades,
                    "pingInterval": ping_interval_ms,
                    "pingTimeout": ping_timeout_ms,
                    "maxPayload": max_payload,
                });
                format!("0{open}")
            }
            Self::Close => "1".to_owned(),
            Self::Ping => "2".to_owned(),
            Self::Pong => "3".to_owned(),
            Self::Message(packet) => format!("4{packet}"),
            Self::Upgrade => "5".to_owned(),
            Self::Noop => "6".to_owned(),
        }
    }

    /// The packet in a text frame. Probes (`2probe`) belong to the change of transport and are refused here.
    pub fn decode(text: &'a str) -> Result<Self, DecodeError> {
        let (kind, data) = first(text)?;
        let packet = match kind {
            '0' => return open(data),
            '4' => return Ok(Self::Message(data)),
            '1' => Self::Close,
            '2' => Self::Ping,
            '3' => Self::Pong,
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            other => return Err(DecodeError::Type(other)),
        };
        if data.is_empty() {
            Ok(packet)
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

fn open(data: &str) -> Result<EnginePacket<'static>, DecodeError> {
    let open: Value = serde_json::from_str(data).map_err(|_| DecodeError::Open("not JSON"))?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let number = |key, missing| {
        open.get(key)
            .and_then(Value::as_u64)
            .ok_or(DecodeError::Open(missing))
    };
    let upgrades = open.get("upgrades").and_then(Value::as_array);
    Ok(EnginePacket::Open {
        sid: open.get("sid").and_then(text).ok_or(DecodeError::Open("sid"))?,
        ping_interval_ms: number("pingInterval", "pingInterval")?,
        ping_timeout_ms: number("pingTimeout", "pingTimeout")?,
        upgrades: upgrades
            .and_then(|list| list.iter().map(text).collect())
            .ok_or(DecodeError::Open("upgrades"))?,
        max_payload: number("maxPayload", "maxPayload")?,
    })
}
