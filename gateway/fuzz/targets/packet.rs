//! A client's packet and the bytes that come behind it: what is understood is a part of what came, written anew it is
//! understood in the same way, and attachments are as many and as long as was said.

#![no_main]

use gateway::engine::{
    Event,
    socket_io::{
        attachments::Waiting,
        packet::{Kind, MAIN, MOST_ATTACHMENTS, Packet, read},
    },
};
use libfuzzer_sys::fuzz_target;

/// Between the packet and each of its attachments.
const NEXT: u8 = 0x1e;
/// Bytes of a packet with its attachments at most.
const MAX: usize = 200;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == NEXT);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else {
        return;
    };
    let Ok(packet) = read(text) else {
        return;
    };
    let (all, part) = (
        text.as_bytes().as_ptr_range(),
        packet.data.as_bytes().as_ptr_range(),
    );
    assert!(
        all.start <= part.start && part.end == all.end,
        "not the end of what came"
    );
    assert!(packet.namespace.starts_with('/') && packet.attachments <= MOST_ATTACHMENTS);
    assert!(packet.id.is_none_or(|id| id >= 0));
    assert_eq!(read(&anew(&packet)), Ok(packet));

    let (mut attachments, mut size) = (Vec::new(), packet.data.len());
    if packet.attachments > 0 {
        let Ok(mut waiting) = Waiting::begin(&packet, MAX) else {
            return;
        };
        assert_eq!((waiting.kind, waiting.id), (packet.kind, packet.id));
        assert_eq!(waiting.data, packet.data);
        let mut is_whole = false;
        for bytes in parts {
            size += bytes.len();
            match waiting.push(bytes) {
                Ok(whole) => {
                    is_whole = whole;
                    assert_eq!(whole, waiting.attachments.len() == packet.attachments);
                }
                Err(_) => {
                    assert!(size > MAX, "refused, and not too long");
                    return;
                }
            }
            assert!(size <= MAX, "too long, and not refused");
            assert_eq!(waiting.attachments.last().map(|last| &last[..]), Some(bytes));
            if is_whole {
                break;
            }
        }
        if !is_whole {
            return;
        }
        attachments = waiting.attachments;
    }
    if packet.kind == Kind::Event
        && let Ok(event) = Event::parse(packet.data, attachments.clone())
    {
        assert_eq!(event.attachments(), attachments);
        assert!(event.size() <= size, "larger than what came");
    }
});

/// A packet as a client would write it.
fn anew(packet: &Packet<'_>) -> String {
    let mut text = String::from(match (packet.kind, packet.attachments) {
        (Kind::Connect, _) => "0",
        (Kind::Disconnect, _) => "1",
        (Kind::Event, 0) => "2",
        (Kind::Ack, 0) => "3",
        (Kind::Event, _) => "5",
        (Kind::Ack, _) => "6",
    });
    if packet.attachments > 0 {
        text += &format!("{}-", packet.attachments);
    }
    if packet.namespace != MAIN {
        text += &format!("{},", packet.namespace);
    }
    text += &packet.id.map(|id| id.to_string()).unwrap_or_default();
    text + packet.data
}
