//! Engine.IO and Socket.IO packets: what is understood says the same when it is written and read once more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loadtest::codec::{EnginePacket, MAX_ATTACHMENTS, Packet};
use serde_json::Value;

fuzz_target!(|text: &str| {
    if let Ok(frame) = EnginePacket::decode(text) {
        let encoded = frame.encode();
        assert_eq!(EnginePacket::decode(&encoded).as_ref(), Ok(&frame));
        match &frame {
            EnginePacket::Open { .. } => {}
            EnginePacket::Message(packet) => self::packet(packet),
            _ => assert_eq!(encoded, text),
        }
    }
    packet(text);
});

fn packet(text: &str) {
    let Ok(packet) = Packet::decode(text) else {
        return;
    };
    let encoded = packet.encode();
    // The one thing that is written and need not have been there is the comma after a namespace.
    assert!(encoded.len() <= text.len() + 1);
    assert_eq!(Packet::decode(&encoded).as_ref(), Ok(&packet));
    assert!(packet.namespace.starts_with('/') && !packet.namespace.contains(','));
    assert!(packet.attachments <= MAX_ATTACHMENTS);
    assert_eq!(packet.attachments > 0, packet.kind.is_binary());
    if let Some(data) = &packet.data {
        assert!(text.ends_with(data), "the payload was rewritten");
    }
    if let (Ok(arguments), Ok(value)) = (packet.arguments(), packet.value()) {
        assert_eq!(Value::from(arguments), value);
    }
}
