//! `roomcast publish`: one event, through Redis where the configuration names one, through the API otherwise.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ::http::Method;
use adapter_redis::{Bus, BusState, Cluster, Envelope, Limits, Metrics, NoSockets, NodeId, RedisBus};
use clap::Args;
use serde_json::{Map, Value, value::RawValue};
use tokio::time::timeout;

use super::{Failure, block_on, http, print};
use crate::{
    config::{ClusterConfig, Config},
    settings::ProcessEnv,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A room; may be given several times
    #[arg(long = "room", value_name = "ROOM", required = true)]
    rooms: Vec<String>,
    /// The event's name
    #[arg(long, value_name = "EVENT")]
    event: String,
    /// The event's argument as JSON
    #[arg(long, value_name = "JSON", default_value = "null", value_parser = json)]
    data: String,
    /// A room or socket id that gets nothing; may be given several times
    #[arg(long, value_name = "ROOM")]
    except: Vec<String>,
    /// A node's operations listener, such as http://127.0.0.1:3001 or https://node.example:3001; needs no configuration file
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// API key; without it the one of the configuration
    #[arg(long, value_name = "KEY", env = "ROOMCAST_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let envelope = envelope(&arguments);
    Envelope::parse(envelope.as_bytes(), &Limits { max_event_bytes: 0 }).map_err(Failure::usage)?;
    if let (Some(url), Some(key)) = (&arguments.url, &arguments.api_key) {
        return block_on(through_api(url, key, envelope));
    }
    let config = Config::load(file.as_deref(), &ProcessEnv, &[])?;
    if arguments.url.is_none() && config.cluster.redis.is_some() {
        return block_on(through_redis(config.cluster, &envelope));
    }
    let Some(key) = arguments
        .api_key
        .clone()
        .or_else(|| config.admin.api_keys.to_publish())
    else {
        return Err(Failure::usage(
            "nowhere to publish to: set redis.url, api.keys or api.publish_keys, or use --url and --api-key",
        ));
    };
    let url = match arguments.url {
        Some(url) => url,
        None => http::operations_url(&config),
    };
    block_on(through_api(&url, &key, envelope))
}

/// The data's text goes in as it came: numbers keep their digits.
fn envelope(arguments: &Arguments) -> String {
    let mut head = Map::new();
    head.insert("rooms".to_owned(), arguments.rooms.clone().into());
    head.insert("event".to_owned(), arguments.event.clone().into());
    if !arguments.except.is_empty() {
        head.insert("except".to_owned(), arguments.except.clone().into());
    }
    let head = Value::Object(head).to_string();
    format!("{},\"data\":{}}}", head.trim_end_matches('}'), arguments.data)
}

async fn through_api(url: &str, key: &str, envelope: String) -> Result<(), Failure> {
    let (status, answer) = http::call(Method::POST, url, "/api/v1/publish", Some(key), envelope).await?;
    if !status.is_success() {
        let text = |name: &str| {
            answer
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        return Err(Failure::unavailable(format!(
            "refused ({status}): {}: {}",
            text("code"),
            text("detail")
        )));
    }
    print(&answer.to_string())
}

async fn through_redis(config: ClusterConfig, envelope: &str) -> Result<(), Failure> {
    let Some(redis) = config.redis else {
        return Err(Failure::usage("redis.url is not set"));
    };
    let id = NodeId::random();
    let (bus, _arrivals) = RedisBus::start(redis, &id, Metrics::noop()).map_err(Failure::usage)?;
    let bus: Arc<RedisBus> = Arc::new(bus);
    let mut state = bus.state();
    timeout(
        Duration::from_secs(5),
        state.wait_for(|s| *s == BusState::Connected),
    )
    .await
    .ok()
    .and_then(Result::ok)
    .ok_or_else(|| Failure::unavailable("Redis does not answer: see redis.url in the configuration"))?;
    let cluster_config = adapter_redis::ClusterConfig {
        keys: config.keys,
        ..Default::default()
    };
    let cluster = Cluster::new(
        id,
        bus.clone(),
        Arc::new(NoSockets),
        cluster_config,
        Metrics::noop(),
    );
    let mut envelope =
        Envelope::parse(envelope.as_bytes(), &Limits { max_event_bytes: 0 }).map_err(Failure::usage)?;
    // No node knows this process, so that none could tell it how many sockets it reached.
    envelope.count = false;
    let published = cluster.publish(envelope).await.map_err(Failure::unavailable)?;
    bus.close().await;
    let Some(offset) = published.offset else {
        return Err(Failure::unavailable("Redis went away: nothing was published"));
    };
    print(&format!(
        "{{\"offset\":\"{offset}\",\"nodes\":{}}}",
        published.nodes
    ))
}

fn json(text: &str) -> Result<String, String> {
    serde_json::from_str::<&RawValue>(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("not JSON: {error} (a text needs its quotes: --data '\"hello\"')"))
}
