//! The trace that a request belongs to, by its `traceparent` header (W3C Trace Context). Pure.

use http::HeaderMap;

/// The trace's id. A header that is not as it should be is as good as none.
pub(super) fn of(headers: &HeaderMap) -> Option<u128> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, id, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let sizes = (version.len(), id.len(), span.len()) == (2, 32, 16);
    if !sizes || version == "ff" || ![version, id, span].into_iter().all(is_hex) {
        return None;
    }
    u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_the_standard_is_a_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (header, expected) in [
            (
                format!("00-{id}-00f067aa0ba902b7-01"),
                Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            ),
            (
                format!("01-{id}-00f067aa0ba902b7-01-more"),
                Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            ),
            (format!("ff-{id}-00f067aa0ba902b7-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (format!("00-{id}"), None),
            (
                "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
                None,
            ),
            (String::new(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", header.parse().unwrap());
            assert_eq!(of(&headers), expected, "{header}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
