//! Publishing through Redis, by the function.

use std::fmt;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig};
use fred::types::{ClusterHash, CustomCommand, Value};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Redis {
    client: Client,
    prefix: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisError {
    /// Not said with the URL, which may have a password in it.
    #[error("--redis: write a URL such as redis://127.0.0.1:6379")]
    Url,
    #[error("the Redis of --redis cannot be reached")]
    Unreachable,
}

impl Redis {
    pub(crate) async fn open(url: &str, prefix: &str) -> Result<Self, RedisError> {
        let config = Config {
            fail_fast: true,
            ..Config::from_url(url).map_err(|_| RedisError::Url)?
        };
        let connection = ConnectionConfig {
            connection_timeout: PATIENCE,
            internal_command_timeout: PATIENCE,
            max_command_attempts: 1,
            ..ConnectionConfig::default()
        };
        let performance = PerformanceConfig {
            default_command_timeout: PATIENCE,
            ..PerformanceConfig::default()
        };
        let client = Client::new(config, Some(performance), Some(connection), None);
        client.init().await.map_err(|_| RedisError::Unreachable)?;
        Ok(Self {
            client,
            prefix: prefix.to_owned(),
        })
    }

    pub(super) async fn publish(&self, room: &str, envelope: String) -> Result<(), String> {
        let command = CustomCommand::new_static("FCALL", ClusterHash::FirstKey, false);
        let args: Vec<Value> = vec![
            Value::from_static_str("roomcast_publish"),
            Value::Integer(1),
            format!("{}:{{{room}}}", self.prefix).into(),
            envelope.into(),
        ];
        let answer: Result<Value, _> = self.client.custom(command, args).await;
        // Redis says which key; reasons have to be few.
        answer
            .map(|_offset_and_nodes| ())
            .map_err(|error| format!("Redis: {:?}", error.kind()))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
