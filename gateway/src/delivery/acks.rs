//! The answers of sockets to an event that asked for them.

use adapter_redis::Acks;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::{
    engine::{Asked, Outcome, Packet},
    metrics::{Dropped, Metrics},
};

/// Waits for the answers, for as long as the sockets were given.
pub(super) async fn collect(mut asked: Asked, size: usize, metrics: Metrics) -> Acks {
    let mut acks = Acks::default();
    let mut reached = asked.socket_count();
    while let Some(outcome) = asked.next().await {
        match outcome {
            Outcome::Answer(packet) => match text(packet) {
                Some(text) => acks.acks.push(text),
                None => {
                    metrics.dropped(Dropped::MalformedEvent, 1);
                    acks.missing += 1;
                }
            },
            Outcome::Silence => acks.missing += 1,
            Outcome::Full => {
                metrics.dropped(Dropped::SlowConsumer, 1);
                reached -= 1;
                acks.missing += 1;
            }
        }
    }
    metrics.events_out.increment(reached as u64);
    metrics.bytes_out.increment((size * reached) as u64);
    acks
}

/// An answer as the text of a JSON array, bytes as publishers write them; `None` when a client sent something else.
fn text(packet: Packet) -> Option<String> {
    let Packet { text, attachments } = packet;
    // Only checked, so that numbers and the order of keys survive.
    let arguments: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).ok()?;
    if attachments.is_empty() {
        return Some(text);
    }
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let mut value = serde_json::from_str(argument.get()).ok()?;
        with_bytes(&mut value, &attachments)?;
        values.push(value);
    }
    Some(Value::Array(values).to_string())
}

/// Puts attachments where their placeholders are. The reader of JSON limits how deep this goes.
fn with_bytes(value: &mut Value, attachments: &[Bytes]) -> Option<()> {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| with_bytes(item, attachments)),
        Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = usize::try_from(map.get("num")?.as_u64()?).ok()?;
            *value = json!({"$binary": BASE64_STANDARD.encode(attachments.get(number)?)});
            Some(())
        }
        Value::Object(map) => map
            .values_mut()
            .try_for_each(|item| with_bytes(item, attachments)),
        _ => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_arrays_and_bytes_are_written_as_publishers_do() {
        let bytes = || vec![Bytes::from_static(&[0, 1, 2, 255])];
        let cases: &[(&str, Vec<Bytes>, Option<&str>)] = &[
            ("[]", vec![], Some("[]")),
            (r#"[1.0, {"z":1,"a":2}]"#, vec![], Some(r#"[1.0, {"z":1,"a":2}]"#)),
            (
                r#"[{"z":{"_placeholder":true,"num":0},"a":[1]}]"#,
                bytes(),
                Some(r#"[{"z":{"$binary":"AAEC/w=="},"a":[1]}]"#),
            ),
            (r#"[{"_placeholder":true,"num":1}]"#, bytes(), None),
            (r#"[{"_placeholder":true}]"#, bytes(), None),
            ("{}", vec![], None),
            ("[1", vec![], None),
            ("", vec![], None),
        ];
        for (given, attachments, expected) in cases {
            let packet = Packet {
                text: (*given).to_owned(),
                attachments: attachments.clone(),
            };
            assert_eq!(text(packet).as_deref(), *expected, "{given}");
        }
    }
}
