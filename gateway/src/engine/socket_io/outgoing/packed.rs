//! A packet in MessagePack: one message of bytes.

use std::cell::OnceCell;

use bytes::{Bytes, BytesMut};

use super::{Outgoing, put_binary, put_deflated};
use crate::engine::{
    engine_io::{payload, request::Transport},
    socket_io::msgpack::writing::write,
    websocket::{
        deflate::deflate,
        frame::{HEADER, Opcode},
    },
};

/// As [`Outgoing`], for those who have this parser.
#[derive(Debug)]
pub(in crate::engine) struct Packed {
    message: Vec<u8>,
    is_protocol: bool,
    frame: OnceCell<Bytes>,
    deflated: OnceCell<Bytes>,
    body: OnceCell<Bytes>,
}

impl Packed {
    pub(super) fn new(outgoing: &Outgoing) -> Packed {
        let (text, attachments) = (&outgoing.packet.text, &outgoing.packet.attachments);
        Packed {
            // All text is JSON. If some were not, nobody would get what nobody could read.
            message: write(outgoing.kind, &outgoing.namespace, outgoing.id, text, attachments)
                .unwrap_or_default(),
            is_protocol: outgoing.is_protocol(),
            frame: OnceCell::new(),
            deflated: OnceCell::new(),
            body: OnceCell::new(),
        }
    }

    /// The bytes for a transport: a frame, or a packet of a body.
    pub(in crate::engine) fn bytes(&self, transport: Transport) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        match transport {
            _ if self.message.is_empty() => &NOTHING,
            Transport::Websocket => self.frame.get_or_init(|| {
                let mut out = BytesMut::with_capacity(HEADER + self.message.len());
                put_binary(&mut out, &self.message);
                out.freeze()
            }),
            Transport::Polling => self.body.get_or_init(|| payload::write_binary(&self.message)),
        }
    }

    /// As [`Outgoing::deflated`].
    pub(in crate::engine) fn deflated(&self, threshold: usize) -> &Bytes {
        self.deflated.get_or_init(|| {
            let is_worth_it = self.message.len() >= threshold && !self.is_protocol;
            match is_worth_it.then(|| deflate(&[&self.message])).flatten() {
                Some(deflated) => {
                    let mut out = BytesMut::with_capacity(HEADER + deflated.len());
                    put_deflated(&mut out, Opcode::Binary, &deflated);
                    out.freeze()
                }
                None => self.bytes(Transport::Websocket).clone(),
            }
        })
    }
}
