//! `roomcast explain`: which rule decides, on which claims, and the outcome.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::SystemTime,
};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use super::{Failure, block_on, print};
use crate::{
    auth::{self, Claims, Verifier},
    config::Config,
    metrics::Metrics,
    policy::{Asked, BUILTIN, Policy, Verdict, WHATSAPP_CRM},
    refusal::Refusal,
    rules::{Asker, InForce},
    settings::ProcessEnv,
};

/// Exit code of a decision that is no.
const REFUSED: u8 = 1;

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("asker").required(true).args(["token", "claims"])),
    after_help = "Exit code: 0 = allowed, 1 = refused, 64 = wrong arguments or configuration"
)]
pub(super) struct Arguments {
    /// The client's token, verified with the configured keys; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    token: Option<String>,
    /// The claims of a token instead of the token itself, as JSON; nothing is verified then
    #[arg(long, value_name = "JSON", value_parser = object)]
    claims: Option<Claims>,
    /// The event that the client sends; without it the connection itself is explained
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// The event's first argument, as a text
    #[arg(
        long,
        value_name = "TEXT",
        requires = "event",
        conflicts_with = "data",
        allow_hyphen_values = true
    )]
    arg: Option<String>,
    /// The event's first argument, as JSON
    #[arg(long, value_name = "JSON", requires = "event", value_parser = json, allow_hyphen_values = true)]
    data: Option<Value>,
    /// A name and value of the handshake's query, for rules on connect; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    query: Vec<(String, Value)>,
    /// A policy file instead of the configured one; with --claims no configuration is needed then
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        token,
        claims,
        event,
        arg,
        data,
        query,
        policy,
        json,
    } = arguments;
    let now = SystemTime::now();
    let (rules, asker) = match (claims, token, policy) {
        (Some(claims), _, Some(policy)) => (alone(&policy)?, Asker::Claims(claims)),
        (Some(claims), _, None) => (load(file.as_deref(), None)?.rules, Asker::Claims(claims)),
        (None, token, policy) => {
            let token = read(token.unwrap_or_default())?;
            let config = load(file.as_deref(), policy.as_deref())?;
            let verified = block_on(verify(config.auth, &token, now))?;
            (config.rules, Asker::Token(verified))
        }
    };
    let argument = arg.map(Value::from).or(data).unwrap_or_default();
    let asked = Asked {
        query: &first_of_each(query),
        event: event.as_deref().map(|event| (event, &argument)),
    };
    let explained = rules.explain(&asker, asked, now);
    if json {
        print(&serde_json::to_string_pretty(&explained).map_err(Failure::unavailable)?)?;
    } else {
        print(explained.to_string().trim_end())?;
        if let Asker::Claims(_) = asker {
            print("claims: as given, nothing was verified")?;
        }
    }
    Ok(match explained.decision.verdict {
        Verdict::Allowed => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::from(REFUSED),
    })
}

/// The configuration, with another policy where one is named: nothing is tried out beside that one.
fn load(file: Option<&Path>, policy: Option<&Path>) -> Result<Config, Failure> {
    let Some(policy) = policy else {
        return Ok(Config::load(file, &ProcessEnv, &[])?);
    };
    let policy = if policy == Path::new(BUILTIN) {
        policy.to_path_buf()
    } else {
        // It was written from here; in the configuration it would be relative to that file.
        std::path::absolute(policy).map_err(Failure::usage)?
    };
    let flags = [
        ("policy", policy.to_string_lossy().into_owned()),
        ("shadow_policy", String::new()),
    ];
    Ok(Config::load(file, &ProcessEnv, &flags)?)
}

/// A policy without any configuration.
fn alone(file: &Path) -> Result<InForce, Failure> {
    let name = file.display();
    let text = if file == Path::new(BUILTIN) {
        WHATSAPP_CRM.to_owned()
    } else {
        fs::read_to_string(file)
            .map_err(|e| Failure::usage(format!("--policy {name}: cannot be read: {e}")))?
    };
    let policy = Policy::parse(&text).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|e| format!("  - {name}: {e}")).collect();
        let noun = if lines.len() == 1 { "problem" } else { "problems" };
        Failure::usage(format!(
            "the policy has {} {noun}:\n{}",
            lines.len(),
            lines.join("\n")
        ))
    })?;
    Ok(InForce {
        policy: Arc::new(policy),
        shadow: None,
    })
}

/// Verifies a token as a node does that has just started: key sets at URLs are fetched, once.
async fn verify(
    config: auth::Config,
    token: &str,
    now: SystemTime,
) -> Result<Result<Claims, Refusal>, Failure> {
    let (key_sets, fetcher) = auth::key_sets(&Metrics::new().map_err(Failure::unavailable)?);
    let verifier = Verifier::fetching(config, key_sets);
    tokio::select! {
        biased;
        verified = verifier.verify(token, now) => Ok(verified),
        ended = fetcher.run() => Err(Failure::unavailable(ended)),
    }
}

/// The token, which stands in no list of processes when it comes from standard input.
fn read(token: String) -> Result<String, Failure> {
    if token != "-" {
        return Ok(token);
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| Failure::usage(format!("--token -: cannot be read: {e}")))?;
    Ok(text.trim().to_owned())
}

/// Of a repeated name the first counts, as in a handshake.
fn first_of_each(query: Vec<(String, Value)>) -> Value {
    let mut map = Map::new();
    for (name, value) in query {
        map.entry(name).or_insert(value);
    }
    Value::Object(map)
}

fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.into())),
        _ => Err("write it as name=value".to_owned()),
    }
}

fn object(text: &str) -> Result<Claims, String> {
    match json(text)? {
        claims @ Value::Object(_) => Ok(Claims::unverified(claims, 0)),
        _ => Err("the claims of a token are an object, such as {\"sub\":\"42\"}".to_owned()),
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("not JSON: {error} (a text needs its quotes: '\"hello\"')"))
}
