//! The bodies of long polling: packets, one after the other. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};

use crate::engine::{
    engine_io::packet,
    websocket::frame::{HEADER, Opcode, put_header},
};

/// Between two packets.
pub const SEPARATOR: u8 = 0x1e;
/// Before the base64 of a packet of bytes.
const BINARY: u8 = b'b';

/// A packet in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Of text, its type first.
    Text(&'a str),
    /// Of bytes: a message.
    Binary(Vec<u8>),
}

/// The body is not made of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPayload;

/// The packets of a body, in order. One that is not UTF-8 has none.
///
/// # Errors
/// [`BadPayload`] for the body, or in the place of a packet.
pub fn read(body: &[u8]) -> Result<impl Iterator<Item = Result<Packet<'_>, BadPayload>>, BadPayload> {
    let body = std::str::from_utf8(body).map_err(|_| BadPayload)?;
    Ok(body
        .split(char::from(SEPARATOR))
        .map(|packet| match packet.strip_prefix(char::from(BINARY)) {
            Some(binary) => STANDARD
                .decode(binary)
                .map(Packet::Binary)
                .map_err(|_| BadPayload),
            None if packet.is_empty() => Err(BadPayload),
            None => Ok(Packet::Text(packet)),
        }))
}

/// A message of text and what is attached to it, as packets of a body.
pub fn write(text: &str, attachments: &[Bytes]) -> Bytes {
    let encoded = |bytes: &Bytes| base64::encoded_len(bytes.len(), true).unwrap_or_default() + 2;
    let size = 1 + text.len() + attachments.iter().map(encoded).sum::<usize>();
    let mut out = BytesMut::with_capacity(size);
    out.put_u8(packet::MESSAGE);
    out.put_slice(text.as_bytes());
    for bytes in attachments {
        out.put_u8(SEPARATOR);
        out.put_u8(BINARY);
        out.put_slice(STANDARD.encode(bytes).as_bytes());
    }
    out.freeze()
}

/// A message of bytes, as a packet of a body.
pub fn write_binary(bytes: &[u8]) -> Bytes {
    let size = 1 + base64::encoded_len(bytes.len(), true).unwrap_or_default();
    let mut out = String::with_capacity(size);
    out.push(char::from(BINARY));
    STANDARD.encode_string(bytes, &mut out);
    out.into()
}

/// What was meant for a body, as frames of a websocket: the session moved to one.
pub fn to_frames(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + HEADER);
    // It was made by this side, so that there is nothing to refuse.
    for packet in read(body).into_iter().flatten().flatten() {
        let (opcode, bytes) = match &packet {
            Packet::Text(text) => (Opcode::Text, text.as_bytes()),
            Packet::Binary(bytes) => (Opcode::Binary, bytes.as_slice()),
        };
        put_header(&mut out, opcode, false, bytes.len());
        out.put_slice(bytes);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(body: &[u8]) -> Option<Vec<Packet<'_>>> {
        read(body).ok()?.collect::<Result<_, _>>().ok()
    }

    #[test]
    fn bodies() {
        use Packet::{Binary, Text};
        for (body, expect) in [
            (&b"2"[..], Some(vec![Text("2")])),
            (
                b"4hello\x1e2\x1e4world",
                Some(vec![Text("4hello"), Text("2"), Text("4world")]),
            ),
            (
                b"4\xe2\x82\xac\x1ebAQIDBA==",
                Some(vec![Text("4\u{20ac}"), Binary(vec![1, 2, 3, 4])]),
            ),
            (b"b", Some(vec![Binary(vec![])])),
            (b"", None),
            (b"4a\x1e", None),
            (b"bAQIDBA", None),
            (b"4\xff", None),
        ] {
            assert_eq!(all(body), expect, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_can_move_to_a_websocket(
            text in "[^\u{1e}]{0,40}",
            attachments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        ) {
            let attached: Vec<Bytes> = attachments.iter().cloned().map(Bytes::from).collect();
            let body = write(&text, &attached);
            let message = format!("4{text}");
            let mut expect = vec![Packet::Text(&message)];
            expect.extend(attachments.iter().cloned().map(Packet::Binary));
            prop_assert_eq!(all(&body).unwrap(), expect);

            let frames = to_frames(&body);
            let mut wanted = BytesMut::new();
            put_header(&mut wanted, Opcode::Text, false, message.len());
            wanted.put_slice(message.as_bytes());
            for bytes in &attachments {
                put_header(&mut wanted, Opcode::Binary, false, bytes.len());
                wanted.put_slice(bytes);
            }
            prop_assert_eq!(frames, wanted.freeze());

            for bytes in attachments {
                let body = write_binary(&bytes);
                let mut wanted = BytesMut::new();
                put_header(&mut wanted, Opcode::Binary, false, bytes.len());
                wanted.put_slice(&bytes);
                prop_assert_eq!(to_frames(&body), wanted.freeze(), "it stands alone");
                prop_assert_eq!(all(&body).unwrap(), [Packet::Binary(bytes)]);
            }
        }
    }
}
