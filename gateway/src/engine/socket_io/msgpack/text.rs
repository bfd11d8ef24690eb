//! JSON text as brackets, texts and words, without a tree of values. Pure.
//!
//! For text that is known to be JSON, of any depth. Of other text it makes something or nothing, and does not break.

use std::borrow::Cow;

/// A part of JSON. Commas and colons are none: what stands between them says enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    List,
    Map,
    End,
    /// Without its quotes, with its escapes.
    Text(&'a str),
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
}

/// The parts of a text.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a>(pub(super) &'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let is_between = |c: char| matches!(c, ',' | ':' | ' ' | '\t' | '\n' | '\r');
        let json = self.0.trim_start_matches(is_between);
        let (part, length) = match json.as_bytes().first()? {
            b'[' => (Part::List, 1),
            b'{' => (Part::Map, 1),
            b']' | b'}' => (Part::End, 1),
            b'"' => {
                let text = json.get(1..).and_then(|rest| rest.get(..end_of_text(rest)))?;
                (Part::Text(text), text.len() + 2)
            }
            _ => {
                let is_end = |c: char| is_between(c) || matches!(c, ']' | '}');
                let word = json.split(is_end).next()?;
                (Part::Word(word), word.len())
            }
        };
        self.0 = json.get(length..).unwrap_or_default();
        Some(part)
    }
}

/// Where the quote is that ends it.
fn end_of_text(rest: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: u8| match byte {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        b'\\' => {
            is_escaped = true;
            false
        }
        byte => byte == b'"',
    };
    rest.bytes().position(is_end).unwrap_or(rest.len())
}

/// What a text says. Half of a character of two halves, which JSON can say and UTF-8 cannot, becomes U+FFFD.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        out.push_str(before);
        let mut signs = escaped.chars();
        let plain = match signs.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                rest = utf16(escaped, &mut out);
                continue;
            }
            Some(other) => other,
            None => break,
        };
        out.push(plain);
        rest = signs.as_str();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Reads all that is escaped by number, from behind the first backslash on; answers what is left.
fn utf16<'a>(escaped: &'a str, out: &mut String) -> &'a str {
    let mut rest = Some(escaped);
    let mut left = "";
    let units = std::iter::from_fn(|| {
        let digits = rest?.strip_prefix('u')?.get(..4)?;
        let unit = u16::from_str_radix(digits, 16).ok()?;
        left = rest?.get(5..).unwrap_or_default();
        rest = left.strip_prefix('\\');
        Some(unit)
    });
    out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Part::*, *};

    #[test]
    fn parts() {
        for (json, expect) in [
            ("[]", vec![List, End]),
            (
                " [ \"a\\\"]\" ,-1.5e3,{\"k\" : null}\n]",
                vec![
                    List,
                    Text("a\\\"]"),
                    Word("-1.5e3"),
                    Map,
                    Text("k"),
                    Word("null"),
                    End,
                    End,
                ],
            ),
            ("\"\"", vec![Text("")]),
            ("true", vec![Word("true")]),
            ("", vec![]),
            // None of these is JSON.
            ("\"", vec![Text("")]),
            ("\"\\", vec![Text("\\")]),
            ("é]", vec![Word("é"), End]),
        ] {
            assert_eq!(Parts(json).collect::<Vec<_>>(), expect, "{json}");
        }
    }

    #[test]
    fn halves_of_characters() {
        for (text, expect) in [
            (r"\ud83d\ude00", "😀"),
            (r"a\ud83d!", "a\u{fffd}!"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83d\n\ude00", "\u{fffd}\n\u{fffd}"),
            (r"\u00e9\u00E9\\u0041", r"éé\u0041"),
            // None of these is JSON.
            (r"\u12", ""),
            (r"\", r"\"),
            (r"\uzzzz", ""),
        ] {
            assert_eq!(unescape(text), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_say_what_serde_says(text in any::<String>(), json in "([ -~]|\\\\[\"\\\\/bfnrt]|\\\\u00[0-9a-fA-F]{2}){0,20}") {
            for json in [serde_json::to_string(&text).unwrap(), format!("\"{json}\"")] {
                let Ok(value) = serde_json::from_str::<String>(&json) else { continue };
                let Some(Text(raw)) = Parts(&json).next() else { panic!("no text") };
                prop_assert_eq!(unescape(raw), value);
            }
        }

        #[test]
        fn nothing_breaks(text in "[\\[\\]{}\",:\\\\u0-9a-fé ]{0,40}") {
            let parts: Vec<_> = Parts(&text).collect();
            prop_assert!(parts.len() <= text.len());
            unescape(&text);
        }
    }
}
