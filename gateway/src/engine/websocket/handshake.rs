//! The opening handshake (RFC 6455, section 4.2). Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, header};
use sha1::{Digest, Sha1};

/// What both sides put behind the key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request wants to become a websocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    has(headers, header::UPGRADE, "websocket")
}

/// The answer to the key of a request; `None` = the request is no valid opening handshake.
pub fn accept(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let is_valid = method == Method::GET
        && is_wanted(headers)
        && has(headers, header::CONNECTION, "upgrade")
        && headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_some_and(|v| v == "13")
        && STANDARD
            .decode(key.as_bytes())
            .is_ok_and(|nonce| nonce.len() == 16);
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(MAGIC)
        .finalize();
    HeaderValue::from_str(&STANDARD.encode(digest))
        .ok()
        .filter(|_| is_valid)
}

/// Whether one of the comma-separated words of a header is this one.
fn has(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|each| each.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_and_what_is_none() {
        let valid = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let headers = |other: (&'static str, &'static str)| -> HeaderMap {
            let all = valid.iter().copied().filter(|(name, _)| *name != other.0);
            let all = all.chain([other].into_iter().filter(|(_, value)| !value.is_empty()));
            all.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect()
        };
        let good = headers(("x-other", "1"));
        assert_eq!(
            accept(&Method::GET, &good).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(accept(&Method::POST, &good).is_none());
        for other in [
            ("upgrade", ""),
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "c2hvcnQ="),
            ("sec-websocket-key", ""),
        ] {
            assert!(accept(&Method::GET, &headers(other)).is_none(), "{other:?}");
        }
    }
}
