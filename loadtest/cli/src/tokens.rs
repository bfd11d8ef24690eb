//! Who the clients are: their tokens, and what the tokens say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// One client to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) token: String,
    claims: Map<String, Value>,
}

impl Profile {
    /// A client with a token of our own. `number` counts from 0; clients of one `group` share rooms.
    pub(crate) fn made(
        secret: &[u8],
        number: usize,
        group: usize,
        expires: u64,
        more: &Map<String, Value>,
    ) -> Self {
        let mut claims = Map::new();
        let texts = [
            ("sub", format!("load-{number}")),
            ("name", format!("Load {number}")),
            ("tenant_id", format!("load-tenant-{group}")),
            ("account_id", format!("load-account-{group}")),
        ];
        claims.extend(texts.map(|(name, text)| (name.to_owned(), text.into())));
        for list in ["whatsapp_accounts", "campaigns", "contacts", "channels"] {
            claims.insert(list.to_owned(), json!([format!("load-{group}")]));
        }
        claims.insert("exp".to_owned(), expires.into());
        claims.extend(more.clone());
        let token = sign(secret, &claims);
        Self { token, claims }
    }

    /// A client with a token of somebody else. It is read and not verified: that is the server's to do.
    pub(crate) fn read(token: &str) -> Result<Self, &'static str> {
        let mut parts = token.split('.');
        let (Some(_header), Some(payload), Some(_signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("is not three parts with dots between");
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| "has a payload that is not base64url")?;
        let claims = serde_json::from_slice(&bytes).map_err(|_| "has a payload that is no JSON object")?;
        Ok(Self {
            token: token.to_owned(),
            claims,
        })
    }

    /// A claim that is text; a number is as good.
    pub(crate) fn text(&self, claim: &str) -> Option<String> {
        match self.claims.get(claim)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _other => None,
        }
    }

    /// The first item of a claim that is a list.
    pub(crate) fn first(&self, claim: &str) -> Option<String> {
        let item = self.claims.get(claim)?.as_array()?.first()?.as_str()?;
        Some(item.to_owned())
    }
}

/// HS256, as RFC 7515 has it.
fn sign(secret: &[u8], claims: &Map<String, Value>) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
    let signed = format!("{header}.{payload}");
    // A key of any length is fine for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return signed;
    };
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_rfc_7515_says() {
        // Its header is the one that `sign` writes; key and result are those of the debugger at jwt.io.
        let claims =
            serde_json::from_str(r#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#).unwrap();
        assert_eq!(
            sign(b"your-256-bit-secret", &claims),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2\
             MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
        );
    }

    #[test]
    fn what_is_made_can_be_read() {
        let more = serde_json::from_str(r#"{"iss":"me","tenant_id":42}"#).unwrap();
        let made = Profile::made(b"secret", 7, 3, 1_900_000_000, &more);
        assert_eq!(Profile::read(&made.token), Ok(made.clone()));
        assert_eq!(made.text("sub").as_deref(), Some("load-7"));
        assert_eq!(made.text("iss").as_deref(), Some("me"));
        assert_eq!(
            made.text("tenant_id").as_deref(),
            Some("42"),
            "further claims win"
        );
        assert_eq!(made.first("contacts").as_deref(), Some("load-3"));
        assert_eq!((made.text("contacts"), made.first("nothing")), (None, None));
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        for (text, why) in [
            ("", "three parts"),
            ("a.b", "three parts"),
            ("a.b.c.d", "three parts"),
            ("a.!.c", "base64url"),
            ("a.W10.c", "JSON object"),
        ] {
            assert!(Profile::read(text).unwrap_err().contains(why), "{text}");
        }
    }
}
