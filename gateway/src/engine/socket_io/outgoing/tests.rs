//! What clients get, byte for byte.

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
        let payloads = |frames: Vec<(u8, Vec<u8>)>| -> Vec<_> { frames.into_iter().map(|f| f.1).collect() };
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

#[test]
fn the_other_parser() {
    let zeros = Bytes::from(vec![0; 400]);
    let text = r#"["a",{"_placeholder":true,"num":0}]"#;
    let packet = Packet {
        text: text.to_owned(),
        attachments: vec![zeros.clone()],
    };
    let outgoing = Outgoing::event(packet, Some(7));
    let message = super::super::msgpack::writing::write(Kind::Event, "/", Some(7), text, &[zeros]).unwrap();
    let forms = outgoing.packed();
    assert_eq!(read(forms.bytes(Transport::Websocket)), [(0x82, message.clone())]);
    assert_eq!(*forms.bytes(Transport::Polling), payload::write_binary(&message));
    assert_eq!(
        payload::to_frames(forms.bytes(Transport::Polling)),
        forms.bytes(Transport::Websocket)
    );
    assert_eq!(read(forms.deflated(100)), [(0xc2, message.clone())]);
    assert!(forms.deflated(100).len() < 100);
    for (made, again) in [
        (
            forms.bytes(Transport::Websocket),
            outgoing.packed().bytes(Transport::Websocket),
        ),
        (
            forms.bytes(Transport::Polling),
            outgoing.packed().bytes(Transport::Polling),
        ),
        (forms.deflated(100), outgoing.packed().deflated(100)),
    ] {
        assert_eq!(made.as_ptr(), again.as_ptr(), "made once");
    }
    assert!(outgoing.frames.get().is_none(), "nobody else is there");

    let length = message.len();
    let over = |threshold| {
        let packed = Packed::new(&outgoing);
        read(packed.deflated(threshold))[0].0
    };
    assert_eq!(
        (over(length), over(length + 1)),
        (0xc2, 0x82),
        "below the threshold"
    );
    for protocol in [
        Outgoing::connected(Id::numbered(0), None),
        Outgoing::refused("/", &"long".repeat(100), None),
        Outgoing::disconnected(),
    ] {
        assert_eq!(read(protocol.packed().deflated(0))[0].0, 0x82);
    }
}

#[test]
fn what_is_no_json_is_not_sent_to_the_other_parser() {
    let packet = Packet {
        text: "[".to_owned(),
        attachments: Vec::new(),
    };
    let outgoing = Outgoing::event(packet, None);
    for transport in [Transport::Websocket, Transport::Polling] {
        assert!(outgoing.packed().bytes(transport).is_empty());
    }
    assert!(outgoing.packed().deflated(0).is_empty());
}
