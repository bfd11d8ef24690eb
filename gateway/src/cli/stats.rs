//! `roomcast stats`: what the cluster holds now.

use std::path::PathBuf;

use ::http::Method;
use clap::Args;
use serde_json::Value;

use super::{Failure, block_on, http, print};
use crate::{config::Config, settings::ProcessEnv};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A node's operations listener, such as http://127.0.0.1:3001 or https://node.example:3001; without it the one of the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the JSON of `/stats` as it is
    #[arg(long)]
    json: bool,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let url = match arguments.url {
        Some(url) => url,
        None => http::operations_url(&Config::load(file.as_deref(), &ProcessEnv, &[])?),
    };
    let (status, stats) = block_on(http::call(Method::GET, &url, "/stats", None, String::new()))?;
    if !status.is_success() {
        return Err(Failure::unavailable(format!("{url} answered {status}")));
    }
    if arguments.json {
        return print(&stats.to_string());
    }
    let cell = |section: &str, name: &str| match stats.get(section).and_then(|s| s.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    };
    let mut lines = vec![format!("{:10}{:>12}{:>12}", "", "node", "cluster")];
    for name in ["connected", "users", "rooms"] {
        lines.push(format!(
            "{name:10}{:>12}{:>12}",
            cell("node", name),
            cell("cluster", name)
        ));
    }
    lines.push(format!("{:10}{:>12}", "bus", cell("bus", "state")));
    let missing = stats
        .pointer("/cluster/missing")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    match cell("cluster", "complete").as_str() {
        "true" => {}
        _ if missing == 0 => lines.push("incomplete: this node has no link to the others".to_owned()),
        _ => lines.push(format!(
            "incomplete: no answer from {}",
            cell("cluster", "missing")
        )),
    }
    print(&lines.join("\n"))
}
