//! What is written is read, and nothing breaks.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::{
    reading::{Packet, read},
    writing::write,
};
use crate::engine::socket_io::{outgoing, packet::Kind};

/// More than any packet here.
pub(super) const MAX: usize = 1 << 20;

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn attached(attachments: &[&'static [u8]]) -> Vec<Bytes> {
    attachments
        .iter()
        .map(|bytes| Bytes::from_static(bytes))
        .collect()
}

pub(super) fn packet(
    kind: Kind,
    id: Option<i64>,
    data: &str,
    attachments: &[&'static [u8]],
) -> Packet<'static> {
    Packet {
        kind,
        namespace: "/",
        id,
        data: data.to_owned(),
        attachments: attached(attachments),
    }
}

/// Any JSON, as a client may have sent it, with places for attachments.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
        Just(Value::from("bytes")),
    ];
    leaf.prop_recursive(5, 60, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..20)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Puts placeholders where it says `bytes`.
fn place(value: &mut Value, count: &mut usize) {
    match value {
        Value::String(text) if text == "bytes" && *count < 10 => {
            *value = serde_json::json!({"_placeholder": true, "num": *count});
            *count += 1;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| place(item, count)),
        Value::Object(map) => map.values_mut().for_each(|item| place(item, count)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        arguments in prop::collection::vec(json(), 0..5),
        id in prop::option::of(0..1_000_000_000_000_000_000_i64),
        attachments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 10),
        is_pretty in any::<bool>(),
    ) {
        let mut data = Value::from(arguments);
        let mut count = 0;
        place(&mut data, &mut count);
        let attachments: Vec<Bytes> = attachments.into_iter().take(count).map(Bytes::from).collect();
        let text = match is_pretty {
            true => serde_json::to_string_pretty(&data).unwrap(),
            false => data.to_string(),
        };
        let written = write(outgoing::Kind::Event, "/n", id, &text, &attachments).unwrap();
        let packet = read(&written, usize::MAX).unwrap();
        prop_assert_eq!((packet.kind, packet.namespace, packet.id), (Kind::Event, "/n", id));
        prop_assert_eq!(&packet.attachments, &attachments);
        let read: Value = serde_json::from_str(&packet.data).unwrap();
        prop_assert!(is_same(&read, &data), "{} for {}", read, data);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..80), around in any::<bool>()) {
        if around {
            bytes = [&unhex("83a47479706502a36e7370a12fa464617461")[..], &bytes].concat();
        }
        if let Ok(packet) = read(&bytes, MAX) {
            prop_assert!(packet.data.is_empty() || serde_json::from_str::<Value>(&packet.data).is_ok());
        }
    }

    #[test]
    fn any_text_is_survived(text in "[\\[\\]{}\",:\\\\u0-9a-fé ]{0,40}") {
        write(outgoing::Kind::Event, "/", None, &text, &[Bytes::new()]);
    }
}

/// Of numbers with a fraction and without one JavaScript makes the same.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| is_same(a, b))
        }
        _ => a == b,
    }
}
