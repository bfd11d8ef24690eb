//! The keys of the webhook.

use std::{fmt, time::Duration};

use http::Uri;

use super::Secrets;
use crate::{
    http_client,
    settings::{Key, Kind, Reader},
};

/// Where requests go.
pub const URL: &str = "webhook.url";
const SECRET: &str = "webhook.secret";
const SECRET_FILE: &str = "webhook.secret_file";
const PREVIOUS_SECRET: &str = "webhook.previous_secret";
const PREVIOUS_SECRET_FILE: &str = "webhook.previous_secret_file";
const TIMEOUT: &str = "webhook.timeout";
const MAX_CONCURRENCY: &str = "webhook.max_concurrency";
const QUEUE: &str = "webhook.queue";
const BREAKER_FAILURES: &str = "webhook.breaker_failures";
const BREAKER_PAUSE: &str = "webhook.breaker_pause";

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[
    URL,
    SECRET,
    SECRET_FILE,
    PREVIOUS_SECRET,
    PREVIOUS_SECRET_FILE,
    TIMEOUT,
    MAX_CONCURRENCY,
    QUEUE,
    BREAKER_FAILURES,
    BREAKER_PAUSE,
];

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: URL,
        kind: Kind::Secret,
        default: "",
        doc: "Where the backend is told and asked: `POST`, JSON, signed as Standard Webhooks. Empty = no webhook.",
    },
    Key {
        path: SECRET,
        kind: Kind::Secret,
        default: "",
        doc: "What these requests are signed with: `whsec_` and base64, or text of 16 bytes or more. Prefer the file or the environment.",
    },
    Key {
        path: SECRET_FILE,
        kind: Kind::Path,
        default: "",
        doc: "File that holds that secret.",
    },
    Key {
        path: PREVIOUS_SECRET,
        kind: Kind::Secret,
        default: "",
        doc: "A second secret, which signs as well, for the time in which one takes the other's place.",
    },
    Key {
        path: PREVIOUS_SECRET_FILE,
        kind: Kind::Path,
        default: "",
        doc: "File that holds that second secret.",
    },
    Key {
        path: TIMEOUT,
        kind: Kind::Duration,
        default: "5s",
        doc: "How long an answer is waited for where nothing else says so, such as the `timeout` of a rule; and how long the answer to one request is, where it may be repeated within that.",
    },
    Key {
        path: MAX_CONCURRENCY,
        kind: Kind::Number,
        default: "64",
        doc: "Requests of a node that may be on their way at once; more wait for their turn.",
    },
    Key {
        path: QUEUE,
        kind: Kind::Number,
        default: "1024",
        doc: "Requests that may wait for their turn; one more is not sent.",
    },
    Key {
        path: BREAKER_FAILURES,
        kind: Kind::Number,
        default: "5",
        doc: "After so many failures in a row (no answer, or 5xx) the backend is left alone for a while, and nothing is sent; 0 = never.",
    },
    Key {
        path: BREAKER_PAUSE,
        kind: Kind::Duration,
        default: "10s",
        doc: "How long that is. Then one request is sent, and what becomes of it decides about the others.",
    },
];

/// Where requests go, and what bounds them. `Debug` does not show the URL: some hold a key.
#[derive(Clone)]
pub struct Config {
    /// Where they go.
    pub url: Uri,
    /// What signs them.
    pub secrets: Secrets,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How many are on their way at once.
    pub max_concurrency: usize,
    /// How many wait for that.
    pub queue: usize,
    /// After how many failures it is left alone; 0 = never.
    pub breaker_failures: u32,
    /// For how long.
    pub breaker_pause: Duration,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("secrets", &self.secrets)
            .field("timeout", &self.timeout)
            .field("max_concurrency", &self.max_concurrency)
            .field("queue", &self.queue)
            .field("breaker_failures", &self.breaker_failures)
            .field("breaker_pause", &self.breaker_pause)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads this module's part. `None` without a webhook, and when a problem was reported.
    pub fn read(reader: &mut Reader) -> Option<Config> {
        let url = reader.string(URL);
        let secret = one_of(reader, SECRET, SECRET_FILE);
        let previous = one_of(reader, PREVIOUS_SECRET, PREVIOUS_SECRET_FILE);
        let timeout = positive(reader, TIMEOUT);
        let max_concurrency = reader.number(MAX_CONCURRENCY) as usize;
        if max_concurrency == 0 {
            reader.problem(MAX_CONCURRENCY, "0", "1 or more");
        }
        let queue = reader.number(QUEUE) as usize;
        let breaker_failures = reader.number(BREAKER_FAILURES);
        let breaker_pause = positive(reader, BREAKER_PAUSE);
        if url.is_empty() {
            return None;
        }
        let url = http_client::url(&url).map_err(|expected| reader.problem(URL, "", expected));
        let Some(secret) = secret else {
            if !reader.is_set(SECRET_FILE) {
                reader.say(format!(
                    "{URL} needs {SECRET_FILE} or {SECRET}: what requests are signed with"
                ));
            }
            return None; // a file that could not be read was reported when it was opened
        };
        let secrets = Secrets::new(std::iter::once(&*secret).chain(previous.as_deref()));
        let secrets = secrets.map_err(|error| {
            let path = if Secrets::new([&*secret]).is_ok() {
                PREVIOUS_SECRET
            } else {
                SECRET
            };
            reader.problem(path, "", &error.to_string());
        });
        Some(Config {
            url: url.ok()?,
            secrets: secrets.ok()?,
            timeout,
            max_concurrency,
            queue,
            breaker_failures,
            breaker_pause,
        })
    }
}

fn one_of(reader: &mut Reader, inline: &'static str, file: &'static str) -> Option<String> {
    let from_file = reader.file(file);
    let text = reader.string(inline);
    if !text.is_empty() && reader.is_set(file) {
        reader.say(format!("{inline} and {file}: give one of the two"));
    }
    from_file.or((!text.is_empty()).then_some(text))
}

fn positive(reader: &mut Reader, path: &'static str) -> Duration {
    let duration = reader.duration(path);
    if duration.is_zero() {
        reader.problem(path, "0s", "a duration above zero");
    }
    duration
}
