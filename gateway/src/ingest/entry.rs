//! From the fields of a stream's entry to the JSON message that rules look at. Pure.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The field that is the whole message, where there is one.
const MESSAGE: &[u8] = b"message";

/// Every number of so many digits is the same number to everybody.
const MAX_DIGITS: usize = 15;

/// The text of the message: the field `message` as it is, or else an object of all fields.
///
/// In that object, a value that is the JSON text of an object or a list, `true`, `false`, or a plain number of at most 15
/// digits stands as it is; every other value is a text. Of several fields with one name the last counts.
///
/// The result is no JSON when `message` is none, or when a name or a value is not UTF-8.
pub(super) fn message(fields: &[(Bytes, Bytes)]) -> Bytes {
    let whole = fields.iter().rev().find(|(name, _)| name == MESSAGE);
    if let Some((_, whole)) = whole {
        return whole.clone();
    }
    let mut text = vec![b'{'];
    for (at, (name, value)) in fields.iter().enumerate() {
        let comes_again = fields.iter().skip(at + 1).any(|(other, _)| other == name);
        if comes_again {
            continue;
        }
        if text.len() > 1 {
            text.push(b',');
        }
        quote(&mut text, name);
        text.push(b':');
        if stands_as_it_is(value) {
            text.extend_from_slice(value);
        } else {
            quote(&mut text, value);
        }
    }
    text.push(b'}');
    text.into()
}

fn stands_as_it_is(value: &[u8]) -> bool {
    match value {
        b"true" | b"false" => true,
        [b'{' | b'[', ..] => serde_json::from_slice::<IgnoredAny>(value).is_ok(),
        _ => is_plain_number(value),
    }
}

/// Digits as JSON writes them, perhaps with a sign and a fraction: no exponent, and no zero in front, which would be
/// somebody's number of a house or a telephone.
fn is_plain_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let plain = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let count = digits.iter().filter(|byte| byte.is_ascii_digit()).count();
    plain && (1..=MAX_DIGITS).contains(&count) && serde_json::from_slice::<IgnoredAny>(value).is_ok()
}

/// What is not UTF-8 stays as it is, so that the whole is no JSON and nothing of it is lost.
fn quote(text: &mut Vec<u8>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(value) => text.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes()),
        Err(_) => {
            text.push(b'"');
            text.extend_from_slice(value);
            text.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn made(fields: &[(&str, &str)]) -> String {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let fields: Vec<_> = fields.iter().map(|(n, v)| (bytes(n), bytes(v))).collect();
        String::from_utf8(message(&fields).to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_one_field_or_all_of_them() {
        for (fields, expect) in [
            (&[("message", r#" {"a": 1} "#)][..], r#" {"a": 1} "#),
            (&[("type", "x"), ("message", "[1]")], "[1]"),
            (&[("message", "1"), ("message", "2")], "2"),
            (&[("message", "no json")], "no json"),
            (&[], "{}"),
            (
                &[
                    ("type", "new_message"),
                    ("tenantId", "7"),
                    ("data", r#"{"b":1, "a":[]}"#),
                ],
                r#"{"type":"new_message","tenantId":7,"data":{"b":1, "a":[]}}"#,
            ),
            (&[("a", "1"), ("b", "2"), ("a", "3")], r#"{"b":2,"a":3}"#),
            (&[("a\"b", "c\nd")], r#"{"a\"b":"c\nd"}"#),
        ] {
            assert_eq!(made(fields), expect);
        }
    }

    #[test]
    fn a_value_that_is_plainly_json_stands_as_it_is() {
        for value in [
            "true",
            "false",
            "0",
            "-1",
            "12.50",
            "-0.5",
            "123456789012345",
            "{}",
            "[]",
            r#"[1e400, "x"]"#,
            r#"{"a":12345678901234567890123}"#,
        ] {
            assert_eq!(made(&[("v", value)]), format!(r#"{{"v":{value}}}"#));
        }
        for value in [
            "",
            "null",
            "True",
            "007",
            "+1",
            "1e5",
            "1.",
            ".5",
            "-",
            "1.2.3",
            "1234567890123456",
            "{",
            "[1,]",
            "{} {}",
            " 1",
            "\"quoted\"",
            "4 711",
        ] {
            let parsed: Value = serde_json::from_str(&made(&[("v", value)])).unwrap();
            assert_eq!(parsed, json!({ "v": value }), "a text");
        }
    }

    #[test]
    fn what_is_not_utf8_is_no_json_and_stays_what_it_was() {
        let fields = [(Bytes::from_static(b"a"), Bytes::from_static(b"\xff\"1"))];
        let text = message(&fields);
        assert_eq!(text, &b"{\"a\":\"\xff\"1\"}"[..]);
        assert!(serde_json::from_slice::<Value>(&text).is_err());
    }

    proptest! {
        /// Whatever a backend appends as text is JSON, has each name once, and loses nothing.
        #[test]
        fn every_entry_of_texts_is_an_object_of_its_fields(
            fields in prop::collection::vec(("[a-c]{1,2}|\\PC{0,8}", "\\PC{0,20}|-?[0-9]{0,18}(\\.[0-9]{0,3})?|[\\[{].{0,5}[\\]}]"), 0..8)
        ) {
            prop_assume!(fields.iter().all(|(name, _)| name != "message"));
            let bytes = |text: &String| Bytes::copy_from_slice(text.as_bytes());
            let entry: Vec<_> = fields.iter().map(|(n, v)| (bytes(n), bytes(v))).collect();
            let text = message(&entry);
            let parsed: HashMap<String, &serde_json::value::RawValue> = serde_json::from_slice(&text).unwrap();
            let last: HashMap<&String, &String> = fields.iter().map(|(name, value)| (name, value)).collect();
            prop_assert_eq!(parsed.len(), last.len());
            for (name, value) in last {
                let got = parsed[name].get();
                let as_text = serde_json::from_str::<String>(got);
                prop_assert!(got == value || as_text.is_ok_and(|text| text == *value), "{} of {}", got, value);
            }
        }
    }
}
