//! A packet whose bytes come after it. Pure.

use bytes::Bytes;
use serde_json::Value;

use super::packet::{BadPacket, Kind, Packet};

/// A packet that waits for its attachments.
#[derive(Debug)]
pub struct Waiting {
    /// What it is.
    pub kind: Kind,
    /// See [`Packet::id`].
    pub id: Option<i64>,
    /// See [`Packet::data`].
    pub data: String,
    /// What has come.
    pub attachments: Vec<Bytes>,
    expected: usize,
    /// Bytes that may still come.
    room: usize,
}

impl Waiting {
    /// Begins with a packet that has attachments, which may be `max` bytes long together with it.
    ///
    /// # Errors
    /// [`BadPacket`] when it does not say where each of them belongs: clients that it is passed on to would break off.
    pub fn begin(packet: &Packet<'_>, max: usize) -> Result<Waiting, BadPacket> {
        let value: Value = serde_json::from_str(packet.data).map_err(|_| BadPacket)?;
        let mut places = Vec::with_capacity(packet.attachments);
        find(&value, &mut places)?;
        places.sort_unstable();
        if !places.into_iter().eq(0..packet.attachments as u64) {
            return Err(BadPacket);
        }
        Ok(Waiting {
            kind: packet.kind,
            id: packet.id,
            data: packet.data.to_owned(),
            attachments: Vec::with_capacity(packet.attachments),
            expected: packet.attachments,
            room: max.saturating_sub(packet.data.len()),
        })
    }

    /// Takes the next attachment; answers whether it was the last.
    ///
    /// # Errors
    /// [`BadPacket`] when all of them are too long.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, BadPacket> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(BadPacket)?;
        self.attachments.push(Bytes::copy_from_slice(bytes));
        Ok(self.attachments.len() >= self.expected)
    }
}

/// Collects the numbers of all placeholders. The reader of JSON limits how deep this goes.
fn find(value: &Value, places: &mut Vec<u64>) -> Result<(), BadPacket> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| find(item, places)),
        Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
            places.push(map.get("num").and_then(Value::as_u64).ok_or(BadPacket)?);
            Ok(())
        }
        Value::Object(map) => map.values().try_for_each(|item| find(item, places)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packet::read, *};

    #[test]
    fn bytes_come_after_their_packet() {
        let text = r#"52-/,7["a",{"x":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]"#;
        let mut waiting = Waiting::begin(&read(text).unwrap(), 200).unwrap();
        assert_eq!(waiting.push(b"first"), Ok(false));
        assert_eq!(waiting.push(b""), Ok(true));
        assert_eq!(
            (waiting.id, waiting.attachments),
            (Some(7), vec![Bytes::from("first"), Bytes::new()])
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            r#"51-["a"]"#,
            r#"51-["a",{"_placeholder":true}]"#,
            r#"51-["a",{"_placeholder":true,"num":1}]"#,
            r#"51-["a",{"_placeholder":true,"num":-1}]"#,
            r#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
            r#"52-["a",{"_placeholder":true,"num":0}]"#,
            r#"51-["a",{"_placeholder":true,"num":0}"#,
        ] {
            let packet = read(text).unwrap();
            assert_eq!(Waiting::begin(&packet, 1000).err(), Some(BadPacket), "{text}");
        }
        let one = r#"51-["a",{"_placeholder":true,"num":0}]"#;
        let mut waiting = Waiting::begin(&read(one).unwrap(), one.len() - 3 + 10).unwrap();
        assert_eq!(waiting.push(&[0; 11]), Err(BadPacket));
    }
}
