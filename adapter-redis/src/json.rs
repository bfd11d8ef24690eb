//! Finding one's way in JSON text without turning it into values.
//!
//! Pure. Everything here is total: on text that is not JSON the answers mean nothing, but they come.

use memchr::memchr2;

/// How deep containers may be nested, the envelope itself included. It is the limit of `serde_json`'s own parser,
/// which does not apply it to text that it only skips; clients' parsers recurse, so somebody has to.
pub(crate) const MAX_DEPTH: usize = 128;

/// Whether containers are nested deeper than [`MAX_DEPTH`].
pub(crate) fn too_deep(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// The position after the string that begins at `start` (which is its opening quote).
pub(crate) fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The position of the first byte from `at` on that is not white space.
pub(crate) fn skip_space(text: &[u8], at: usize) -> usize {
    text.get(at..)
        .and_then(|rest| {
            rest.iter()
                .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        })
        .map_or(text.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_end_at_their_own_quote() {
        for (text, end) in [
            (r#""a",1"#, 3),
            (r#""a\"b",1"#, 6),
            (r#""\\",1"#, 4),
            (r#""","#, 2),
            (r#""open"#, 5),
            (r#""\"#, 2),
        ] {
            assert_eq!(string_end(text.as_bytes(), 0), end, "{text}");
        }
    }

    #[test]
    fn depth_counts_containers_and_not_text() {
        let nested = |depth| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(!too_deep(&nested(MAX_DEPTH)));
        assert!(too_deep(&nested(MAX_DEPTH + 1)));
        assert!(!too_deep(b"[],".repeat(1_000).as_slice()));
        assert!(!too_deep(format!("\"{}\"", "[".repeat(1_000)).as_bytes()));
    }

    proptest! {
        #[test]
        fn scanning_is_total(text in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..220) {
            too_deep(&text);
            prop_assert!(skip_space(&text, at) <= text.len().max(at));
            string_end(&text, at);
        }
    }
}
