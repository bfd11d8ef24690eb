//! What comes over a websocket: however the bytes come, the messages are the same, none is longer than allowed, and no more
//! is held than what came. What is written of a message is read as that message.

#![no_main]

use std::ops::ControlFlow;

use gateway::engine::websocket::{
    frame::{Opcode, put_header, read_header, unmask},
    messages::{Broken, Message, Messages, Rules},
};
use libfuzzer_sys::fuzz_target;

/// The first bytes say how the rest comes, and how long a message may be.
const SIZES: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, bytes)) = data.split_first_chunk::<SIZES>() else {
        return;
    };
    let max = usize::from(sizes[0]) * 16;
    let rules = Rules { max, inflate: None };
    let whole = read(&[bytes], rules);

    let (mut pieces, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
    while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
        let (piece, after) = rest.split_at(usize::from(*size).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(read(&pieces, rules), whole, "it matters how the bytes come");

    for (message, payload) in &whole.0 {
        assert!(payload.len() <= max.max(125), "longer than allowed: {message}");
        echo(payload, sizes.next().copied().unwrap_or_default());
    }
});

/// All messages, each as text and with its payload; why they end, or whether one has begun.
type Seen = (Vec<(String, Vec<u8>)>, Result<bool, Broken>);

fn read(pieces: &[&[u8]], rules: Rules) -> Seen {
    let (mut messages, mut seen, mut came) = (Messages::default(), Vec::new(), 0);
    for piece in pieces {
        came += piece.len();
        let result = messages.read(&mut piece.to_vec(), rules, |message| {
            let payload = match message {
                Message::Text(text) => text.as_bytes(),
                Message::Binary(bytes) | Message::Ping(bytes) => bytes,
                Message::Pong | Message::Close(_) => &[],
            };
            seen.push((format!("{message:?}"), payload.to_vec()));
            match message {
                Message::Close(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        match result {
            Err(broken) => return (seen, Err(broken)),
            Ok(ControlFlow::Break(())) => return (seen, Ok(false)),
            Ok(ControlFlow::Continue(())) => {}
        }
        // Whoever grows a list doubles it.
        assert!(messages.held() <= 2 * came + 64, "more is held than came");
        let most = 2 * (rules.max + rules.max + piece.len()) + 512;
        assert!(messages.held() <= most, "more is held than may come");
    }
    (seen, Ok(messages.is_in_the_middle()))
}

/// A frame with this payload is read as what it is.
fn echo(payload: &[u8], seed: u8) {
    let mut frame = bytes::BytesMut::new();
    put_header(&mut frame, Opcode::Binary, false, payload.len());
    let mut frame = frame.to_vec();
    let Some(second) = frame.get_mut(1) else {
        panic!("a header of one byte")
    };
    *second |= 0x80;
    let mask = [seed, !seed, 7, seed.rotate_left(3)];
    frame.extend(mask);
    let at = frame.len();
    frame.extend(payload);
    unmask(&mut frame[at..], mask, 0);
    assert_eq!(
        read_header(&frame).map(|header| header.map(|h| (h.opcode, h.payload, h.size, h.mask))),
        Ok(Some((Opcode::Binary, payload.len() as u64, at, mask)))
    );
    // In two parts, as a payload may come.
    let middle = payload.len() / 2;
    unmask(&mut frame[at..at + middle], mask, 0);
    unmask(&mut frame[at + middle..], mask, middle);
    assert_eq!(&frame[at..], payload);
}
