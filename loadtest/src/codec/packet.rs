//! Socket.IO v5: `<type>[<attachments>-][<namespace>,][<ack>][<JSON>]`.

use serde_json::Value;

use super::{DecodeError, MAX_ATTACHMENTS, first};

/// A Socket.IO packet, without its attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Begins with `/`.
    pub namespace: String,
    /// The number that an event asks to be answered under, or that an acknowledgement answers.
    pub ack: Option<u64>,
    /// The payload as JSON text. Only its first character has been looked at.
    pub data: Option<String>,
    /// How many binary frames follow; 0 unless the kind is binary.
    pub attachments: usize,
}

/// The kinds of [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `0`: asks for a namespace, or grants it.
    Connect,
    /// `1`: leaves the namespace, or is thrown out of it.
    Disconnect,
    /// `2`
    Event,
    /// `3`
    Ack,
    /// `4`: the namespace is refused.
    ConnectError,
    /// `5`
    BinaryEvent,
    /// `6`
    BinaryAck,
}

impl Packet {
    /// A packet with nothing but a kind and a namespace.
    #[must_use]
    pub fn new(kind: Kind, namespace: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            ack: None,
            data: None,
            attachments: 0,
        }
    }

    /// The packet as the text of an [`EnginePacket::Message`](super::EnginePacket::Message).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::from(self.kind.digit());
        if self.kind.is_binary() {
            text.push_str(&self.attachments.to_string());
            text.push('-');
        }
        if self.namespace != "/" {
            text.push_str(&self.namespace);
            text.push(',');
        }
        if let Some(ack) = self.ack {
            text.push_str(&ack.to_string());
        }
        text.push_str(self.data.as_deref().unwrap_or_default());
        text
    }

    /// The packet in the text of an [`EnginePacket::Message`](super::EnginePacket::Message).
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let (digit, mut rest) = first(text)?;
        let mut packet = Self::new(Kind::from_digit(digit).ok_or(DecodeError::Type(digit))?, "/");
        if packet.kind.is_binary() {
            let (count, after) = digits(rest);
            packet.attachments = count.parse().map_err(|_| DecodeError::Attachments)?;
            rest = after.strip_prefix('-').ok_or(DecodeError::Attachments)?;
            if !(1..=MAX_ATTACHMENTS).contains(&packet.attachments) {
                return Err(DecodeError::Attachments);
            }
        }
        if rest.starts_with('/') {
            let (namespace, after) = rest.split_once(',').unwrap_or((rest, ""));
            packet.namespace = namespace.to_owned();
            rest = after;
        }
        let (ack, data) = digits(rest);
        if !ack.is_empty() {
            packet.ack = Some(ack.parse().map_err(|_| DecodeError::Ack)?);
        }
        if !data.is_empty() {
            packet.data = Some(data.to_owned());
        }
        if packet.kind.takes(data) {
            Ok(packet)
        } else {
            Err(DecodeError::Payload)
        }
    }

    /// The payload of an event (its name first) or of an acknowledgement.
    pub fn arguments(&self) -> Result<Vec<Value>, DecodeError> {
        let data = self.data.as_deref().unwrap_or_default();
        serde_json::from_str(data).map_err(|_| DecodeError::Payload)
    }

    /// The payload of a [`Kind::Connect`] or [`Kind::ConnectError`]; null when there is none.
    pub fn value(&self) -> Result<Value, DecodeError> {
        match &self.data {
            Some(data) => serde_json::from_str(data).map_err(|_| DecodeError::Payload),
            None => Ok(Value::Null),
        }
    }
}

impl Kind {
    fn digit(self) -> char {
        match self {
            Self::Connect => '0',
            Self::Disconnect => '1',
            Self::Event => '2',
            Self::Ack => '3',
            Self::ConnectError => '4',
            Self::BinaryEvent => '5',
            Self::BinaryAck => '6',
        }
    }

    fn from_digit(digit: char) -> Option<Self> {
        Some(match digit {
            '0' => Self::Connect,
            '1' => Self::Disconnect,
            '2' => Self::Event,
            '3' => Self::Ack,
            '4' => Self::ConnectError,
            '5' => Self::BinaryEvent,
            '6' => Self::BinaryAck,
            _ => return None,
        })
    }

    /// Is this kind followed by attachments?
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    /// Can a payload of this kind begin like that? Whether it is JSON turns out when it is read.
    fn takes(self, data: &str) -> bool {
        let first = data.chars().next();
        match self {
            Self::Connect => matches!(first, None | Some('{')),
            Self::Disconnect => first.is_none(),
            Self::ConnectError => matches!(first, None | Some('{' | '"')),
            Self::Event | Self::Ack | Self::BinaryEvent | Self::BinaryAck => first == Some('['),
        }
    }
}

/// `[name, args…]` as JSON text, without copying the arguments first.
pub(crate) fn event_text(name: &str, args: &[Value]) -> String {
    array_text(std::iter::once(&Value::from(name)).chain(args))
}

/// `[args…]` as JSON text.
pub(crate) fn array_text<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = String::from('[');
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&value.to_string());
    }
    text.push(']');
    text
}

/// The text up to the first character that is no digit, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}
