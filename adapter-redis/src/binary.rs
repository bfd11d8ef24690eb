//! Bytes in JSON: `{"$binary":"<base64>"}` becomes a Socket.IO attachment.
//!
//! Pure. A scanner over JSON that is known to be valid; whatever is not a marker keeps every byte it has.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use memchr::memmem;

use crate::json::{skip_space, string_end};

/// How many attachments an event may have: stock clients close the connection at more.
pub const MAX_ATTACHMENTS: usize = 10;

const MARKER: &[u8] = b"$binary";
const PLACEHOLDER: &str = "_placeholder";

/// Why bytes in the arguments of an event are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// An object has `$binary` and something else.
    #[error("an object with $binary must have no other key")]
    OtherKeys,
    /// The value of `$binary` is not a string.
    #[error("the value of $binary must be a string of base64")]
    NotText,
    /// The value of `$binary` is not base64.
    #[error("the value of $binary is not base64 (standard alphabet)")]
    NotBase64,
    /// An object has `"_placeholder": true`, which clients would take for an attachment.
    #[error("an object with \"_placeholder\": true is reserved by Socket.IO; rename the key")]
    Placeholder,
    /// There are more than [`MAX_ATTACHMENTS`].
    #[error("more than {MAX_ATTACHMENTS} $binary values; stock clients refuse more")]
    TooMany,
}

/// How many attachments `args` has.
///
/// # Errors
/// What is wrong with the first of them that is not as it should be.
pub(crate) fn count(args: &[u8]) -> Result<usize, BinaryError> {
    // Nearly every event has neither word in it, and then there is nothing to look at.
    if memmem::find(args, MARKER).is_none() && memmem::find(args, PLACEHOLDER.as_bytes()).is_none() {
        return Ok(0);
    }
    let mut found = 0;
    scan(args, |_, _| found += 1)?;
    Ok(found)
}

/// `args` with placeholders instead of markers, and what the markers held, in their order.
///
/// # Errors
/// As for [`count`].
pub(crate) fn split(args: &[u8]) -> Result<(Vec<u8>, Vec<Bytes>), BinaryError> {
    let mut text = Vec::with_capacity(args.len());
    let mut attachments = Vec::new();
    let mut copied = 0;
    scan(args, |place, bytes| {
        text.extend_from_slice(args.get(copied..place.start).unwrap_or_default());
        text.extend_from_slice(format!(r#"{{"_placeholder":true,"num":{}}}"#, attachments.len()).as_bytes());
        attachments.push(bytes);
        copied = place.end;
    })?;
    text.extend_from_slice(args.get(copied..).unwrap_or_default());
    Ok((text, attachments))
}

/// Reports each marker with its place in the text. In valid JSON a string is a key exactly when a colon follows, so
/// that no stack of open containers is needed, and hostile depth costs nothing.
fn scan(text: &[u8], mut marker: impl FnMut(Range<usize>, Bytes)) -> Result<(), BinaryError> {
    let mut found = 0;
    let mut at = 0;
    let mut opened = None; // the last significant byte was the `{` at this position
    loop {
        at = skip_space(text, at);
        let Some(&byte) = text.get(at) else { return Ok(()) };
        if byte != b'"' {
            opened = (byte == b'{').then_some(at);
            at += 1;
            continue;
        }
        let end = string_end(text, at);
        let key = inner(text, at..end);
        at = end;
        let first_of = opened.take();
        let colon = skip_space(text, end);
        if text.get(colon) != Some(&b':') {
            continue;
        }
        let value = skip_space(text, colon + 1);
        at = value;
        if key == MARKER {
            let open = first_of.ok_or(BinaryError::OtherKeys)?;
            let (bytes, end) = marker_value(text, value)?;
            found += 1;
            if found > MAX_ATTACHMENTS {
                return Err(BinaryError::TooMany);
            }
            marker(open..end, bytes);
            at = end;
        } else if text.get(value..).is_some_and(|rest| rest.starts_with(b"true"))
            && unescape(key) == PLACEHOLDER
        {
            return Err(BinaryError::Placeholder);
        }
    }
}

/// Reads the value of a marker, and the brace that has to follow. Answers with the position after it.
fn marker_value(text: &[u8], start: usize) -> Result<(Bytes, usize), BinaryError> {
    if text.get(start) != Some(&b'"') {
        return Err(BinaryError::NotText);
    }
    let end = string_end(text, start);
    let close = skip_space(text, end);
    if text.get(close) != Some(&b'}') {
        return Err(BinaryError::OtherKeys);
    }
    // PHP writes `\/` and .NET writes `\u002B`, both by default: base64 has to be unescaped like any other text.
    let base64 = unescape(inner(text, start..end));
    let bytes = BASE64
        .decode(base64.as_bytes())
        .map_err(|_| BinaryError::NotBase64)?;
    Ok((bytes.into(), close + 1))
}

/// The text between the quotes of a string.
fn inner(text: &[u8], quoted: Range<usize>) -> &[u8] {
    text.get(quoted.start + 1..quoted.end.saturating_sub(1))
        .unwrap_or_default()
}

/// What the text between quotes means. Empty when it is not valid, which no caller looks for.
fn unescape(inner: &[u8]) -> String {
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner).into_owned();
    }
    serde_json::from_slice(&[b"\"", inner, b"\""].concat()).unwrap_or_default()
}

/// Padding may be missing: some encoders leave it out, and nothing is ambiguous without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn check(args: &str, expected: Result<(&str, &[&[u8]]), BinaryError>) {
        let got = split(args.as_bytes());
        let expected = expected.map(|(text, attachments)| {
            (
                text.as_bytes().to_vec(),
                attachments
                    .iter()
                    .map(|bytes| Bytes::copy_from_slice(bytes))
                    .collect(),
            )
        });
        assert_eq!(got, expected, "{args}");
        assert_eq!(
            count(args.as_bytes()),
            got.map(|(_, attachments)| attachments.len()),
            "{args}"
        );
    }

    #[test]
    fn markers_become_placeholders_and_nothing_else_changes() {
        let zero = r#"{"_placeholder":true,"num":0}"#;
        check("", Ok(("", &[])));
        check(r#"{"$binary":"AQID"}"#, Ok((zero, &[&[1, 2, 3]])));
        check(r#"{"$binary":""}"#, Ok((zero, &[&[]])));
        check("{ \"$binary\" :\n\t\"AQ==\" }", Ok((zero, &[&[1]])));
        check(r#"{"$binary":"AQ"}"#, Ok((zero, &[&[1]])));
        check(r#"{"$binary":"\/\u002b+\/"}"#, Ok((zero, &[&[0xff, 0xef, 0xbf]])));
        check(
            r#" {"a": [1e400 , {"$binary":"AQ=="}],"b":{"$binary":"Ag=="}}, 00.0"#,
            Ok((
                r#" {"a": [1e400 , {"_placeholder":true,"num":0}],"b":{"_placeholder":true,"num":1}}, 00.0"#,
                &[&[1], &[2]],
            )),
        );
    }

    #[test]
    fn what_only_looks_like_a_marker_stays() {
        for args in [
            r#""$binary""#,
            r#"{"text":"$binary"}"#,
            r#"["$binary","AQ=="]"#,
            r#"{"a":"{\"$binary\":\"!\"}"}"#,
            r#"{"\u0024binary":"AQ=="}"#,
            r#"{"$binary2":1}"#,
            r#"{"_placeholder":false,"num":0}"#,
            r#"{"a":"_placeholder","b":true}"#,
            r#"{"_placeholder":"true"}"#,
        ] {
            check(args, Ok((args, &[])));
        }
    }

    #[test]
    fn bad_markers_are_refused() {
        for (args, error) in [
            (r#"{"$binary":1}"#, BinaryError::NotText),
            (r#"{"$binary":null}"#, BinaryError::NotText),
            (r#"{"$binary":{"$binary":"AQ=="}}"#, BinaryError::NotText),
            (r#"{"$binary":"AQ==","b":1}"#, BinaryError::OtherKeys),
            (r#"{"b":1,"$binary":"AQ=="}"#, BinaryError::OtherKeys),
            (r#"{"b":{},"$binary":"AQ=="}"#, BinaryError::OtherKeys),
            (r#"{"$binary":"AQ==","$binary":"AQ=="}"#, BinaryError::OtherKeys),
            (r#"{"$binary":"A"}"#, BinaryError::NotBase64),
            (r#"{"$binary":"-_-_"}"#, BinaryError::NotBase64),
            (r#"{"$binary":"AQ== "}"#, BinaryError::NotBase64),
            (r#"{"num":0,"_placeholder" : true}"#, BinaryError::Placeholder),
            (
                r#"{"$binary":"AQ=="},{"\u005fplaceholder":true}"#,
                BinaryError::Placeholder,
            ),
        ] {
            check(args, Err(error));
        }
        let markers = |n| vec![r#"{"$binary":"AQ=="}"#; n].join(",");
        assert_eq!(count(markers(MAX_ATTACHMENTS).as_bytes()), Ok(MAX_ATTACHMENTS));
        check(&markers(MAX_ATTACHMENTS + 1), Err(BinaryError::TooMany));
    }

    /// What a client does: every placeholder is replaced by its attachment.
    fn put_back(value: &mut Value, attachments: &[Bytes]) {
        match value {
            Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
                let num = usize::try_from(map.get("num").and_then(Value::as_u64).unwrap()).unwrap();
                *value = json!({"$binary": BASE64.encode(attachments.get(num).unwrap())});
            }
            Value::Object(map) => map.values_mut().for_each(|value| put_back(value, attachments)),
            Value::Array(items) => items.iter_mut().for_each(|value| put_back(value, attachments)),
            _ => {}
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..8)
                .prop_map(|bytes| json!({"$binary": BASE64.encode(bytes)})),
        ];
        leaf.prop_recursive(4, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-z\"\\\\]{0,4}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_client_gets_back_what_was_meant(value in values(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            match split(text.as_bytes()) {
                Ok((text, attachments)) => {
                    let mut back: Value = serde_json::from_slice(&text).unwrap();
                    put_back(&mut back, &attachments);
                    prop_assert_eq!(back, value);
                }
                Err(error) => prop_assert_eq!(error, BinaryError::TooMany),
            }
        }

        #[test]
        fn scanning_is_total(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&text);
        }

        #[test]
        fn scanning_near_json_is_total(text in "(\\{|\\}|\"|\\$binary|_placeholder|true|:|,|\\\\| ){0,30}") {
            let _ = split(text.as_bytes());
        }
    }
}
