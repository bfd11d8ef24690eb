//! What plays the backend: publishes through the API or through Redis.

mod api;
mod redis;

use serde_json::{Value, json};

pub(crate) use api::{Api, KeyRefused};
pub(crate) use redis::{Redis, RedisError};

/// One of the two ways.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Api(Api),
    Redis(Redis),
}

impl Backend {
    /// The n-th publication. Returns when it was answered.
    pub(crate) async fn publish(
        &self,
        n: usize,
        room: &str,
        event: &str,
        data: &Value,
    ) -> Result<(), String> {
        match self {
            Self::Api(api) => {
                let envelope = json!({ "room": room, "event": event, "data": data, "count": false });
                api.publish(n, envelope.to_string()).await
            }
            Self::Redis(redis) => {
                let envelope = json!({ "room": room, "event": event, "data": data });
                redis.publish(room, envelope.to_string()).await
            }
        }
    }

    /// What goose shows it as.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Api(_) => "POST",
            Self::Redis(_) => "FCALL",
        }
    }
}
