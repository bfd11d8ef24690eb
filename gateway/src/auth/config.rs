//! The settings of tokens: where keys come from, and what is checked.

use std::time::Duration;

use http::Uri;

use super::{KeyError, KeySet, Keys, Material, Timing};
use crate::{
    http_client,
    settings::{Key, Kind, Reader},
};

const HMAC_SECRET: &str = "auth.jwt.hmac_secret";
const HMAC_SECRET_FILE: &str = "auth.jwt.hmac_secret_file";
const HMAC_PREVIOUS_SECRET: &str = "auth.jwt.hmac_previous_secret";
const HMAC_PREVIOUS_SECRET_FILE: &str = "auth.jwt.hmac_previous_secret_file";
const PUBLIC_KEY_FILE: &str = "auth.jwt.public_key_file";
const JWKS_FILE: &str = "auth.jwt.jwks_file";
const JWKS_URL: &str = "auth.jwt.jwks_url";
const JWKS_REFRESH: &str = "auth.jwt.jwks_refresh";
const JWKS_TIMEOUT: &str = "auth.jwt.jwks_timeout";
const JWKS_COOLDOWN: &str = "auth.jwt.jwks_cooldown";
const JWKS_MAX_STALE: &str = "auth.jwt.jwks_max_stale";
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
        path: HMAC_PREVIOUS_SECRET,
        kind: Kind::Secret,
        default: "",
        doc: "The secret before that one, while it is being exchanged: its tokens are accepted too, and nothing is signed with it.",
    },
    Key {
        path: HMAC_PREVIOUS_SECRET_FILE,
        kind: Kind::Path,
        default: "",
        doc: "File that holds the previous secret.",
    },
    Key {
        path: PUBLIC_KEY_FILE,
        kind: Kind::Path,
        default: "",
        doc: "PEM file with the public key of RS*, PS*, ES256, ES384 or EdDSA tokens.",
    },
    Key {
        path: JWKS_FILE,
        kind: Kind::Path,
        default: "",
        doc: "File that holds a JSON Web Key Set: public keys with names.",
    },
    Key {
        path: JWKS_URL,
        kind: Kind::List,
        default: "",
        doc: "Where the identity provider publishes its JSON Web Key Set. Of several, each belongs to the issuer at the same place of `auth.jwt.issuer`, whose tokens are verified by that set alone.",
    },
    Key {
        path: JWKS_REFRESH,
        kind: Kind::Duration,
        default: "5m",
        doc: "How often a key set is fetched. A `max-age` of its answer makes it more often, down to once a minute.",
    },
    Key {
        path: JWKS_TIMEOUT,
        kind: Kind::Duration,
        default: "5s",
        doc: "How long fetching a key set may take. As long waits, at most, a client whose key is not known.",
    },
    Key {
        path: JWKS_COOLDOWN,
        kind: Kind::Duration,
        default: "10s",
        doc: "How long clients with unknown keys are refused at once after a fetch that one of them caused, so that strangers cannot make the node ask all the time.",
    },
    Key {
        path: JWKS_MAX_STALE,
        kind: Kind::Duration,
        default: "0s",
        doc: "How old a key set may become while it cannot be fetched; after that it verifies nothing. 0 = it stays in force for ever.",
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
        doc: "How far clocks may differ when `exp` and `nbf` are checked, and how long after `exp` a connection ends. \
              Another value is for connections and tokens that come afterwards.",
    },
    Key {
        path: QUERY_TOKEN,
        kind: Kind::Bool,
        default: "false",
        doc: "Whether a token in the query `?token=` is accepted, after `auth.token` and the header. Queries end up in access logs.",
    },
];

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[
    HMAC_SECRET,
    HMAC_SECRET_FILE,
    HMAC_PREVIOUS_SECRET,
    HMAC_PREVIOUS_SECRET_FILE,
    PUBLIC_KEY_FILE,
    JWKS_FILE,
    JWKS_URL,
    JWKS_REFRESH,
    JWKS_TIMEOUT,
    JWKS_COOLDOWN,
    JWKS_MAX_STALE,
    ISSUER,
    AUDIENCE,
    ALGORITHMS,
    LEEWAY,
    QUERY_TOKEN,
];

/// More URLs than this are a mistake.
const MOST_URLS: usize = 64;
/// The engine closes a connection that was not let in within 10 s.
const MOST_PATIENT: Duration = Duration::from_secs(8);

/// What is needed to verify tokens.
#[derive(Debug)]
pub struct Config {
    /// The keys, where others are, and the algorithms allowed with them.
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
        let secret = secret(reader, HMAC_SECRET, HMAC_SECRET_FILE);
        let previous_secret = secret_before(reader, secret.is_some());
        let pem = reader.file(PUBLIC_KEY_FILE);
        let file = key_set(reader);
        let urls = urls(reader);
        let timing = timing(reader);
        let issuers = reader.list(ISSUER);
        let audiences = reader.list(AUDIENCE);
        let algorithms = reader.list(ALGORITHMS);
        let leeway = reader.duration(LEEWAY);
        let query_token = reader.boolean(QUERY_TOKEN);
        pair(reader, &urls, &issuers);
        let named = [
            HMAC_SECRET,
            HMAC_SECRET_FILE,
            PUBLIC_KEY_FILE,
            JWKS_FILE,
            JWKS_URL,
        ];
        if !named.iter().any(|key| reader.is_set(key)) {
            reader.say(format!(
                "no key to verify tokens: set {HMAC_SECRET}, {HMAC_SECRET_FILE}, {PUBLIC_KEY_FILE}, {JWKS_FILE} or \
                 {JWKS_URL} (to try things out without any, run `roomcast serve --dev`)"
            ));
            return None;
        }
        if secret.is_none() && pem.is_none() && file.is_none() && urls.is_empty() {
            if reader.is_set(HMAC_SECRET) && !reader.is_set(HMAC_SECRET_FILE) && previous_secret.is_none() {
                reader.problem(HMAC_SECRET, "", "a secret of 32 bytes or more; it is empty");
            } else if reader.is_set(JWKS_URL) {
                reader.say(format!(
                    "{JWKS_URL}: it names no URL, and there is no other key to verify tokens"
                ));
            }
            return None; // a file that could not be read was reported when it was opened
        }
        let material = Material {
            secret: secret.as_deref(),
            previous_secret: previous_secret.as_deref(),
            pem: pem.as_deref(),
            file,
            urls,
            timing,
        };
        match Keys::of(material, &algorithms) {
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

/// A secret that stands in the configuration or in a file.
fn secret(reader: &mut Reader, inline: &'static str, file: &'static str) -> Option<String> {
    let (text, from_file) = (reader.string(inline), reader.file(file));
    if !text.is_empty() && reader.is_set(file) {
        reader.say(format!("{inline} and {file}: give one of the two"));
    }
    if from_file.as_deref() == Some("") {
        // Everybody can sign with an empty secret.
        reader.say(format!("{file}: the file is empty"));
        return None;
    }
    from_file.or((!text.is_empty()).then_some(text))
}

fn secret_before(reader: &mut Reader, has_current: bool) -> Option<String> {
    let previous = secret(reader, HMAC_PREVIOUS_SECRET, HMAC_PREVIOUS_SECRET_FILE);
    if previous.is_some() && !has_current && !reader.is_set(HMAC_SECRET_FILE) {
        reader.say(format!(
            "{HMAC_PREVIOUS_SECRET}: there is no current secret beside it; a secret that is not exchanged is {HMAC_SECRET}"
        ));
    }
    previous
}

fn key_set(reader: &mut Reader) -> Option<KeySet> {
    let text = reader.file(JWKS_FILE)?;
    match KeySet::parse(text.as_bytes()) {
        Ok(set) if set.secrets() == 0 => return Some(set),
        Ok(_) => reader.say(format!(
            "{JWKS_FILE}: it holds a secret or private key; put only public keys there, and a shared secret into \
             {HMAC_SECRET_FILE}"
        )),
        Err(error) => reader.say(format!("{JWKS_FILE}: not a JSON Web Key Set: {error}")),
    }
    None
}

/// A URL is not repeated in a problem: a password may stand in it.
fn urls(reader: &mut Reader) -> Vec<Uri> {
    let texts = reader.list(JWKS_URL);
    if texts.len() > MOST_URLS {
        reader.say(format!(
            "{JWKS_URL}: {} URLs; at most {MOST_URLS} can be fetched",
            texts.len()
        ));
        return Vec::new();
    }
    let mut urls: Vec<Uri> = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        match http_client::url(text) {
            Ok(url) if urls.contains(&url) => reader.say(format!(
                "{JWKS_URL}: entry {} is there twice; one URL serves all issuers when it is the only one",
                number + 1
            )),
            Ok(url) => urls.push(url),
            Err(expected) => reader.say(format!("{JWKS_URL}: entry {} is not {expected}", number + 1)),
        }
    }
    urls
}

/// With several URLs, each issuer has the set at its place, and nobody else signs for it.
fn pair(reader: &mut Reader, urls: &[Uri], issuers: &[String]) {
    if urls.len() < 2 {
        return;
    }
    if urls.len() != issuers.len() {
        reader.say(format!(
            "{JWKS_URL} and {ISSUER}: {} URLs and {} issuers; with several URLs name as many issuers in the same order, \
             because each issuer's tokens are verified by its own key set",
            urls.len(),
            issuers.len()
        ));
    }
    let mut seen = issuers.iter().enumerate();
    if let Some((_, twice)) = seen.find(|(n, issuer)| issuers.iter().take(*n).any(|other| other == *issuer)) {
        reader.say(format!(
            "{ISSUER}: {twice:?} is there twice; with several {JWKS_URL} each issuer has one"
        ));
    }
    for key in [HMAC_SECRET, HMAC_SECRET_FILE, PUBLIC_KEY_FILE, JWKS_FILE] {
        if reader.is_set(key) && !reader.string(key).is_empty() {
            reader.say(format!(
                "{key}: remove it, or all but one {JWKS_URL}; with several URLs each issuer's tokens are verified by its \
                 own key set alone, and this key has no issuer"
            ));
        }
    }
}

fn timing(reader: &mut Reader) -> Timing {
    let timing = Timing {
        refresh: reader.duration(JWKS_REFRESH),
        timeout: reader.duration(JWKS_TIMEOUT),
        cooldown: reader.duration(JWKS_COOLDOWN),
        max_stale: reader.duration(JWKS_MAX_STALE),
    };
    let second = Duration::from_secs(1);
    let shown = |duration| humantime::format_duration(duration).to_string();
    for (key, value) in [(JWKS_REFRESH, timing.refresh), (JWKS_COOLDOWN, timing.cooldown)] {
        if value < second {
            reader.problem(key, &shown(value), "a duration of 1s or more");
        }
    }
    if timing.timeout.is_zero() || timing.timeout > MOST_PATIENT {
        let expected = "a duration above zero and of 8s at most: a client that waits for 10s is closed";
        reader.problem(JWKS_TIMEOUT, &shown(timing.timeout), expected);
    }
    if !timing.max_stale.is_zero() && timing.max_stale < timing.refresh {
        reader.problem(
            JWKS_MAX_STALE,
            &shown(timing.max_stale),
            "0, or at least auth.jwt.jwks_refresh",
        );
    }
    timing
}
