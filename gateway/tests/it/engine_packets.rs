//! The engine's reading of packets against another server's, socketioxide: what that one writes is read, and what is read
//! has the same parts there.
//!
//! The other one takes more. What is refused here, on purpose:
//! - JSON that does not begin as the packet's kind has it: an array for an event and an ack, an object for a CONNECT. Clients
//!   write nothing else, and nobody behind the engine has to expect it.
//! - A DISCONNECT that says more, a CONNECT with an ack's number.
//! - Numbers of more than 18 digits: no client counts so far. The other one takes the packet, and forgets the number.
//! - A binary packet without attachments, which clients write as an ordinary one; and more than ten attachments, as the
//!   official parser has it.
//! - Brackets in brackets in more than 128 levels: readers that call themselves would not survive many more.
//! - Attachments that have no place in the JSON, or one of another number: who gets them would break off. And they are
//!   limited together with their packet, not by themselves.

use bytes::Bytes;
use gateway::engine::socket_io::{
    attachments::Waiting,
    packet::{Kind, read},
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value as Json, json};
use socketioxide_core::{
    Value,
    packet::{Packet, PacketData},
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;

/// The parts of a packet, as both see them.
#[derive(Debug, PartialEq)]
struct Parts {
    kind: Kind,
    namespace: String,
    id: Option<i64>,
    data: String,
    attachments: Vec<Bytes>,
}

fn parts(packet: Packet) -> Parts {
    let (kind, value, id) = match packet.inner {
        PacketData::Connect(value) => (Kind::Connect, value, None),
        PacketData::Disconnect => (Kind::Disconnect, None, None),
        PacketData::Event(value, id) | PacketData::BinaryEvent(value, id) => (Kind::Event, Some(value), id),
        PacketData::EventAck(value, id) | PacketData::BinaryAck(value, id) => {
            (Kind::Ack, Some(value), Some(id))
        }
        PacketData::ConnectError(_) => panic!("no client sends it"),
    };
    let (data, attachments) = match value {
        Some(Value::Str(data, attachments)) => (data.to_string(), attachments.unwrap_or_default().into()),
        Some(Value::Bytes(_)) => panic!("a packet of text"),
        None => (String::new(), Vec::new()),
    };
    Parts {
        kind,
        namespace: packet.ns.to_string(),
        id,
        data,
        attachments,
    }
}

/// What the other one makes of a packet and its attachments. `None` = it refuses them, or waits for more.
fn by_reference(text: &str, attachments: &[Bytes], room: usize) -> Option<Parts> {
    let (config, state) = (
        ParseConfig {
            max_incoming_binary_buf_size: room,
            max_incoming_binaries: 10,
            ..ParseConfig::default()
        },
        ParserState::default(),
    );
    let mut read = CommonParser.decode_str(&config, &state, text.to_owned().into());
    for bytes in attachments {
        if !matches!(read, Err(ParseError::NeedsMoreBinaryData)) {
            break;
        }
        read = CommonParser.decode_bin(&config, &state, bytes.clone());
    }
    read.ok().map(parts)
}

fn by_engine(text: &str, attachments: &[Bytes], max: usize) -> Option<Parts> {
    let packet = read(text).ok()?;
    let attachments = match packet.attachments {
        0 => Vec::new(),
        _ => {
            let mut waiting = Waiting::begin(&packet, max).ok()?;
            let mut rest = attachments.iter();
            while !waiting.push(rest.next()?).ok()? {}
            waiting.attachments
        }
    };
    Some(Parts {
        kind: packet.kind,
        namespace: packet.namespace.to_owned(),
        id: packet.id,
        data: packet.data.to_owned(),
        attachments,
    })
}

/// Whether the engine alone refuses it, see above.
fn is_refused_here_alone(text: &str) -> bool {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let longest = (0..text.len())
        .filter(|at| text.is_char_boundary(*at))
        .map(|at| digits(&text[at..]))
        .max();
    let (kind, rest) = text.split_at(1);
    let (attachments, rest) = match kind {
        "5" | "6" => rest.split_once('-').unwrap(),
        _ => ("1", rest),
    };
    let rest = match rest.starts_with('/') {
        true => rest.split_once(',').map_or("", |(_, rest)| rest),
        false => rest,
    };
    let data = &rest[digits(rest)..];
    let begins_otherwise = match kind {
        "0" => !rest.is_empty() && !rest.starts_with('{'),
        "1" => !rest.is_empty(),
        _ => !data.starts_with('['),
    };
    let deep = text.matches(['[', '{']).count() > 128;
    longest > Some(18) || attachments.trim_start_matches('0').is_empty() || begins_otherwise || deep
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "[a-z\"\\\\{\\[\u{e9}]{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-z_]{0,4}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn a_packet_has_the_same_parts(
        text in r#"[0-7]([0-9]{1,2}-)?(/[a-zé?=]{0,4},?)?[0-9]{0,3}((\["a",.{0,9}\])|(\{.{0,9}\})|.{0,9})"#,
    ) {
        let is_binary = text.starts_with(['5', '6']);
        match (read(&text), by_reference(&text, &[], 1000)) {
            (Ok(packet), None) => prop_assert!(is_binary && packet.attachments > 0, "only here: {}", text),
            (Ok(_), expect) => prop_assert_eq!(by_engine(&text, &[], 1000), expect),
            (Err(_), Some(_)) => prop_assert!(is_refused_here_alone(&text), "only there: {}", text),
            (Err(_), None) => {}
        }
    }

    #[test]
    fn anything_is_taken_there_or_refused_here(text in ".{0,30}", digits in "[0-6][0-9]{0,22}[\\[{]?") {
        for text in [text, digits] {
            match (by_engine(&text, &[], 1000), by_reference(&text, &[], 1000)) {
                (Some(packet), expect) => prop_assert_eq!(Some(packet), expect),
                (None, Some(_)) => prop_assert!(is_refused_here_alone(&text), "only there: {}", text),
                (None, None) => {}
            }
        }
    }

    #[test]
    fn what_a_server_writes_is_read(
        name in "[a-z\"]{0,5}",
        value in json_value(),
        bytes in vec(vec(any::<u8>(), 0..9), 0..4),
        namespace in "(/|/[a-z]{1,4})",
        id in prop::option::of(0..1_000_000_i64),
        is_ack: bool,
    ) {
        let attached: Vec<Bytes> = bytes.into_iter().map(Bytes::from).collect();
        let data = (value, &attached);
        let packet = match (is_ack, id) {
            (true, Some(id)) => Packet::ack(namespace, CommonParser.encode_value(&data, None).unwrap(), id),
            _ => {
                let mut packet = Packet::event(namespace, CommonParser.encode_value(&data, Some(&name)).unwrap());
                if let PacketData::Event(_, number) | PacketData::BinaryEvent(_, number) = &mut packet.inner {
                    *number = id;
                }
                packet
            }
        };
        let expect = parts(packet.clone());
        let Value::Str(text, sent) = CommonParser.encode(packet) else {
            panic!("a packet of bytes");
        };
        let sent: Vec<Bytes> = sent.unwrap_or_default().into();
        prop_assert_eq!(&sent, &attached);
        prop_assert_eq!(by_engine(&text, &sent, 10_000), Some(expect));
    }

    #[test]
    fn attachments_are_as_many_and_as_long_as_they_may_be(
        bytes in vec(vec(any::<u8>(), 0..9), 1..12),
        missing in 0..2_usize,
        room in 0..60_usize,
        id in prop::option::of(0..99_i64),
    ) {
        let places: Vec<_> = (0..bytes.len()).map(|num| json!({"_placeholder": true, "num": num})).collect();
        let (data, id) = (json!(["a", {"all": places}]).to_string(), id.map(|id| id.to_string()));
        let text = format!("5{}-{}{data}", bytes.len(), id.unwrap_or_default());
        let sent: Vec<Bytes> = bytes.into_iter().skip(missing).map(Bytes::from).collect();
        prop_assert_eq!(by_engine(&text, &sent, data.len() + room), by_reference(&text, &sent, room));
    }
}

#[test]
fn what_is_refused_here_alone() {
    let deep = format!("2{}{}", "[".repeat(129), "]".repeat(129));
    for text in [
        "2",
        "2{}",
        r#"2"a""#,
        "0[]",
        "01{}",
        "1{}",
        "2/n[\"a\"]",
        "21234567890123456789[\"a\"]",
        "50-[\"a\"]",
        &deep,
    ] {
        assert_eq!(by_engine(text, &[], 1000), None, "{text}");
        assert!(by_reference(text, &[], 1000).is_some(), "{text}");
        assert!(is_refused_here_alone(text), "{text}");
    }
    let one = [Bytes::from_static(b"1")];
    for text in [r#"51-["a"]"#, r#"51-["a",{"_placeholder":true,"num":1}]"#] {
        assert_eq!(by_engine(text, &one, 1000), None, "{text}");
        assert!(by_reference(text, &one, 1000).is_some(), "{text}");
    }
}
