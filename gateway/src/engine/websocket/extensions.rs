//! What a client offers of permessage-deflate, and what is agreed on (RFC 7692, section 7.1). Pure.

use http::{HeaderMap, HeaderValue, header};

/// The extension.
const NAME: &str = "permessage-deflate";
/// Neither side keeps anything from message to message: one frame serves all clients, and a connection that waits holds
/// no window.
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// The same for a client that asked for a limit to the window; the largest window is the one that frames are made with.
const AGREED_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// The answer to the first offer of permessage-deflate that can be taken; `None` = there is none. An offer with
/// `server_max_window_bits` below 15 cannot: a frame that everybody gets is made with the full window.
pub fn agree(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get_all(header::SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split(value, ','))
        .find_map(accept)
        .map(HeaderValue::from_static)
}

/// The answer to an offer. One with a parameter that is unknown, named twice, or has a value that is none, counts for
/// nothing.
fn accept(offer: &str) -> Option<&'static str> {
    let mut parts = split(offer, ';');
    if !parts.next()?.trim().eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen = Vec::new();
    let mut answer = AGREED;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim())?)),
            None => (part.trim(), None),
        };
        // There are four names: what is longer names one twice.
        if seen.contains(&name) {
            return None;
        }
        match (name, value.as_deref().map(window)) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(Some(15))) => answer = AGREED_WINDOW,
            // Whatever window it uses is within the one that messages are inflated with.
            ("client_max_window_bits", None | Some(Some(_))) => {}
            _ => return None,
        }
        seen.push(name);
    }
    Some(answer)
}

/// Bits of a window: 8 to 15, in decimal and without a zero before.
fn window(text: &str) -> Option<u8> {
    let bits = text.parse().ok().filter(|bits| (8..=15).contains(bits));
    bits.filter(|bits: &u8| bits.to_string() == text)
}

/// A value without its quotes; `None` = they do not end where it does.
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let (mut plain, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(plain),
            '\\' => plain.push(chars.next()?),
            other => plain.push(other),
        }
    }
}

/// The parts between separators that are not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let is_separator = c == separator && !is_quoted;
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        is_separator
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).unwrap();
            headers.append(header::SEC_WEBSOCKET_EXTENSIONS, value);
        }
        agree(&headers).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn offers_and_answers() {
        for (lines, expect) in [
            (&["permessage-deflate"][..], Some(AGREED)),
            // Chromium and `ws`.
            (&["permessage-deflate; client_max_window_bits"], Some(AGREED)),
            (&["Permessage-Deflate ;client_max_window_bits = 10"], Some(AGREED)),
            (
                &["permessage-deflate; client_max_window_bits=\"8\""],
                Some(AGREED),
            ),
            (
                &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
                Some(AGREED),
            ),
            (
                &["permessage-deflate; server_max_window_bits=15"],
                Some(AGREED_WINDOW),
            ),
            (
                &["permessage-deflate; server_max_window_bits=\"1\\5\""],
                Some(AGREED_WINDOW),
            ),
            (&["permessage-deflate; server_max_window_bits=14"], None),
            // The second choice of a client that would rather have a small window.
            (
                &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
                Some(AGREED),
            ),
            (
                &[
                    "permessage-deflate; server_max_window_bits=10",
                    "permessage-deflate",
                ],
                Some(AGREED),
            ),
            (
                &["x-webkit-deflate-frame, permessage-bzip2; a=\",permessage-deflate\", permessage-deflate"],
                Some(AGREED),
            ),
            (
                &["x-other; a=\"\\\"; permessage-deflate, \", permessage-deflate; server_max_window_bits=15"],
                Some(AGREED_WINDOW),
            ),
            (&[], None),
            (&[""], None),
            (&[", ;"], None),
            (&["deflate-frame"], None),
            (&["permessage-deflate; "], None),
            (&["permessage-deflate; unknown"], None),
            (&["permessage-deflate; unknown=1, x"], None),
            (&["permessage-deflate; server_no_context_takeover=true"], None),
            (&["permessage-deflate; server_no_context_takeover=\"\""], None),
            (
                &["permessage-deflate; client_max_window_bits; client_max_window_bits"],
                None,
            ),
            (
                &["permessage-deflate; client_no_context_takeover; client_no_context_takeover"],
                None,
            ),
            (&["permessage-deflate; server_max_window_bits"], None),
            (&["permessage-deflate; server_max_window_bits="], None),
            (&["permessage-deflate; client_max_window_bits=7"], None),
            (&["permessage-deflate; client_max_window_bits=16"], None),
            (&["permessage-deflate; client_max_window_bits=08"], None),
            (&["permessage-deflate; client_max_window_bits=+9"], None),
            (&["permessage-deflate; client_max_window_bits=\"9"], None),
            (&["permessage-deflate; client_max_window_bits=\"9\"9"], None),
        ] {
            assert_eq!(answer(lines).as_deref(), expect, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_stand_there(line in "[ -~]{0,60}") {
            let answer = answer(&[&line]);
            prop_assert!(answer.is_none() || line.to_ascii_lowercase().contains(NAME));
        }
    }
}
