//! What a token says of itself before anything of it was verified: only good for choosing a key. Pure.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::refusal::Refusal;

/// A token longer than this is not read: no identity provider makes such, and headers of that size are refused
/// by load balancers anyway.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The part of a token's header that chooses its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// The key that it says it is signed with.
    pub(super) kid: Option<String>,
}

impl Header {
    /// Reads it off a token.
    pub(super) fn of(token: &str) -> Result<Header, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TokenMalformed);
        }
        let mut header = part(token, 0)?;
        let name = header.get("alg").and_then(Value::as_str);
        // `none` and everything else that is unknown is an algorithm that is not allowed, not a broken token.
        let algorithm = name.ok_or(Refusal::TokenMalformed)?.parse();
        let kid = match header.get_mut("kid").map(Value::take) {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Refusal::TokenMalformed),
        };
        Ok(Header {
            algorithm: algorithm.map_err(|_| Refusal::TokenAlgorithm)?,
            kid,
        })
    }
}

/// Who the token says has made it. Whoever relies on that compares it with the verified claims afterwards.
pub(super) fn issuer(token: &str) -> Result<String, Refusal> {
    match part(token, 1)?.get_mut("iss").map(Value::take) {
        Some(Value::String(issuer)) => Ok(issuer),
        _ => Err(Refusal::TokenIssuer),
    }
}

fn part(token: &str, number: usize) -> Result<Value, Refusal> {
    let text = token.split('.').nth(number).ok_or(Refusal::TokenMalformed)?;
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| Refusal::TokenMalformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::TokenMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        let [header, payload] = [header, payload].map(|text| URL_SAFE_NO_PAD.encode(text));
        format!("{header}.{payload}.")
    }

    #[test]
    fn algorithm_and_kid() {
        let rs256 = |kid: Option<&str>| {
            Ok(Header {
                algorithm: Algorithm::RS256,
                kid: kid.map(str::to_owned),
            })
        };
        for (header, expect) in [
            (r#"{"alg":"RS256"}"#, rs256(None)),
            (r#"{"alg":"RS256","kid":null}"#, rs256(None)),
            (r#"{"alg":"RS256","kid":"a"}"#, rs256(Some("a"))),
            (r#"{"alg":"RS256","kid":""}"#, rs256(Some(""))),
            (r#"{"alg":"RS256","kid":1}"#, Err(Refusal::TokenMalformed)),
            (r#"{"alg":"RS256","kid":["a"]}"#, Err(Refusal::TokenMalformed)),
            (r#"{"alg":"none","kid":"a"}"#, Err(Refusal::TokenAlgorithm)),
            (r#"{"alg":1}"#, Err(Refusal::TokenMalformed)),
            (r#"{"kid":"a"}"#, Err(Refusal::TokenMalformed)),
            ("[]", Err(Refusal::TokenMalformed)),
            ("{", Err(Refusal::TokenMalformed)),
        ] {
            assert_eq!(Header::of(&token(header, "{}")), expect, "{header}");
        }
    }

    #[test]
    fn the_issuer_is_a_text() {
        for (payload, expect) in [
            (r#"{"iss":"https://a"}"#, Ok("https://a".to_owned())),
            (r#"{"iss":["https://a"]}"#, Err(Refusal::TokenIssuer)),
            ("{}", Err(Refusal::TokenIssuer)),
            ("7", Err(Refusal::TokenIssuer)),
            ("{", Err(Refusal::TokenMalformed)),
        ] {
            assert_eq!(issuer(&token("{}", payload)), expect, "{payload}");
        }
        assert_eq!(issuer("x"), Err(Refusal::TokenMalformed));
    }
}
