//! From a handshake to verified claims: which token counts, which key, which checks.
//!
//! The order is fixed by types: text → [`Claims`] (signature and times checked) → `policy::Grants`. Nothing
//! that was not verified reaches the policy.

mod claims;
mod keys;
mod sign;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::Value;

pub use claims::Claims;
pub use keys::{KeyError, Keys};
pub use sign::{SignError, sign};

use crate::{
    refusal::Refusal,
    settings::{Key, Kind, Reader},
};

const HMAC_SECRET: &str = "auth.jwt.hmac_secret";
const HMAC_SECRET_FILE: &str = "auth.jwt.hmac_secret_file";
const PUBLIC_KEY_FILE: &str = "auth.jwt.public_key_file";
const ISSUER: &str = "auth.jwt.issuer";
const AUDIENCE: &str = "auth.jwt.audience";
const ALGORITHMS: &str = "auth.jwt.algorithms";
const LEEWAY: &str = "auth.jwt.leeway";
const QUERY_TOKEN: &str = "auth.query_token";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: HMAC_SECRET,
        kind: Kind::Secret,
        default: "",
        doc: "Secret of HS256, HS384 and HS512 tokens; 32 bytes or more. Prefer the file or the environment.",
    },
    Key {
        path: HMAC_SECRET_FILE,
        kind: Kind::Path,
        default: "",
        doc: "File that holds that secret.",
    },
    Key {
        path: PUBLIC_KEY_FILE,
        kind: Kind::Path,
        default: "",
        doc: "PEM file with the public key of RS*, PS*, ES256, ES384 or EdDSA tokens.",
    },
    Key {
        path: ISSUER,
        kind: Kind::List,
        default: "",
        doc: "Accepted values of `iss`; empty = not checked.",
    },
    Key {
        path: AUDIENCE,
        kind: Kind::List,
        default: "",
        doc: "Accepted values of `aud`, of which the token must hold one; empty = not checked.",
    },
    Key {
        path: ALGORITHMS,
        kind: Kind::List,
        default: "",
        doc: "Allowed algorithms; empty = all that fit the configured keys. A public key never verifies an HS token.",
    },
    Key {
        path: LEEWAY,
        kind: Kind::Duration,
        default: "5s",
        doc: "How far clocks may differ when `exp` and `nbf` are checked.",
    },
    Key {
        path: QUERY_TOKEN,
        kind: Kind::Bool,
        default: "false",
        doc: "Whether a token in the query `?token=` is accepted, after `auth.token` and the header. Queries end up in access logs.",
    },
    Key {
        path: "auth.jwt.jwks_url",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "auth.jwt.jwks_file",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
];

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[
    HMAC_SECRET,
    HMAC_SECRET_FILE,
    PUBLIC_KEY_FILE,
    ISSUER,
    AUDIENCE,
    ALGORITHMS,
    LEEWAY,
    QUERY_TOKEN,
];

/// What is needed to verify tokens.
#[derive(Debug)]
pub struct Config {
    /// The keys and the algorithms allowed with them.
    pub keys: Keys,
    /// Accepted issuers; empty = any.
    pub issuers: Vec<String>,
    /// Accepted audiences; empty = any.
    pub audiences: Vec<String>,
    /// Tolerated difference of clocks.
    pub leeway: Duration,
    /// Whether `?token=` counts.
    pub query_token: bool,
}

impl Config {
    /// Reads this module's part. `None` when a problem was reported.
    pub fn read(reader: &mut Reader) -> Option<Config> {
        let inline = reader.string(HMAC_SECRET);
        let from_file = reader.file(HMAC_SECRET_FILE);
        let pem = reader.file(PUBLIC_KEY_FILE);
        let issuers = reader.list(ISSUER);
        let audiences = reader.list(AUDIENCE);
        let algorithms = reader.list(ALGORITHMS);
        let leeway = reader.duration(LEEWAY);
        let query_token = reader.boolean(QUERY_TOKEN);
        if !inline.is_empty() && reader.is_set(HMAC_SECRET_FILE) {
            reader.say(format!(
                "{HMAC_SECRET} and {HMAC_SECRET_FILE}: give one of the two"
            ));
        }
        let secret = from_file.or((!inline.is_empty()).then_some(inline));
        let named = [HMAC_SECRET, HMAC_SECRET_FILE, PUBLIC_KEY_FILE]
            .iter()
            .any(|k| reader.is_set(k));
        if !named {
            reader.say(format!(
                "no key to verify tokens: set {HMAC_SECRET}, {HMAC_SECRET_FILE} or {PUBLIC_KEY_FILE} \
                 (to try things out without any, run `roomcast serve --dev`)"
            ));
            return None;
        }
        if secret.as_deref() == Some("") {
            reader.say(format!("{HMAC_SECRET_FILE}: the file is empty"));
            return None;
        }
        if secret.is_none() && pem.is_none() {
            if reader.is_set(HMAC_SECRET) && !reader.is_set(HMAC_SECRET_FILE) {
                reader.problem(HMAC_SECRET, "", "a secret of 32 bytes or more; it is empty");
            }
            return None; // a file that could not be read was reported when it was opened
        }
        match Keys::new(secret.as_deref(), pem.as_deref(), &algorithms) {
            Ok(keys) => Some(Config {
                keys,
                issuers,
                audiences,
                leeway,
                query_token,
            }),
            Err(error @ (KeyError::Pem | KeyError::Curve)) => {
                reader.say(format!("{PUBLIC_KEY_FILE}: {error}"));
                None
            }
            Err(error) => {
                reader.say(format!("{ALGORITHMS}: {error}"));
                None
            }
        }
    }
}

/// Where a client may have put its token.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The payload of Socket.IO's CONNECT packet.
    pub auth: &'a Value,
    /// The headers of the handshake's request.
    pub headers: &'a HeaderMap,
    /// The query of the handshake's request.
    pub query: &'a str,
}

/// Checks tokens.
#[derive(Debug)]
pub struct Verifier {
    config: Config,
}

impl Verifier {
    /// Takes over the keys.
    pub fn new(config: Config) -> Verifier {
        Verifier { config }
    }

    /// Verifies the first token present: `auth.token`, else the Authorization header, else (where switched on)
    /// the query. A bad one is never skipped for the next.
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub fn admit(&self, places: Places<'_>, now: SystemTime) -> Result<Claims, Refusal> {
        self.verify(&self.find(places)?, now)
    }

    /// Verifies one token.
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Refusal> {
        claims::verify(token, &self.config, now)
    }

    fn find(&self, places: Places<'_>) -> Result<String, Refusal> {
        match places.auth.get("token") {
            None | Some(Value::Null) => {}
            Some(Value::String(token)) => return Ok(token.clone()),
            Some(_) => return Err(Refusal::TokenMalformed),
        }
        if let Some(header) = places.headers.get(AUTHORIZATION) {
            let text = header.to_str().map_err(|_| Refusal::TokenMalformed)?;
            let token = text
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim());
            return token.map(str::to_owned).ok_or(Refusal::TokenMalformed);
        }
        if self.config.query_token
            && let Some((_, token)) = crate::query::pairs(places.query).find(|(name, _)| name == "token")
        {
            return Ok(token);
        }
        Err(Refusal::TokenMissing)
    }
}
