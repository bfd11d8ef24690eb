//! The engine's websocket against another one, tungstenite: what one writes the other one reads, and both take and refuse
//! the same bytes.
//!
//! Where they differ, on purpose:
//! - The engine looks at a control frame's place in the protocol and not at what a Close says: a payload of one byte, a status
//!   that nobody may send, or a reason that is not UTF-8 ends the connection either way. tungstenite refuses the first.
//! - A length has to be written with as few bytes as it needs (RFC 6455, section 5.2), that of a control frame with one;
//!   tungstenite takes longer ones.
//! - tungstenite looks at text as it comes, and refuses what cannot become UTF-8 before the message is whole. The engine
//!   looks when it is whole, so that another mistake may show first: which one it was may differ, not that there was one.
//! - The two look at a frame's header in another order: again another mistake may show first.

use std::{
    io::{self, Cursor, Read, Write},
    ops::ControlFlow,
};

use bytes::{Bytes, BytesMut};
use gateway::engine::websocket::{
    frame::{BadFrame, Opcode, put_header},
    messages::{Broken, Message, Messages, Rules},
};
use proptest::{collection::vec, prelude::*};
use tokio_tungstenite::tungstenite::{
    self, WebSocket,
    protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
};

const MAX: usize = 300;

/// Bytes to read, and what is written.
struct Wire {
    read: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reference(role: Role, bytes: &[u8]) -> WebSocket<Wire> {
    let wire = Wire {
        read: Cursor::new(bytes.to_vec()),
        written: Vec::new(),
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX))
        .max_frame_size(Some(MAX));
    WebSocket::from_raw_socket(wire, role, Some(config))
}

/// A message, as both see it.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// How it ends: nothing more came, or it was refused.
#[derive(Debug, PartialEq)]
enum End {
    Waiting,
    Closed,
    Refused,
}

fn by_reference(role: Role, bytes: &[u8]) -> (Vec<Seen>, End) {
    let (mut socket, mut seen) = (reference(role, bytes), Vec::new());
    loop {
        seen.push(match socket.read() {
            Ok(tungstenite::Message::Text(text)) => Seen::Text(text.to_string()),
            Ok(tungstenite::Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(tungstenite::Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
            Ok(tungstenite::Message::Pong(_)) => Seen::Pong,
            Ok(tungstenite::Message::Close(frame)) => {
                seen.push(Seen::Close(frame.map(|f| f.code.into())));
                return (seen, End::Closed);
            }
            Ok(tungstenite::Message::Frame(_)) => unreachable!("only whole messages are read"),
            Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                return (seen, End::Waiting);
            }
            Err(_) => return (seen, End::Refused),
        });
    }
}

fn by_engine(bytes: &[u8]) -> (Vec<Seen>, End, Option<Broken>) {
    let (mut messages, mut seen) = (Messages::default(), Vec::new());
    let rules = Rules {
        max: MAX,
        inflate: None,
    };
    let result = messages.read(&mut bytes.to_vec(), rules, |message| {
        seen.push(match message {
            Message::Text(text) => Seen::Text(text.to_owned()),
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Seen::Ping(bytes.to_vec()),
            Message::Pong => Seen::Pong,
            Message::Close(status) => {
                seen.push(Seen::Close(status));
                return ControlFlow::Break(());
            }
        });
        ControlFlow::Continue(())
    });
    match result {
        Ok(ControlFlow::Continue(())) => (seen, End::Waiting, None),
        Ok(ControlFlow::Break(())) => (seen, End::Closed, None),
        Err(broken) => (seen, End::Refused, Some(broken)),
    }
}

fn message() -> impl Strategy<Value = Seen> {
    prop_oneof![
        "[a-zäß€]{0,100}".prop_map(Seen::Text),
        vec(any::<u8>(), 0..MAX).prop_map(Seen::Binary),
        vec(any::<u8>(), 0..126).prop_map(Seen::Ping),
        Just(Seen::Pong),
    ]
}

fn to_reference(message: &Seen) -> tungstenite::Message {
    match message {
        Seen::Text(text) => tungstenite::Message::text(text.as_str()),
        Seen::Binary(bytes) => tungstenite::Message::binary(bytes.clone()),
        Seen::Ping(bytes) => tungstenite::Message::Ping(Bytes::copy_from_slice(bytes)),
        Seen::Pong => tungstenite::Message::Pong(Bytes::new()),
        Seen::Close(status) => tungstenite::Message::Close(status.map(|code| CloseFrame {
            code: CloseCode::from(code),
            reason: "bye".into(),
        })),
    }
}

/// A frame of a client, whatever it says of itself.
#[derive(Debug, Clone)]
struct Frame {
    first: u8,
    is_masked: bool,
    /// How the length is written: shortest, with two bytes, with eight.
    length: u8,
    payload: Vec<u8>,
}

fn frame() -> impl Strategy<Value = Frame> {
    let ordinary = prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]);
    let first = prop_oneof![20 => ordinary, 1 => any::<u8>()];
    let payload = prop_oneof![
        8 => "[a-z€]{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..8),
        1 => vec(any::<u8>(), 120..130),
        1 => vec(any::<u8>(), 290..310),
    ];
    let length = prop_oneof![20 => Just(0_u8), 1 => 1..3_u8];
    (first, prop::bool::weighted(0.98), length, payload).prop_map(|(first, is_masked, length, payload)| {
        Frame {
            first,
            is_masked,
            length,
            payload,
        }
    })
}

impl Frame {
    fn write(&self, out: &mut Vec<u8>) {
        let mask = if self.is_masked { 0x80 } else { 0 };
        out.push(self.first);
        match (self.length, self.payload.len()) {
            (0, length @ 0..126) => out.push(mask | length as u8),
            (0 | 1, length) => {
                out.push(mask | 126);
                out.extend((length as u16).to_be_bytes());
            }
            (_, length) => {
                out.push(mask | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if self.is_masked {
            let mask = [9, 80, 0, 255];
            out.extend(mask);
            out.extend(
                self.payload
                    .iter()
                    .zip(mask.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask),
            );
        } else {
            out.extend(&self.payload);
        }
    }
}

proptest! {
    #[test]
    fn what_a_client_writes_is_read(sent in vec(message(), 0..8), status in prop::option::of(1000..1004_u16)) {
        let mut client = reference(Role::Client, &[]);
        let mut sent = sent;
        sent.push(Seen::Close(status));
        for message in &sent {
            client.send(to_reference(message)).unwrap();
        }
        let (seen, end, _) = by_engine(&client.get_ref().written);
        prop_assert_eq!((seen, end), (sent, End::Closed));
    }

    #[test]
    fn what_is_written_a_client_reads(sent in vec(message(), 0..8)) {
        let mut out = BytesMut::new();
        for message in &sent {
            let (opcode, bytes) = match message {
                Seen::Text(text) => (Opcode::Text, text.as_bytes()),
                Seen::Binary(bytes) => (Opcode::Binary, bytes.as_slice()),
                Seen::Ping(bytes) => (Opcode::Ping, bytes.as_slice()),
                Seen::Pong => (Opcode::Pong, &[][..]),
                Seen::Close(_) => continue,
            };
            put_header(&mut out, opcode, false, bytes.len());
            out.extend_from_slice(bytes);
        }
        prop_assert_eq!(by_reference(Role::Client, &out), (sent, End::Waiting));
    }

    #[test]
    fn both_take_and_refuse_the_same(frames in vec(frame(), 1..8)) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.write(&mut bytes);
        }
        let (mut seen, end, broken) = by_engine(&bytes);
        let (mut expect, expected) = by_reference(Role::Server, &bytes);
        match (&end, &expected) {
            // The engine alone refuses it.
            _ if broken == Some(Broken::Frame(BadFrame::Length)) => {}
            (End::Refused, _) if broken == Some(Broken::Frame(BadFrame::Control)) => {
                let is_longer = |frame: &Frame| frame.first & 8 != 0 && (frame.length > 0 || frame.payload.len() > 125);
                prop_assert!(expected == End::Refused || frames.iter().any(is_longer));
            }
            // What it says is looked at there alone.
            (End::Closed, End::Closed | End::Refused) => {
                seen.pop();
            }
            (End::Waiting, End::Waiting) | (End::Refused, End::Refused) => {}
            // There it is known before the message is whole.
            (End::Waiting, End::Refused) => {
                prop_assert!(frames.iter().any(|frame| std::str::from_utf8(&frame.payload).is_err()));
            }
            _ => prop_assert!(false, "{:?} here, and {:?} there", end, expected),
        }
        if end != expected || end != End::Waiting {
            // Until one of them refused it both saw the same.
            let same = seen.len().min(expect.len());
            seen.truncate(same);
            expect.truncate(same);
        }
        prop_assert_eq!(seen, expect);
    }
}

#[test]
fn other_lengths_than_the_shortest_are_refused_here_alone() {
    for length in [1, 2] {
        let frame = Frame {
            first: 0x82,
            is_masked: true,
            length,
            payload: vec![1],
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        assert_eq!(by_engine(&bytes).2, Some(Broken::Frame(BadFrame::Length)));
        let taken = (vec![Seen::Binary(vec![1])], End::Waiting);
        assert_eq!(by_reference(Role::Server, &bytes), taken);
    }
}

#[test]
fn what_a_close_says_is_not_looked_at() {
    for (payload, end) in [
        (&b"\x03"[..], End::Refused),
        (b"\x00\x01", End::Closed),
        (b"\x03\xe8\xff", End::Refused),
    ] {
        let frame = Frame {
            first: 0x88,
            is_masked: true,
            length: 0,
            payload: payload.to_vec(),
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        assert_eq!(by_engine(&bytes).1, End::Closed, "{payload:?}");
        assert_eq!(by_reference(Role::Server, &bytes).1, end, "{payload:?}");
    }
}
