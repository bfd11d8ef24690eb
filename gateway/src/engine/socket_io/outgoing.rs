//! A packet for clients: made once, framed once for each transport, and shared by all who get it. Pure.

use std::cell::OnceCell;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::engine::{
    Packet,
    engine_io::{packet::MESSAGE, payload, request::Transport},
    ids::Id,
    websocket::frame::{HEADER, Opcode, put_header},
};

/// A packet on its way out.
#[derive(Debug)]
pub(in crate::engine) struct Outgoing {
    /// What stands before the JSON.
    head: String,
    packet: Packet,
    frames: OnceCell<Bytes>,
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

    /// The client is in.
    pub(in crate::engine) fn connected(socket: Id) -> Outgoing {
        Outgoing::text(format!(r#"0{{"sid":"{socket}"}}"#))
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

    fn to_frames(&self) -> Bytes {
        let Packet { text, attachments } = &self.packet;
        let length = 1 + self.head.len() + text.len();
        let attached: usize = attachments.iter().map(|bytes| HEADER + bytes.len()).sum();
        let mut out = BytesMut::with_capacity(HEADER + length + attached);
        put_header(&mut out, Opcode::Text, false, length);
        out.put_u8(MESSAGE);
        out.put_slice(self.head.as_bytes());
        out.put_slice(text.as_bytes());
        for bytes in attachments {
            put_header(&mut out, Opcode::Binary, false, bytes.len());
            out.put_slice(bytes);
        }
        out.freeze()
    }
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
    use super::*;

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
                Outgoing::connected(Id::numbered(0)),
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
}
