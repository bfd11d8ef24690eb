//! Where Redis is, and how patient we are with it.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use fred::types::config::{Config, ServerConfig};

use crate::channel::Channel;
use crate::room::MAX_NAME_BYTES;

/// How to reach Redis.
///
/// `Debug` shows host and port only: the URL holds a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://[[user]:password@]host[:port][/database]`. Special characters of a password are percent-encoded.
    pub url: String,
    /// What the names of channels and keys begin with (default `roomcast`): two clusters on one Redis need different ones. The
    /// database does not separate channels.
    pub prefix: String,
    /// How long a connection, a subscription or a publication may take (default 2 s).
    pub command_timeout: Duration,
    /// How often the link is checked by a message to ourselves (default 5 s); two in a row that do not come back within
    /// [`RedisConfig::command_timeout`] each mean that the link is made anew.
    pub probe_interval: Duration,
    /// The first pause after a link was lost (default 100 ms); each further one is twice as long, less up to a half by
    /// chance, so that not all nodes come back at the same moment.
    pub reconnect_min: Duration,
    /// The longest pause (default 1 s).
    pub reconnect_max: Duration,
    /// How many messages may wait for the node to apply them (default 65536, and never more than 64 MiB of them). When
    /// they are that many for a second, what comes next is dropped and counted
    /// (`roomcast_dropped_total{reason="bus_lag"}`).
    pub queue: usize,
    /// For how long a room's subscription is kept after its last socket left (default 5 s), so that sockets that come
    /// and go do not reach Redis.
    pub unsubscribe_delay: Duration,
    /// Plain channels of others to listen to (default none), at most 64: whole names without the prefix. What is published
    /// there is for [`ClusterConfig::translator`](crate::ClusterConfig::translator). Where Redis refuses one of them, there
    /// is no link. The user of Redis needs the right to each of them, `&name`.
    pub channels: Vec<String>,
}

/// What is wrong with a [`RedisConfig`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisConfigError {
    /// The URL is of a kind that is planned.
    #[error("{0}:// is not supported yet: use redis://")]
    NotSupportedYet(&'static str),
    /// The URL has another scheme, or none.
    #[error("the URL of Redis must begin with redis://")]
    Scheme,
    /// The URL cannot be read. It is not quoted, since it may hold a password.
    #[error("the URL of Redis must look like redis://user:password@host:6379/0")]
    Url,
    /// The prefix is empty, or holds braces, white space or control characters.
    #[error(
        "the prefix of channels must be 1 to 128 characters without braces, white space and control characters"
    )]
    Prefix,
    /// A duration or a size is zero.
    #[error("`{0}` must be more than zero")]
    Zero(&'static str),
    /// The pauses between two attempts are the wrong way round.
    #[error("`reconnect_max` must not be less than `reconnect_min`")]
    Reconnect,
    /// More than 64 channels of others.
    #[error("`channels` names {0} channels; the limit is {MAX_CHANNELS}")]
    TooManyChannels(usize),
    /// A channel of others has a name that cannot be one. Of a long name the beginning is quoted.
    #[error("`channels`: {name:?} {why}")]
    Channel {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The most channels of others.
const MAX_CHANNELS: usize = 64;

/// The longest prefix, in bytes.
const MAX_PREFIX: usize = 128;

impl RedisConfig {
    /// The defaults, for the Redis at this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "roomcast".to_owned(),
            command_timeout: Duration::from_secs(2),
            probe_interval: Duration::from_secs(5),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(1),
            queue: 65_536,
            unsubscribe_delay: Duration::from_secs(5),
            channels: Vec::new(),
        }
    }

    /// Checks everything that can be checked without Redis.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), RedisConfigError> {
        self.client_config()?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '}');
        if self.prefix.is_empty() || self.prefix.len() > MAX_PREFIX || self.prefix.contains(bad) {
            return Err(RedisConfigError::Prefix);
        }
        for (name, duration) in [
            ("command_timeout", self.command_timeout),
            ("probe_interval", self.probe_interval),
            ("reconnect_min", self.reconnect_min),
            ("reconnect_max", self.reconnect_max),
        ] {
            if duration.is_zero() {
                return Err(RedisConfigError::Zero(name));
            }
        }
        if self.queue == 0 {
            return Err(RedisConfigError::Zero("queue"));
        }
        if self.reconnect_max < self.reconnect_min {
            return Err(RedisConfigError::Reconnect);
        }
        self.check_channels()
    }

    fn check_channels(&self) -> Result<(), RedisConfigError> {
        const QUOTED_CHARS: usize = 64;
        if self.channels.len() > MAX_CHANNELS {
            return Err(RedisConfigError::TooManyChannels(self.channels.len()));
        }
        let mut seen = HashSet::new();
        for name in &self.channels {
            let why = if name.is_empty() || name.len() > MAX_NAME_BYTES {
                "is no name of a channel: it needs 1 to 256 bytes"
            } else if name.contains(char::is_control) {
                "holds a control character: remove it"
            } else if Channel::is_reserved(&self.prefix, name) {
                "begins with our own prefix: name a channel of somebody else, or change the prefix"
            } else if !seen.insert(name) {
                "is there twice: keep one"
            } else {
                continue;
            };
            let name = name.chars().take(QUOTED_CHARS).collect();
            return Err(RedisConfigError::Channel { name, why });
        }
        Ok(())
    }

    /// The server in the way fred wants it; everything that is not in the URL is set where the client is built.
    pub(super) fn client_config(&self) -> Result<Config, RedisConfigError> {
        let (scheme, _) = self.url.split_once("://").ok_or(RedisConfigError::Scheme)?;
        let planned = ["rediss", "redis-sentinel", "redis-cluster"];
        if let Some(planned) = planned.into_iter().find(|planned| *planned == scheme) {
            return Err(RedisConfigError::NotSupportedYet(planned));
        }
        if scheme != "redis" {
            return Err(RedisConfigError::Scheme);
        }
        let config = Config::from_url(&self.url).map_err(|_| RedisConfigError::Url)?;
        if matches!(&config.server, ServerConfig::Centralized { server } if !server.host.is_empty()) {
            Ok(config)
        } else {
            Err(RedisConfigError::Url)
        }
    }

    /// Host and port, for logs.
    pub(super) fn address(&self) -> String {
        match self.client_config().map(|config| config.server) {
            Ok(ServerConfig::Centralized { server }) => format!("{}:{}", server.host, server.port),
            _ => "(no address)".to_owned(),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .field("command_timeout", &self.command_timeout)
            .field("probe_interval", &self.probe_interval)
            .field("reconnect_min", &self.reconnect_min)
            .field("reconnect_max", &self.reconnect_max)
            .field("queue", &self.queue)
            .field("unsubscribe_delay", &self.unsubscribe_delay)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls() {
        for (url, expected) in [
            ("redis://localhost", Ok("localhost:6379")),
            ("redis://127.0.0.1:7000", Ok("127.0.0.1:7000")),
            (
                "redis://user:p%40ss@redis.internal:6380/3",
                Ok("redis.internal:6380"),
            ),
            ("redis://:secret@host/0", Ok("host:6379")),
            ("rediss://host", Err(RedisConfigError::NotSupportedYet("rediss"))),
            (
                "redis-sentinel://host",
                Err(RedisConfigError::NotSupportedYet("redis-sentinel")),
            ),
            (
                "redis-cluster://host",
                Err(RedisConfigError::NotSupportedYet("redis-cluster")),
            ),
            ("http://host", Err(RedisConfigError::Scheme)),
            ("localhost:6379", Err(RedisConfigError::Scheme)),
            ("", Err(RedisConfigError::Scheme)),
            ("redis://", Err(RedisConfigError::Url)),
            ("redis://host:port", Err(RedisConfigError::Url)),
            ("redis://host:6379/x", Err(RedisConfigError::Url)),
        ] {
            let config = RedisConfig::new(url);
            let expected = expected.map(str::to_owned);
            assert_eq!(config.validate().map(|()| config.address()), expected, "{url}");
        }
    }

    #[test]
    fn credentials_and_database_are_taken() {
        let config = RedisConfig::new("redis://user:p%40ss@host:6380/3")
            .client_config()
            .unwrap();
        assert_eq!(config.username.as_deref(), Some("user"));
        assert_eq!(config.password.as_deref(), Some("p@ss"));
        assert_eq!(config.database, Some(3));
    }

    #[test]
    fn the_password_is_not_shown() {
        let config = RedisConfig::new("redis://user:hunter2@host");
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = RedisConfig::new("redis://user:hunter2@host:port")
            .validate()
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn other_settings() {
        let config = RedisConfig::new("redis://host");
        let with = |change: fn(&mut RedisConfig)| {
            let mut config = config.clone();
            change(&mut config);
            config.validate().unwrap_err()
        };
        assert_eq!(with(|c| c.prefix.clear()), RedisConfigError::Prefix);
        assert_eq!(with(|c| c.prefix = "a{b".into()), RedisConfigError::Prefix);
        assert_eq!(with(|c| c.prefix = "a b".into()), RedisConfigError::Prefix);
        assert_eq!(with(|c| c.queue = 0), RedisConfigError::Zero("queue"));
        assert_eq!(
            with(|c| c.probe_interval = Duration::ZERO),
            RedisConfigError::Zero("probe_interval")
        );
        assert_eq!(
            with(|c| c.reconnect_max = Duration::from_millis(1)),
            RedisConfigError::Reconnect
        );
    }

    #[test]
    fn channels_of_others() {
        let with = |channels: Vec<String>| {
            let config = RedisConfig {
                channels,
                ..RedisConfig::new("redis://host")
            };
            config.validate().map_err(|error| error.to_string())
        };
        let good = [
            "crm.events",
            "a b",
            "{x}",
            "roomcast",
            "roomcastx:nodes",
            &"x".repeat(256),
        ];
        assert_eq!(with(good.map(str::to_owned).to_vec()), Ok(()));
        for (bad, why) in [
            ("", "1 to 256 bytes"),
            (&*"x".repeat(257), "1 to 256 bytes"),
            ("a\nb", "control character"),
            ("roomcast:publish", "our own prefix"),
            ("roomcast:anything", "our own prefix"),
            ("crm.events", "twice"),
        ] {
            let error = with(vec!["crm.events".into(), bad.into()]).unwrap_err();
            assert!(error.contains(why) && error.len() < 200, "{error}");
        }
        let many = |count: u8| (0..count).map(|number| format!("channel {number}")).collect();
        assert_eq!(with(many(64)), Ok(()));
        assert!(with(many(65)).unwrap_err().contains("65 channels"));
    }
}
