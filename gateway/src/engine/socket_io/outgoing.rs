//! A packet for clients: made once, framed once for each transport, compressed once, and shared by all who get it. Pure.

use std::cell::OnceCell;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::engine::{
    Packet,
    engine_io::{packet::MESSAGE, payload, request::Transport},
    ids::Id,
    websocket::{
        deflate::deflate,
        frame::{HEADER, Opcode, put_header},
    },
};

/// A packet on its way out.
#[derive(Debug)]
pub(in crate::engine) struct Outgoing {
    /// What stands before the JSON.
    head: String,
    packet: Packet,
    frames: OnceCell<Bytes>,
    deflated: OnceCell<Bytes>,
    body: OnceCell<Bytes>,
}

impl Outgoing {
    /// An event; with an id, it asks for an answer.
    pub(in crate::engine) fn event(packet: Packet, id: Option<i64>) -> Outgoing {
        Outgoing::new('2', '5', packet, id)
    }

    /// The answer to an event.
    pub(in crate::engine) fn ack(packet: Packet, id: i64) -> Outgoing {
        Outgoing::new('3', '6', packet, Some(id))
    }

    /// The client is in; with a `pid`, it may recover later.
    pub(in crate::engine) fn connected(socket: Id, pid: Option<&str>) -> Outgoing {
        let sid = socket.to_string();
        let answer = match pid {
            Some(pid) => json!({ "sid": sid, "pid": pid }),
            None => json!({ "sid": sid }),
        };
        Outgoing::text(format!("0{answer}"))
    }

    /// The client is not let in, and why.
    pub(in crate::engine) fn refused(namespace: &str, message: &str, data: Option<Value>) -> Outgoing {
        let error = match data {
            Some(data) => json!({ "message": message, "data": data }),
            None => json!({ "message": message }),
        };
        let namespace = match namespace {
            super::packet::MAIN => String::new(),
            other => format!("{other},"),
        };
        Outgoing::text(format!("4{namespace}{error}"))
    }

    /// The client is sent away.
    pub(in crate::engine) fn disconnected() -> Outgoing {
        Outgoing::text("1".to_owned())
    }

    fn new(plain: char, binary: char, packet: Packet, id: Option<i64>) -> Outgoing {
        let mut head = match packet.attachments.len() {
            0 => plain.to_string(),
            count => format!("{binary}{count}-"),
        };
        if let Some(id) = id {
            head.push_str(&id.to_string());
        }
        Outgoing {
            head,
            packet,
            frames: OnceCell::new(),
            deflated: OnceCell::new(),
            body: OnceCell::new(),
        }
    }

    fn text(head: String) -> Outgoing {
        let packet = Packet {
            text: String::new(),
            attachments: Vec::new(),
        };
        Outgoing {
            head,
            packet,
            frames: OnceCell::new(),
            deflated: OnceCell::new(),
            body: OnceCell::new(),
        }
    }

    /// The bytes for a transport: frames, or packets of a body.
    pub(in crate::engine) fn bytes(&self, transport: Transport) -> &Bytes {
        match transport {
            Transport::Websocket => self.frames.get_or_init(|| self.to_frames()),
            Transport::Polling => self.body.get_or_init(|| {
                payload::write(
                    &format!("{}{}", self.head, self.packet.text),
                    &self.packet.attachments,
                )
            }),
        }
    }

    /// Frames for those who agreed on compression, which is done for messages from `threshold` bytes on. What would not
    /// become shorter is the same as for all others.
    pub(in crate::engine) fn deflated(&self, threshold: usize) -> &Bytes {
        self.deflated.get_or_init(|| self.to_deflated(threshold))
    }

    fn to_deflated(&self, threshold: usize) -> Bytes {
        let Packet { text, attachments } = &self.packet;
        let deflated = |parts: &[&[u8]]| {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            // What the protocol itself says is short, and put down where others wait.
            let is_worth_it = length >= threshold && !text.is_empty();
            is_worth_it.then(|| deflate(parts)).flatten()
        };
        let first = deflated(&[&[MESSAGE], self.head.as_bytes(), text.as_bytes()]);
        let others: Vec<_> = attachments.iter().map(|bytes| deflated(&[bytes])).collect();
        if first.is_none() && others.iter().all(Option::is_none) {
            return self.bytes(Transport::Websocket).clone();
        }
        let mut out = BytesMut::new();
        match first {
            Some(deflated) => put_deflated(&mut out, Opcode::Text, &deflated),
            None => self.put_text(&mut out),
        }
        for (bytes, deflated) in attachments.iter().zip(others) {
            match deflated {
                Some(deflated) => put_deflated(&mut out, Opcode::Binary, &deflated),
                None => put_binary(&mut out, bytes),
            }
        }
        out.freeze()
    }

    fn to_frames(&self) -> Bytes {
        let attachments = &self.packet.attachments;
        let attached: usize = attachments.iter().map(|bytes| HEADER + bytes.len()).sum();
        let mut out = BytesMut::with_capacity(HEADER + self.length() + attached);
        self.put_text(&mut out);
        for bytes in attachments {
            put_binary(&mut out, bytes);
        }
        out.freeze()
    }

    /// Bytes of the message of text.
    fn length(&self) -> usize {
        1 + self.head.len() + self.packet.text.len()
    }

    fn put_text(&self, out: &mut BytesMut) {
        put_header(out, Opcode::Text, false, self.length());
        out.put_u8(MESSAGE);
        out.put_slice(self.head.as_bytes());
        out.put_slice(self.packet.text.as_bytes());
    }
}

fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    put_header(out, Opcode::Binary, false, bytes.len());
    out.put_slice(bytes);
}

fn put_deflated(out: &mut BytesMut, opcode: Opcode, deflated: &[u8]) {
    put_header(out, opcode, true, deflated.len());
    out.put_slice(deflated);
}

/// A frame with text that no other client gets.
pub(in crate::engine) fn text_frame(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + text.len());
    put_header(&mut out, Opcode::Text, false, text.len());
    out.put_slice(text.as_bytes());
    out.freeze()
}

/// A control frame.
pub(in crate::engine) fn control_frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    put_header(&mut out, opcode, false, payload.len());
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::engine::websocket::deflate::inflate;

    #[test]
    fn both_forms() {
        let packet = |text: &str, attachments: &[&'static [u8]]| Packet {
            text: text.to_owned(),
            attachments: attachments.iter().map(|b| Bytes::from_static(b)).collect(),
        };
        let placeholder = r#"["a",{"_placeholder":true,"num":0}]"#;
        let message = json!({"code": "token_expired", "retry": false});
        for (outgoing, text) in [
            (Outgoing::event(packet(r#"["a",1]"#, &[]), None), r#"42["a",1]"#),
            (
                Outgoing::event(packet(r#"["a",1]"#, &[]), Some(12)),
                r#"4212["a",1]"#,
            ),
            (Outgoing::ack(packet("[]", &[]), 0), "430[]"),
            (
                Outgoing::event(packet(placeholder, &[b"\x01\x02"]), None),
                "451-[\"a\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQI=",
            ),
            (
                Outgoing::ack(packet(placeholder, &[b""]), 7),
                "461-7[\"a\",{\"_placeholder\":true,\"num\":0}]\u{1e}b",
            ),
            (
                Outgoing::connected(Id::numbered(0), Some("p")),
                r#"40{"sid":"AAAAAAAAAAAAAAAAAAAA","pid":"p"}"#,
            ),
            (
                Outgoing::event(packet(r#"["a"]"#, &[]).with_offset("1-\""), None),
                r#"42["a","1-\""]"#,
            ),
            (
                Outgoing::event(packet(placeholder, &[b"\x01"]).with_offset("7"), None),
                "451-[\"a\",{\"_placeholder\":true,\"num\":0},\"7\"]\u{1e}bAQ==",
            ),
            (
                Outgoing::connected(Id::numbered(0), None),
                r#"40{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#,
            ),
            (Outgoing::disconnected(), "41"),
            (
                Outgoing::refused("/x", "Invalid namespace", None),
                r#"44/x,{"message":"Invalid namespace"}"#,
            ),
            (
                Outgoing::refused("/", "no", Some(message)),
                r#"44{"message":"no","data":{"code":"token_expired","retry":false}}"#,
            ),
        ] {
            assert_eq!(outgoing.bytes(Transport::Polling), text);
            let bytes = outgoing.bytes(Transport::Websocket);
            assert_eq!(*bytes, payload::to_frames(text.as_bytes()));
            let first = text.split('\u{1e}').next().unwrap();
            assert_eq!(
                (bytes[0], bytes[1] as usize, &bytes[2..2 + first.len()]),
                (0x81, first.len(), first.as_bytes())
            );
            assert_eq!(
                bytes.as_ptr(),
                outgoing.bytes(Transport::Websocket).as_ptr(),
                "made once"
            );
        }
    }

    /// The frames, as those read them who agreed on compression: the first byte of each, and its payload.
    fn read(mut frames: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut seen = Vec::new();
        while let [first, short, rest @ ..] = frames {
            let (length, rest) = match short {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                127 => panic!("no test is so long"),
                short => (usize::from(*short), rest),
            };
            let (payload, after) = rest.split_at(length);
            let payload = match first & 0x40 {
                0 => payload.to_vec(),
                _ => inflate(payload, 100_000).unwrap(),
            };
            seen.push((*first, payload));
            frames = after;
        }
        seen
    }

    #[test]
    fn the_compressed_form() {
        let long = format!(r#"["a","{}"]"#, "long ".repeat(100));
        let noise: Vec<u8> = (0..10_u8).flat_map(|n| Sha256::digest([n])).collect();
        let (short, zeros, noise) = (
            Bytes::from_static(b"abc"),
            Bytes::from(vec![0; 400]),
            Bytes::from(noise),
        );
        let (text, bytes, compressed) = (0x81, 0x82, 0x40);
        for (json, attachments, firsts) in [
            (long.as_str(), vec![], vec![text | compressed]),
            (r#"["a",1]"#, vec![], vec![text]),
            (
                &long,
                vec![short.clone(), zeros.clone(), noise.clone()],
                vec![text | compressed, bytes, bytes | compressed, bytes],
            ),
            (
                r#"["a"]"#,
                vec![short.clone(), zeros],
                vec![text, bytes, bytes | compressed],
            ),
            (r#"["a"]"#, vec![short, noise], vec![text, bytes, bytes]),
        ] {
            let packet = Packet {
                text: json.to_owned(),
                attachments,
            };
            let outgoing = Outgoing::event(packet, Some(7));
            let plain = read(outgoing.bytes(Transport::Websocket));
            let deflated = read(outgoing.deflated(100));
            assert_eq!(
                deflated.iter().map(|(first, _)| *first).collect::<Vec<_>>(),
                firsts
            );
            let payloads =
                |frames: Vec<(u8, Vec<u8>)>| -> Vec<_> { frames.into_iter().map(|f| f.1).collect() };
            assert_eq!(payloads(deflated), payloads(plain));
            let is_plain = firsts.iter().all(|first| first & compressed == 0);
            let (made, frames) = (outgoing.deflated(100), outgoing.bytes(Transport::Websocket));
            assert_eq!(made.as_ptr(), outgoing.deflated(100).as_ptr(), "made once");
            assert_eq!(
                made.as_ptr() == frames.as_ptr(),
                is_plain,
                "and not twice the same"
            );
            assert!(is_plain || made.len() < frames.len());
        }
        let over = Outgoing::event(
            Packet {
                text: long.clone(),
                attachments: Vec::new(),
            },
            None,
        );
        let length = "42".len() + long.len();
        assert_eq!(read(over.deflated(length + 1))[0].0, text, "below the threshold");
        for protocol in [
            Outgoing::connected(Id::numbered(0), None),
            Outgoing::disconnected(),
        ] {
            assert_eq!(read(protocol.deflated(0))[0].0, text);
        }
    }
}
