//! `roomcast token`: signs a token with the configured secret.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde_json::{Map, Value};

use super::{Failure, print};
use crate::{auth, config::Config, settings::ProcessEnv};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The user, as claim `sub`
    #[arg(long, value_name = "ID")]
    user: String,
    /// A further claim; the value is JSON where it can be read as such (`bots=["1"]`, `level=3`), text otherwise
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let config = Config::load(file.as_deref(), &ProcessEnv, &[])?;
    let mut claims = Map::new();
    if let Some(issuer) = config.auth.issuers.first() {
        claims.insert("iss".to_owned(), issuer.clone().into());
    }
    if let Some(audience) = config.auth.audiences.first() {
        claims.insert("aud".to_owned(), audience.clone().into());
    }
    claims.insert("sub".to_owned(), arguments.user.into());
    claims.extend(arguments.claims);
    let token = auth::sign(&config.auth.keys, claims, arguments.ttl, SystemTime::now());
    print(&token.map_err(Failure::usage)?)
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name.to_owned(), value))
        }
        _ => Err("write a claim as name=value".to_owned()),
    }
}
