//! A client's packet in MessagePack: what is understood is what the default parser would have brought, no longer than it may
//! be, and written for clients it is understood in the same way.

#![no_main]

use gateway::engine::{
    Event,
    socket_io::{
        msgpack::{
            reading::{self, read},
            writing::write,
        },
        outgoing,
        packet::{self, Kind, MOST_ATTACHMENTS, MOST_ID},
    },
};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

/// Bytes of a packet's JSON and attachments at most.
const MAX: usize = 400;

fuzz_target!(|data: &[u8]| {
    let Ok(packet) = read(data, MAX) else {
        return;
    };
    let attached: usize = packet.attachments.iter().map(|bytes| bytes.len()).sum();
    assert!(packet.data.len() + attached <= MAX, "too long, and not refused");
    assert!(attached <= data.len() && packet.attachments.len() <= MOST_ATTACHMENTS);
    assert!(packet.namespace.starts_with('/'));
    assert!(packet.id.is_none_or(|id| (0..=MOST_ID).contains(&id)));

    let text = as_text(&packet);
    let same = packet::Packet {
        kind: packet.kind,
        attachments: packet.attachments.len(),
        namespace: packet::MAIN,
        id: packet.id,
        data: &packet.data,
    };
    assert_eq!(packet::read(&text), Ok(same), "{text}");
    if !packet.data.is_empty() {
        let is_json = serde_json::from_str::<&RawValue>(&packet.data).is_ok();
        assert!(is_json, "{text}");
    }
    if packet.kind == Kind::Event
        && let Ok(event) = Event::parse(&packet.data, packet.attachments.clone())
    {
        assert_eq!(event.attachments(), packet.attachments);
    }

    let kind = match packet.kind {
        Kind::Connect => outgoing::Kind::Connect,
        Kind::Disconnect => outgoing::Kind::Disconnect,
        Kind::Event => outgoing::Kind::Event,
        Kind::Ack => outgoing::Kind::Ack,
    };
    let written = write(
        kind,
        packet.namespace,
        packet.id,
        &packet.data,
        &packet.attachments,
    );
    let Some(written) = written else {
        panic!("understood, and not written: {text}");
    };
    assert_eq!(read(&written, MAX), Ok(packet), "{text}");
});

/// The packet, but for its namespace, as the default parser of a client would have written it.
fn as_text(packet: &reading::Packet<'_>) -> String {
    let count = packet.attachments.len();
    let mut text = String::from(match (packet.kind, count) {
        (Kind::Connect, _) => "0",
        (Kind::Disconnect, _) => "1",
        (Kind::Event, 0) => "2",
        (Kind::Ack, 0) => "3",
        (Kind::Event, _) => "5",
        (Kind::Ack, _) => "6",
    });
    if count > 0 {
        text += &format!("{count}-");
    }
    text += &packet.id.map(|id| id.to_string()).unwrap_or_default();
    text + &packet.data
}
