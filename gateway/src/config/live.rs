//! Which keys a running node takes over, and which of its parts they concern. All others need a restart.

use super::node;
use crate::{api, auth, hooks, limits, reload, revocation, settings::Key, telemetry, tls, webhook};

/// What can become another one while clients are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// How tokens are verified.
    Tokens,
    /// Who may use the API.
    ApiKeys,
    /// Who may be in which room.
    Policy,
    /// The policy that is tried out.
    ShadowPolicy,
    /// What one client, address or user may take.
    Limits,
    /// What listeners show to who connects by TLS.
    Certificates,
    /// Where the backend is told and asked.
    Webhook,
    /// What the backend is asked about clients.
    Hooks,
    /// How much is logged.
    LogLevel,
    /// When to read the configuration again.
    Reload,
}

/// The keys of each part, named by the modules that own them.
const LIVE: &[(Part, &[&str])] = &[
    (Part::Tokens, auth::LIVE),
    (Part::Tokens, revocation::LIVE),
    (Part::ApiKeys, api::LIVE),
    (Part::Policy, &[node::POLICY]),
    (Part::ShadowPolicy, &[node::SHADOW_POLICY]),
    (Part::Limits, limits::LIVE),
    (Part::Certificates, tls::LIVE),
    (Part::Webhook, webhook::LIVE),
    (Part::Hooks, hooks::LIVE),
    (Part::LogLevel, telemetry::LIVE),
    (Part::Reload, reload::LIVE),
];

impl Part {
    /// The part that a key concerns; `None` = it needs a restart.
    pub fn of(path: &str) -> Option<Part> {
        let mut parts = LIVE.iter();
        parts.find_map(|(part, paths)| paths.contains(&path).then_some(*part))
    }
}

/// Whether a running node takes over another value of this key.
pub(super) fn is_live(key: &Key) -> bool {
    Part::of(key.path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::keys, settings::Kind};

    #[test]
    fn what_is_live_is_a_key_and_what_is_listed_stays_listed() {
        for (part, paths) in LIVE {
            for path in *paths {
                assert!(keys().any(|k| k.path == *path), "{part:?}: {path} is no key");
            }
        }
        for (prefix, part) in [
            ("auth.", Part::Tokens),
            ("api.", Part::ApiKeys),
            ("reload.", Part::Reload),
            ("webhook.", Part::Webhook),
            ("hooks.", Part::Hooks),
        ] {
            for key in keys().filter(|k| k.path.starts_with(prefix) && k.kind != Kind::Planned) {
                assert_eq!(Part::of(key.path), Some(part), "{}", key.path);
            }
        }
        for fixed in [
            "listen",
            "ops.listen",
            "redis.url",
            "cluster.secret_file",
            "log.format",
            "engine.path",
            "limits.max_event_bytes",
        ] {
            assert!(keys().any(|k| k.path == fixed));
            assert_eq!(Part::of(fixed), None, "{fixed}");
        }
    }
}
