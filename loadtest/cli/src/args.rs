//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;

use crate::scenarios::{Load, Scenario};
use crate::verdict::Threshold;

/// The secrets are no flags: those can be seen in the list of processes.
pub(crate) const SECRET: &str = "ROOMCAST_LOADTEST_SECRET";
pub(crate) const API_KEY: &str = "ROOMCAST_LOADTEST_API_KEY";

/// Load scenarios for Roomcast: many clients, what was due to them, and what they got when
#[derive(Debug, Parser)]
#[command(name = "roomcast-loadtest", version, after_help = AFTER)]
pub(crate) struct Arguments {
    /// What to do
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,

    /// The public listener of a node, or a load balancer; several are used in turn
    #[arg(long = "target", value_name = "URL", default_value = "http://127.0.0.1:3000", value_parser = http_url)]
    pub(crate) targets: Vec<String>,
    /// The path of Socket.IO there
    #[arg(long, value_name = "PATH", default_value = "/socket.io/")]
    pub(crate) path: String,
    /// The operations listener of a node, to publish through; several are used in turn
    #[arg(long = "api", value_name = "URL", default_value = "http://127.0.0.1:3001", value_parser = http_url)]
    pub(crate) apis: Vec<String>,
    /// The file with the API key [instead of: the environment variable ROOMCAST_LOADTEST_API_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Publish through this Redis, by the function, instead of the API
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// The nodes' `redis.prefix`
    #[arg(long, value_name = "TEXT", default_value = "roomcast")]
    pub(crate) redis_prefix: String,

    /// The file with the secret that tokens are signed with, HS256 [instead of: the environment variable
    /// ROOMCAST_LOADTEST_SECRET]
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// A further claim of tokens that are made here, such as iss or aud; JSON where it can be read as such
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    pub(crate) claims: Vec<(String, Value)>,
    /// A file with a token in each line, instead of making them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret_file", "claims"])]
    pub(crate) tokens: Option<PathBuf>,

    /// Clients
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) users: u32,
    /// Groups that they are divided into: tenants, channels
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: u32,
    /// How many of 100 clients connect by polling; the others by websocket
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) polling: u32,
    /// Events in a second, in the storm connects [default: 10 fan-out and wave, 20 chat and slow_consumer, 100 others]
    #[arg(long, value_name = "PER_SECOND", value_parser = above_zero)]
    pub(crate) rate: Option<f64>,
    /// How long there are events
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) payload: u32,
    /// Clients that the ramp-up launches in a second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ramp_up: u32,
    /// slow_consumer: how many of 100 clients read slowly
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) slow: u32,
    /// reconnect_wave: within what time all clients come back
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) spread: Duration,
    /// How long to wait for what is still on its way, as long as nothing arrives
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) grace: Duration,

    /// A threshold that is missed when this is true, such as p99_ms>250; several may be given. missing>0 is one of them
    /// unless one is about what is missing
    #[arg(long = "fail-if", value_name = "RULE", value_parser = Threshold::parse)]
    pub(crate) fail_if: Vec<Threshold>,
    /// Do not believe the run when 1 in 100 events was sent later than this after it was due
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    pub(crate) max_lag: Duration,
    /// Do not believe the run when this process has used more of all processors
    #[arg(long, value_name = "PERCENT", default_value_t = 90.0, value_parser = above_zero)]
    pub(crate) max_cpu: f64,
    /// Write a report, too: .html, .md or .json; several may be given
    #[arg(long = "report", value_name = "FILE", value_parser = report_file)]
    pub(crate) reports: Vec<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

const AFTER: &str = "\
Exit codes:
  0   all is well
  1   a threshold was missed
  2   the run must not be believed; the report says why
  64  wrong arguments
  69  the target, the API or Redis cannot be reached
  70  something of the machine

Measures for --fail-if, with > >= < or <=:
  p50_ms p90_ms p99_ms p999_ms max_ms   latency of all deliveries, from when they were due
  missing missing_percent duplicates    deliveries
  connect_p99_ms reconnect_p99_ms       from when a connect was due until the client is in its rooms
  connect_failed lost                   clients that did not get in, connections that broke
  publish_p99_ms publish_failed         the API, or Redis

One command for each scenario: loadtest/README.md";

impl Arguments {
    /// Those that were asked for. Whoever says nothing of what may be missing means that nothing may.
    pub(crate) fn thresholds(&self) -> Vec<Threshold> {
        let mut thresholds = self.fail_if.clone();
        if !thresholds.iter().any(Threshold::is_about_missing) {
            thresholds.push(Threshold::NOTHING_MISSING);
        }
        thresholds
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            rate: self.rate.unwrap_or_else(|| self.scenario.rate()),
            duration: self.duration,
            payload: self.payload as usize,
            slow_percent: self.slow,
            spread: self.spread,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be above 0, such as 500ms, 30s or 5m".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write a time such as 500ms, 30s or 5m".to_owned()),
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _other => Err("write a number above 0, such as 20 or 0.5".to_owned()),
    }
}

/// `http://host:port`, without anything behind it.
fn http_url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") || text.starts_with("wss://") {
        return Err(
            "TLS is not spoken here: name a listener without it, such as http://127.0.0.1:3000".to_owned(),
        );
    }
    let Some(address) = text.strip_prefix("http://") else {
        return Err("write a URL such as http://127.0.0.1:3000".to_owned());
    };
    let address = address.trim_end_matches('/');
    let authority: http::uri::Authority = address
        .parse()
        .map_err(|_| "write a URL of scheme, host and port, such as http://127.0.0.1:3000".to_owned())?;
    if address.contains('@') {
        return Err("a URL with a user in it is not supported".to_owned());
    }
    match authority.port() {
        Some(_) => Ok(format!("http://{authority}")),
        None => Ok(format!("http://{authority}:80")),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name.to_owned(), value))
        }
        _other => Err("write a claim as name=value".to_owned()),
    }
}

fn report_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "md" | "json") => Ok(path),
        _other => Err("the name of a report ends in .html, .md or .json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("roomcast-loadtest").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let arguments = parse("steady_fanout").unwrap();
        assert_eq!(arguments.targets, ["http://127.0.0.1:3000"]);
        assert_eq!(arguments.load().rate, 10.0);
        assert_eq!(arguments.thresholds(), [Threshold::parse("missing>0").unwrap()]);
        assert_eq!(parse("crm_day").unwrap().load().rate, 100.0);
        assert_eq!(parse("crm_day --rate 0.5").unwrap().load().rate, 0.5);
        let several = parse("chat --target http://a:1/ --target http://b").unwrap();
        assert_eq!(several.targets, ["http://a:1", "http://b:80"]);
        for (line, rules) in [
            ("chat --fail-if p99_ms>250", "p99_ms>250 missing>0"),
            ("chat --fail-if missing>5", "missing>5"),
            (
                "chat --fail-if missing_percent>1 --fail-if lost>0",
                "missing_percent>1 lost>0",
            ),
        ] {
            let found: Vec<String> = parse(line)
                .unwrap()
                .thresholds()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.join(" "), rules, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, why) in [
            ("", "Usage"),
            ("fanout", "steady_fanout"),
            ("chat --target localhost:3000", "such as http://127.0.0.1:3000"),
            ("chat --target https://example.com", "TLS is not spoken here"),
            ("chat --target http://a@b:1", "user"),
            ("chat --target http://a:1/path", "scheme, host and port"),
            ("chat --users 0", "0 is not in 1.."),
            ("chat --polling 101", "101 is not in 0..=100"),
            ("chat --rate 0", "above 0"),
            ("chat --rate NaN", "above 0"),
            ("chat --duration 0s", "above 0"),
            ("chat --duration 5", "500ms, 30s or 5m"),
            ("chat --claim iss", "name=value"),
            ("chat --report out.txt", ".html, .md or .json"),
            ("chat --fail-if p98_ms>1", "p99_ms"),
            ("chat --tokens a --secret-file b", "cannot be used with"),
            ("chat --secret geheim", "unexpected argument '--secret'"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
