//! Redis, and the other nodes.

use adapter_redis::{RedisConfig, SecretKeys};

use crate::settings::{Key, Kind, Reader};

pub(super) const URL: &str = "redis.url";
const PREFIX: &str = "redis.prefix";
const UNSUBSCRIBE_DELAY: &str = "redis.unsubscribe_delay";
const INGEST: &str = "redis.ingest";
const SECRET_FILE: &str = "cluster.secret_file";

/// The keys of Redis and of the cluster.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: URL,
        kind: Kind::Secret,
        default: "",
        doc: "`redis://[user:password@]host:port[/db]`; empty = a node on its own.",
    },
    Key {
        path: PREFIX,
        kind: Kind::String,
        default: "roomcast",
        doc: "First part of the names of all channels and keys; clusters that share a Redis need different ones.",
    },
    Key {
        path: UNSUBSCRIBE_DELAY,
        kind: Kind::Duration,
        default: "5s",
        doc: "For how long a node stays subscribed to a room after its last socket left.",
    },
    Key {
        path: INGEST,
        kind: Kind::Bool,
        default: "true",
        doc: "Whether the node may be the one that publishes what is in a stream: `<prefix>:ingest`, and those of `[[ingest]]` rules.",
    },
    Key {
        path: SECRET_FILE,
        kind: Kind::Path,
        default: "",
        doc: "A file with the key that nodes sign what they say to each other with, 16 bytes or more; several lines are several keys, of which the first signs. Empty = nothing is signed.",
    },
];

/// What the node is told of its cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Redis, or none for a node on its own.
    pub redis: Option<RedisConfig>,
    /// Whether it may read streams: that of envelopes, and those of the policy.
    pub ingest: bool,
    /// What nodes sign with.
    pub keys: SecretKeys,
}

impl ClusterConfig {
    /// Reads this module's part.
    pub(super) fn read(reader: &mut Reader) -> ClusterConfig {
        let url = reader.string(URL);
        let prefix = reader.string(PREFIX);
        let unsubscribe_delay = reader.duration(UNSUBSCRIBE_DELAY);
        let redis = (!url.is_empty()).then(|| RedisConfig {
            prefix,
            unsubscribe_delay,
            ..RedisConfig::new(url)
        });
        if let Some(Err(error)) = redis.as_ref().map(RedisConfig::validate) {
            reader.say(format!("redis: {error}"));
        }
        ClusterConfig {
            redis,
            ingest: reader.boolean(INGEST),
            keys: keys(reader),
        }
    }
}

fn keys(reader: &mut Reader) -> SecretKeys {
    if reader.string(SECRET_FILE).is_empty() {
        return SecretKeys::none();
    }
    // A file that cannot be read was reported.
    let Some(text) = reader.file(SECRET_FILE) else {
        return SecretKeys::none();
    };
    SecretKeys::from_lines(&text).unwrap_or_else(|error| {
        reader.say(format!("{SECRET_FILE}: {error}"));
        SecretKeys::none()
    })
}
