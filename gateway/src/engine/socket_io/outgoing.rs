//! A packet for clients: made once, framed once for each parser and transport, compressed once, and shared by all who get it.
//! Pure.

mod packed;

use std::{borrow::Cow, cell::OnceCell};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use self::packed::Packed;
use super::packet::MAIN;
use crate::engine::{
    Packet,
    engine_io::{packet::MESSAGE, payload, request::Transport},
    ids::Id,
    websocket::{
        deflate::deflate,
        frame::{HEADER, Opcode, put_header},
    },
};

/// What a packet for clients is, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client is in.
    Connect = 0,
    /// The client is sent away.
    Disconnect = 1,
    /// An event.
    Event = 2,
    /// The answer to one of the client's.
    Ack = 3,
    /// The client is not let in.
    ConnectError = 4,
}

/// A packet on its way out.
#[derive(Debug)]
pub(in crate::engine) struct Outgoing {
    kind: Kind,
    namespace: Cow<'static, str>,
    id: Option<i64>,
    /// What stands before the JSON.
    head: String,
    packet: Packet,
    frames: OnceCell<Bytes>,
    deflated: OnceCell<Bytes>,
    body: OnceCell<Bytes>,
    /// For those who have another parser, if anybody has.
    packed: OnceCell<Box<Packed>>,
}

impl Outgoing {
    /// An event; with an id, it asks for an answer.
    pub(in crate::engine) fn event(packet: Packet, id: Option<i64>) -> Outgoing {
        Outgoing::new(Kind::Event, Cow::Borrowed(MAIN), id, packet)
    }

    /// The answer to an event.
    pub(in crate::engine) fn ack(packet: Packet, id: i64) -> Outgoing {
        Outgoing::new(Kind::Ack, Cow::Borrowed(MAIN), Some(id), packet)
    }

    /// The client is in; with a `pid`, it may recover later.
    pub(in crate::engine) fn connected(socket: Id, pid: Option<&str>) -> Outgoing {
        let answer = match pid {
            Some(pid) => format!(r#"{{"sid":"{socket}","pid":{}}}"#, Value::from(pid)),
            None => format!(r#"{{"sid":"{socket}"}}"#),
        };
        Outgoing::protocol(Kind::Connect, Cow::Borrowed(MAIN), answer)
    }

    /// The client is not let in, and why.
    pub(in crate::engine) fn refused(namespace: &str, message: &str, data: Option<Value>) -> Outgoing {
        let error = match data {
            Some(data) => json!({ "message": message, "data": data }),
            None => json!({ "message": message }),
        };
        let namespace = match namespace {
            MAIN => Cow::Borrowed(MAIN),
            other => Cow::Owned(other.to_owned()),
        };
        Outgoing::protocol(Kind::ConnectError, namespace, error.to_string())
    }

    /// The client is sent away.
    pub(in crate::engine) fn disconnected() -> Outgoing {
        Outgoing::protocol(Kind::Disconnect, Cow::Borrowed(MAIN), String::new())
    }

    fn protocol(kind: Kind, namespace: Cow<'static, str>, text: String) -> Outgoing {
        let packet = Packet {
            text,
            attachments: Vec::new(),
        };
        Outgoing::new(kind, namespace, None, packet)
    }

    fn new(kind: Kind, namespace: Cow<'static, str>, id: Option<i64>, packet: Packet) -> Outgoing {
        let mut head = match (kind as u8, packet.attachments.len()) {
            (kind, 0) => kind.to_string(),
            // Those with bytes have numbers of their own.
            (kind, count) => format!("{}{count}-", kind + 3),
        };
        if namespace != MAIN {
            head.push_str(&namespace);
            head.push(',');
        }
        if let Some(id) = id {
            head.push_str(&id.to_string());
        }
        Outgoing {
            kind,
            namespace,
            id,
            head,
            packet,
            frames: OnceCell::new(),
            deflated: OnceCell::new(),
            body: OnceCell::new(),
            packed: OnceCell::new(),
        }
    }

    /// What the protocol itself says is short, and put down where others wait: it is not compressed.
    fn is_protocol(&self) -> bool {
        !matches!(self.kind, Kind::Event | Kind::Ack)
    }

    /// The packet in MessagePack, for those who have that parser.
    pub(in crate::engine) fn packed(&self) -> &Packed {
        self.packed.get_or_init(|| Box::new(Packed::new(self)))
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
            (length >= threshold && !self.is_protocol())
                .then(|| deflate(parts))
                .flatten()
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
mod tests;
