//! Reading a request's body, as far as it is worth reading.

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::{Problem, code};

/// A body may exceed what is allowed in it by this much and is still looked at: white space, field names.
const SLACK: usize = 64 * 1024;
/// What is read and thrown away of a body that is too long. A client that still writes does not read: answered
/// earlier, it would see its connection end in place of the reason.
const DISCARDED: usize = 16 << 20;

/// The body, if it is not far beyond `limit` bytes; 0 = no limit.
pub(super) async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let longest = match limit {
        0 => usize::MAX,
        limit => limit.saturating_add(SLACK),
    };
    let mut body = request.into_body();
    let (mut kept, mut seen) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Problem::new(&code::TOO_LARGE, "the body did not arrive whole"));
        };
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= longest {
            kept.extend_from_slice(&data);
            continue;
        }
        kept = BytesMut::new();
        if seen > longest.saturating_add(DISCARDED) {
            break;
        }
    }
    if seen > longest {
        let detail = format!("the body is far beyond {limit} bytes");
        return Err(Problem::new(&code::TOO_LARGE, detail));
    }
    Ok(kept.freeze())
}

/// A JSON object as a value. The derived code would take a list for a struct, too, its items for the fields in order.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body).map_err(|error| error.to_string()),
        _ => Err("expected a JSON object".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_no_object() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Pair {
            a: u8,
            b: u8,
        }
        assert_eq!(object(b" \n{\"b\":2,\"a\":1} "), Ok(Pair { a: 1, b: 2 }));
        for text in ["[1,2]", "", " ", "1", "{", "{\"a\":1}"] {
            assert!(object::<Pair>(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
