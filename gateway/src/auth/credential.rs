//! What is kept of a token after it was verified: which one it was, and how long it lasts. Pure.

use serde_json::Value;

use super::claims::seconds;

/// A longer `jti` is not kept: nobody can name it when a token is to be taken back.
const MAX_ID_BYTES: usize = 256;

/// The marks of one token. They say nothing about who shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `jti`, when it is a text of 1 to 256 bytes.
    pub id: Option<Box<str>>,
    /// `iat`, in seconds since 1970.
    pub issued_at: Option<u64>,
    /// `exp`, in seconds since 1970, without leeway.
    pub expires_at: u64,
}

impl Credential {
    pub(super) fn new(claims: &Value, expires_at: u64) -> Credential {
        let id = claims.get("jti").and_then(Value::as_str);
        let id = id.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        Credential {
            id: id.map(Into::into),
            issued_at: claims.get("iat").and_then(seconds),
            expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept() {
        let long = "é".repeat(129);
        for (claims, id, issued_at) in [
            (json!({"jti": "a-1", "iat": 7}), Some("a-1"), Some(7)),
            (json!({}), None, None),
            (json!({"jti": "", "iat": "7"}), None, None),
            (json!({"jti": 5, "iat": 7.9}), None, Some(7)),
            (
                json!({"jti": &long[..256], "iat": -1}),
                Some(&long[..256]),
                Some(0),
            ),
            (json!({"jti": long, "iat": 1e300}), None, Some(u64::MAX)),
            (json!({"jti": null, "iat": null}), None, None),
        ] {
            let expected = Credential {
                id: id.map(Into::into),
                issued_at,
                expires_at: 9,
            };
            assert_eq!(Credential::new(&claims, 9), expected, "{claims}");
        }
    }
}
