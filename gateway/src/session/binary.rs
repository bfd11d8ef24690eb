//! Bytes inside of what a client sends to other clients: from placeholders of its packet to markers of an envelope.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

const PLACEHOLDER: &str = "_placeholder";
const MARKER: &str = "$binary";

/// Whether there may be bytes in this JSON text, or what looks like it.
pub(super) fn may_be_in(text: &str) -> bool {
    // A backslash may hide a letter of either.
    text.contains(PLACEHOLDER) || text.contains(MARKER) || text.contains("\\u")
}

/// Puts a packet's attachments in place of their placeholders. `None`: it holds a placeholder without an attachment, or
/// a marker of its own. Other clients would be sent a packet that they cannot read.
pub(super) fn embed(value: Value, attachments: &[Bytes]) -> Option<Value> {
    match value {
        Value::Array(items) => items.into_iter().map(|v| embed(v, attachments)).collect(),
        Value::Object(map) if map.contains_key(PLACEHOLDER) => {
            let number = map.get("num").and_then(Value::as_u64)?;
            let attachment = attachments.get(usize::try_from(number).ok()?)?;
            Some(json!({ MARKER: STANDARD.encode(attachment) }))
        }
        Value::Object(map) if map.contains_key(MARKER) => None,
        Value::Object(map) => {
            let members = map.into_iter().map(|(k, v)| Some((k, embed(v, attachments)?)));
            members.collect::<Option<_>>().map(Value::Object)
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_markers_and_nothing_else_does() {
        let attachments = [Bytes::from_static(&[1, 2]), Bytes::from_static(&[3])];
        let place = |num: Value| json!({"_placeholder": true, "num": num});
        for (value, expect) in [
            (json!({"a": [1, "x", null]}), Some(json!({"a": [1, "x", null]}))),
            (
                json!({"a": place(json!(1))}),
                Some(json!({"a": {"$binary": "Aw=="}})),
            ),
            (
                json!([place(json!(0)), place(json!(0))]),
                Some(json!([{"$binary": "AQI="}, {"$binary": "AQI="}])),
            ),
            (place(json!(2)), None),
            (place(json!(-1)), None),
            (place(json!("0")), None),
            (json!({"_placeholder": 1}), None),
            (json!({"a": {"$binary": "AA=="}}), None),
            (json!({"a": {"$binary": 5, "b": 1}}), None),
        ] {
            assert_eq!(embed(value.clone(), &attachments), expect, "{value}");
        }
        for (text, expect) in [
            (r#"{"a":1}"#, false),
            (r#"{"_placeholder":true}"#, true),
            (r#"{"\u005fplaceholder":true}"#, true),
            (r#"{"$binary":"x"}"#, true),
        ] {
            assert_eq!(may_be_in(text), expect, "{text}");
        }
    }
}
