//! The keys of what the backend is asked.

use std::time::Duration;

use crate::{
    settings::{Key, Kind, Reader},
    webhook,
};

const CONNECT: &str = "hooks.connect";
const CONNECT_TIMEOUT: &str = "hooks.connect_timeout";
const ON_FAILURE: &str = "hooks.on_failure";

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[CONNECT, CONNECT_TIMEOUT, ON_FAILURE];

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: CONNECT,
        kind: Kind::String,
        default: "off",
        doc: "Whether the backend is asked before a client is let in whose token and policy allow it: `off`, or `webhook`.",
    },
    Key {
        path: CONNECT_TIMEOUT,
        kind: Kind::Duration,
        default: "2s",
        doc: "How long that answer is waited for, repetitions included.",
    },
    Key {
        path: ON_FAILURE,
        kind: Kind::String,
        default: "refuse",
        doc: "What happens to the client when there is none: `refuse`, or `allow` with the rooms of the policy.",
    },
];

/// What the backend is asked.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Whether clients may connect.
    pub connect: bool,
    /// How long that may take.
    pub connect_timeout: Duration,
    /// What happens without an answer.
    pub on_failure: OnFailure,
}

/// What happens to a client when the backend does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Refuse,
    /// It is let in.
    Allow,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let connect = match reader.string(CONNECT).as_str() {
            "off" => false,
            "webhook" => true,
            other => {
                let seen = other.to_owned();
                reader.problem(CONNECT, &seen, "\"off\" or \"webhook\"");
                false
            }
        };
        if connect && reader.string(webhook::URL).is_empty() {
            reader.say(format!("{CONNECT} = \"webhook\" needs {}", webhook::URL));
        }
        let connect_timeout = reader.duration(CONNECT_TIMEOUT);
        if connect_timeout.is_zero() {
            reader.problem(CONNECT_TIMEOUT, "0s", "a duration above zero");
        }
        let on_failure = match reader.string(ON_FAILURE).as_str() {
            "refuse" => OnFailure::Refuse,
            "allow" => OnFailure::Allow,
            other => {
                let seen = other.to_owned();
                reader.problem(ON_FAILURE, &seen, "\"refuse\" or \"allow\"");
                OnFailure::Refuse
            }
        };
        Config {
            connect,
            connect_timeout,
            on_failure,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            connect: false,
            connect_timeout: Duration::from_secs(2),
            on_failure: OnFailure::Refuse,
        }
    }
}
