#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::binary::{Assembly, check, inline};
use super::*;

fn packet(kind: Kind, namespace: &str, ack: Option<u64>, data: Option<&str>, attachments: usize) -> Packet {
    Packet {
        kind,
        namespace: namespace.to_owned(),
        ack,
        data: data.map(str::to_owned),
        attachments,
    }
}

#[test]
fn engine_packets_both_ways() {
    let open = EnginePacket::Open {
        sid: "lv_VI97HAXpY6yYWAAAC".to_owned(),
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        upgrades: vec!["websocket".to_owned()],
        max_payload: 1_000_000,
    };
    let text = r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    let table = [
        (text, open),
        ("1", EnginePacket::Close),
        ("2", EnginePacket::Ping),
        ("3", EnginePacket::Pong),
        ("4", EnginePacket::Message("")),
        (r#"42["hé"]"#, EnginePacket::Message(r#"2["hé"]"#)),
        ("5", EnginePacket::Upgrade),
        ("6", EnginePacket::Noop),
    ];
    for (text, packet) in table {
        assert_eq!(EnginePacket::decode(text).as_ref(), Ok(&packet), "{text}");
        assert_eq!(packet.encode(), text);
    }
}

#[test]
fn engine_packets_refused() {
    let table = [
        ("", DecodeError::Empty),
        ("7", DecodeError::Type('7')),
        ("é", DecodeError::Type('é')),
        ("2probe", DecodeError::Trailing),
        ("0", DecodeError::Open("not JSON")),
        ("0[]", DecodeError::Open("sid")),
        (r#"0{"sid":"x","upgrades":[]}"#, DecodeError::Open("pingInterval")),
        (
            r#"0{"sid":"x","pingInterval":1,"pingTimeout":-1}"#,
            DecodeError::Open("pingTimeout"),
        ),
        (
            r#"0{"sid":"x","pingInterval":1,"pingTimeout":1,"upgrades":[1]}"#,
            DecodeError::Open("upgrades"),
        ),
        (
            r#"0{"sid":"x","pingInterval":1,"pingTimeout":1,"upgrades":[]}"#,
            DecodeError::Open("maxPayload"),
        ),
    ];
    for (text, error) in table {
        assert_eq!(EnginePacket::decode(text), Err(error), "{text}");
    }
}

#[test]
fn packets_both_ways() {
    let table = [
        ("0", packet(Kind::Connect, "/", None, None, 0)),
        (
            r#"0{"token":"t"}"#,
            packet(Kind::Connect, "/", None, Some(r#"{"token":"t"}"#), 0),
        ),
        (
            r#"0/admin,{"sid":"x"}"#,
            packet(Kind::Connect, "/admin", None, Some(r#"{"sid":"x"}"#), 0),
        ),
        ("1", packet(Kind::Disconnect, "/", None, None, 0)),
        ("1/admin,", packet(Kind::Disconnect, "/admin", None, None, 0)),
        (
            r#"2["a",1]"#,
            packet(Kind::Event, "/", None, Some(r#"["a",1]"#), 0),
        ),
        (
            r#"2/a-b,12["a,b"]"#,
            packet(Kind::Event, "/a-b", Some(12), Some(r#"["a,b"]"#), 0),
        ),
        ("30[]", packet(Kind::Ack, "/", Some(0), Some("[]"), 0)),
        (
            r#"4{"message":"no"}"#,
            packet(Kind::ConnectError, "/", None, Some(r#"{"message":"no"}"#), 0),
        ),
        (
            r#"51-["b",{}]"#,
            packet(Kind::BinaryEvent, "/", None, Some(r#"["b",{}]"#), 1),
        ),
        (
            "610-/x,7[]",
            packet(Kind::BinaryAck, "/x", Some(7), Some("[]"), 10),
        ),
    ];
    for (text, packet) in table {
        assert_eq!(Packet::decode(text).as_ref(), Ok(&packet), "{text}");
        assert_eq!(packet.encode(), text);
    }
}

#[test]
fn packets_read_in_other_spellings() {
    assert_eq!(
        Packet::decode("1/admin"),
        Ok(packet(Kind::Disconnect, "/admin", None, None, 0))
    );
    assert_eq!(
        Packet::decode("2/,[1]"),
        Ok(packet(Kind::Event, "/", None, Some("[1]"), 0))
    );
    assert_eq!(
        Packet::decode("3007[]"),
        Ok(packet(Kind::Ack, "/", Some(7), Some("[]"), 0))
    );
}

#[test]
fn packets_refused() {
    let table = [
        ("", DecodeError::Empty),
        ("7", DecodeError::Type('7')),
        ("abc", DecodeError::Type('a')),
        ("0[]", DecodeError::Payload),
        ("1{}", DecodeError::Payload),
        ("2", DecodeError::Payload),
        ("2{}", DecodeError::Payload),
        ("3-1[]", DecodeError::Payload),
        ("4[]", DecodeError::Payload),
        ("399999999999999999999[]", DecodeError::Ack),
        ("5[]", DecodeError::Attachments),
        ("5-[]", DecodeError::Attachments),
        ("5+1-[]", DecodeError::Attachments),
        ("50-[]", DecodeError::Attachments),
        ("511-[]", DecodeError::Attachments),
        ("61[]", DecodeError::Attachments),
    ];
    for (text, error) in table {
        assert_eq!(Packet::decode(text), Err(error), "{text}");
    }
}

#[test]
fn payloads_are_read_when_asked_for() {
    let arguments = |text| Packet::decode(text).unwrap().arguments();
    assert_eq!(
        arguments(r#"2["a",null,1.5]"#),
        Ok(vec![json!("a"), Value::Null, json!(1.5)])
    );
    assert_eq!(arguments("2[1"), Err(DecodeError::Payload));
    assert_eq!(Packet::decode("0").unwrap().value(), Ok(Value::Null));
    assert_eq!(Packet::decode("0{").unwrap().value(), Err(DecodeError::Payload));
    assert_eq!(
        event_text("a\"b", &[json!({"k": [1, "é"]}), Value::Null]),
        r#"["a\"b",{"k":[1,"é"]},null]"#
    );
    assert_eq!(array_text(&[]), "[]");
}

#[test]
fn attachments_follow_their_packet() {
    let mut assembly = Assembly::default();
    let text = Packet::decode(r#"2["a"]"#).unwrap();
    assert_eq!(assembly.packet(text.clone()), Ok(Some((text.clone(), vec![]))));
    assert_eq!(assembly.attachment(Bytes::new()), Err(DecodeError::Order));

    let binary = Packet::decode(r#"52-["a"]"#).unwrap();
    let (one, two) = (Bytes::from_static(b"one"), Bytes::new());
    assert_eq!(assembly.packet(binary.clone()), Ok(None));
    assert_eq!(assembly.attachment(one.clone()), Ok(None));
    assert_eq!(assembly.packet(text), Err(DecodeError::Order));
    assert_eq!(
        assembly.attachment(two.clone()),
        Ok(Some((binary, vec![one, two])))
    );
}

#[test]
fn placeholders_name_attachments() {
    let attachments = [Bytes::from_static(&[1, 255]), Bytes::new()];
    let mut values = vec![
        json!({ "deep": [placeholder(1), { "_placeholder": false, "num": 9 }] }),
        placeholder(0),
    ];
    assert_eq!(check(&mut values, &attachments), Ok(()));
    assert_eq!(
        check(&mut values, attachments.get(..1).unwrap()),
        Err(DecodeError::Attachments)
    );
    assert_eq!(
        check(&mut [json!({ "_placeholder": true })], &attachments),
        Err(DecodeError::Attachments)
    );
    assert_eq!(inline(&mut values, &attachments), Ok(()));
    let buffer = |data: Value| json!({ "type": "Buffer", "data": data });
    let deep = json!({ "deep": [buffer(json!([])), { "_placeholder": false, "num": 9 }] });
    assert_eq!(values, [deep, buffer(json!([1, 255]))]);
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let kind = prop_oneof![
        Just(Kind::Connect),
        Just(Kind::Disconnect),
        Just(Kind::Event),
        Just(Kind::Ack),
        Just(Kind::ConnectError),
        Just(Kind::BinaryEvent),
        Just(Kind::BinaryAck),
    ];
    let namespace = prop_oneof![Just("/".to_owned()), "/[^,]{0,12}"];
    (
        kind,
        namespace,
        any::<Option<u64>>(),
        any::<Option<Vec<String>>>(),
        1..=MAX_ATTACHMENTS,
    )
        .prop_map(|(kind, namespace, ack, items, attachments)| {
            let data = match kind {
                Kind::Disconnect => None,
                Kind::Connect | Kind::ConnectError => items.map(|items| json!({ "k": items })),
                _ => Some(json!(items.unwrap_or_default())),
            };
            let attachments = if kind.is_binary() { attachments } else { 0 };
            Packet {
                kind,
                namespace,
                ack,
                data: data.map(|data| data.to_string()),
                attachments,
            }
        })
}

proptest! {
    #[test]
    fn packets_survive_the_round_trip(packet in any_packet()) {
        let text = packet.encode();
        let frame = EnginePacket::Message(&text).encode();
        prop_assert_eq!(EnginePacket::decode(&frame), Ok(EnginePacket::Message(&text)));
        prop_assert_eq!(Packet::decode(&text), Ok(packet.clone()));
        if packet.data.as_deref().is_some_and(|data| data.starts_with('[')) {
            prop_assert_eq!(array_text(&packet.arguments().unwrap()), packet.data.unwrap());
        }
    }

    #[test]
    fn handshakes_survive_the_round_trip(
        sid: String, ping_interval_ms: u64, ping_timeout_ms: u64, upgrades: Vec<String>, max_payload: u64,
    ) {
        let open = EnginePacket::Open { sid, ping_interval_ms, ping_timeout_ms, upgrades, max_payload };
        let text = open.encode();
        prop_assert_eq!(EnginePacket::decode(&text), Ok(open));
    }

    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), "[0-7][0-9]{0,3}[-,/+a{\\[\"é0-9}\\]]{0,24}"]) {
        let _engine = EnginePacket::decode(&text);
        if let Ok(packet) = Packet::decode(&text) {
            let _arguments = packet.arguments().map(|mut values| check(&mut values, &[]));
            let _value = packet.value();
            // What was understood is understood the same way again.
            prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
    }
}
