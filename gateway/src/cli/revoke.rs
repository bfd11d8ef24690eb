//! `roomcast revoke`: one token, or a user's tokens, through the API.

use std::path::PathBuf;

use ::http::{Method, StatusCode};
use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use super::{Failure, block_on, http, print};
use crate::{config::Config, settings::ProcessEnv};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("tokens").required(true).args(["jti", "user"])))]
pub(super) struct Arguments {
    /// The token with this id (`jti`)
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// When that token expires (`exp`), in seconds since 1970
    #[arg(long, value_name = "SECONDS", conflicts_with = "user")]
    expires_at: Option<u64>,
    /// The tokens of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Those of them that were issued before (`iat`), in seconds since 1970; without it, before now
    #[arg(long, value_name = "SECONDS", conflicts_with = "jti")]
    issued_before: Option<u64>,
    /// A node's operations listener, such as http://127.0.0.1:3001; needs no configuration file
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// API key of scope `admin`; without it the one of the configuration
    #[arg(long, value_name = "KEY", env = "ROOMCAST_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let body = body(&arguments);
    let (url, key) = match (arguments.url, arguments.api_key) {
        (Some(url), Some(key)) => (url, key),
        (url, key) => {
            let config = Config::load(file.as_deref(), &ProcessEnv, &[])?;
            let key = key.or_else(|| config.admin.api_keys.to_administer());
            let key = key.ok_or_else(|| {
                Failure::usage("no key of scope `admin`: set api.keys, or use --url and --api-key")
            })?;
            (url.unwrap_or_else(|| http::operations_url(&config)), key)
        }
    };
    let (status, answer) = block_on(http::call(Method::POST, &url, "/api/v1/revoke", Some(&key), body))?;
    if status.is_success() {
        return print(&answer.to_string());
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let refused = format!("refused ({status}): {}: {}", text("code"), text("detail"));
    Err(match status {
        StatusCode::UNPROCESSABLE_ENTITY => Failure::usage(refused),
        _ => Failure::unavailable(refused),
    })
}

fn body(arguments: &Arguments) -> String {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| body.insert(name.to_owned(), value));
    put("jti", arguments.jti.clone().map(Value::from));
    put("expires_at", arguments.expires_at.map(Value::from));
    put("user", arguments.user.clone().map(Value::from));
    put("issued_before", arguments.issued_before.map(Value::from));
    Value::Object(body).to_string()
}
