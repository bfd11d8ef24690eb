//! The body of a request that brings packets, as any client may write it: packets are parts of the body, what is made of
//! them is read back as them, and as frames of a websocket they are the same.

#![no_main]

use bytes::Bytes;
use gateway::engine::{
    engine_io::payload::{Packet, SEPARATOR, read, to_frames, write},
    websocket::frame::{Opcode, put_header},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(packets) = read(body) else {
        assert!(std::str::from_utf8(body).is_err());
        assert!(to_frames(body).is_empty());
        return;
    };
    let packets: Vec<_> = packets.collect();
    assert_eq!(packets.len(), body.split(|byte| *byte == SEPARATOR).count());

    let mut frames = bytes::BytesMut::new();
    let mut put = |opcode, bytes: &[u8]| {
        put_header(&mut frames, opcode, false, bytes.len());
        frames.extend_from_slice(bytes);
    };
    let (mut size, mut attachments) = (0, Vec::new());
    for packet in packets.iter().flatten() {
        match packet {
            Packet::Text(text) => {
                let (all, part) = (body.as_ptr_range(), text.as_bytes().as_ptr_range());
                assert!(all.start <= part.start && part.end <= all.end, "copied");
                assert!(!text.is_empty() && !text.starts_with('b'));
                size += text.len();
                put(Opcode::Text, text.as_bytes());
            }
            Packet::Binary(bytes) => {
                size += bytes.len();
                attachments.push(Bytes::copy_from_slice(bytes));
                put(Opcode::Binary, bytes);
            }
        }
    }
    assert!(size <= body.len(), "longer than what came");
    assert_eq!(to_frames(body), frames.freeze());

    let text = packets.iter().flatten().find_map(|packet| match packet {
        Packet::Text(text) => Some(*text),
        Packet::Binary(_) => None,
    });
    let message = format!("4{}", text.unwrap_or_default());
    let written = write(text.unwrap_or_default(), &attachments);
    let Ok(again) = read(&written) else {
        panic!("what is written is no body");
    };
    let again: Result<Vec<_>, _> = again.collect();
    let mut expect = vec![Packet::Text(&message)];
    expect.extend(attachments.iter().map(|bytes| Packet::Binary(bytes.to_vec())));
    assert_eq!(again, Ok(expect));
});
