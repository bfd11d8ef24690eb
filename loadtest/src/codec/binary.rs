//! Binary in Socket.IO: the JSON holds placeholders, the bytes follow as frames of their own.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{DecodeError, Packet};

/// What stands in an event's arguments for attachment number `index`.
#[must_use]
pub fn placeholder(index: usize) -> Value {
    json!({ "_placeholder": true, "num": index })
}

/// A packet with all its attachments.
pub(crate) type Whole = (Packet, Vec<Bytes>);

/// Puts packets and the attachments that follow them together.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// The packet that waits for attachments, and those that are here.
    partial: Option<Whole>,
}

impl Assembly {
    /// Takes a text packet; gives it back when it is whole.
    pub(crate) fn packet(&mut self, packet: Packet) -> Result<Option<Whole>, DecodeError> {
        if self.partial.is_some() {
            return Err(DecodeError::Order);
        }
        let attachments = Vec::with_capacity(packet.attachments);
        self.whole((packet, attachments))
    }

    /// Takes a binary frame; gives the packet back that it completes.
    pub(crate) fn attachment(&mut self, bytes: Bytes) -> Result<Option<Whole>, DecodeError> {
        let (packet, mut attachments) = self.partial.take().ok_or(DecodeError::Order)?;
        attachments.push(bytes);
        self.whole((packet, attachments))
    }

    fn whole(&mut self, whole: Whole) -> Result<Option<Whole>, DecodeError> {
        if whole.1.len() == whole.0.attachments {
            return Ok(Some(whole));
        }
        self.partial = Some(whole);
        Ok(None)
    }
}

/// Does every placeholder name one of the attachments?
pub(crate) fn check(values: &mut [Value], attachments: &[Bytes]) -> Result<(), DecodeError> {
    each_placeholder(values, &mut |_, index| match attachments.get(index) {
        Some(_) => Ok(()),
        None => Err(DecodeError::Attachments),
    })
}

/// Replaces the placeholders with what Node's `JSON.stringify` makes of a Buffer, for readers that want JSON only.
pub(crate) fn inline(values: &mut [Value], attachments: &[Bytes]) -> Result<(), DecodeError> {
    each_placeholder(values, &mut |value, index| {
        let bytes = attachments.get(index).ok_or(DecodeError::Attachments)?;
        *value = json!({ "type": "Buffer", "data": bytes.as_ref() });
        Ok(())
    })
}

/// Depth is bounded by serde_json, which parses no more than 128 levels.
fn each_placeholder<'v>(
    values: impl IntoIterator<Item = &'v mut Value>,
    visit: &mut impl FnMut(&mut Value, usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for value in values {
        match value {
            Value::Array(items) => each_placeholder(items.iter_mut(), visit)?,
            Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
                let index = map
                    .get("num")
                    .and_then(Value::as_u64)
                    .and_then(|num| num.try_into().ok());
                visit(value, index.ok_or(DecodeError::Attachments)?)?;
            }
            Value::Object(map) => each_placeholder(map.values_mut(), visit)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}
