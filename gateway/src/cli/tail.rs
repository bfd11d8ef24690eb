//! `roomcast tail`: what passes nodes, live, until it is interrupted.

mod follow;
mod merge;
mod show;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use ::http::Method;
use clap::Args;
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use self::{
    follow::{Heard, Way, follow},
    merge::{Line, Merge},
};
use super::{Failure, block_on, http};
use crate::{config::Config, http_client::HttpClient, settings::ProcessEnv};

/// How long a line is held back for others of its publication, and for other nodes' earlier ones.
const HOLD: Duration = Duration::from_millis(500);
/// Lines on their way to the terminal. Who cannot print that fast is told by the nodes what was lost.
const LINES: usize = 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A node's operations listener, such as http://127.0.0.1:3001 or https://node.example:3001; may be given once for
    /// each node; without it the one of the configuration
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// API key (of `api.read_keys`, or with --data of `api.keys`); without it one of the configuration
    #[arg(long, value_name = "KEY", env = "ROOMCAST_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Only this room, or rooms that begin so: user:42, user:*; may be given several times
    #[arg(long, value_name = "PATTERN")]
    room: Vec<String>,
    /// Only this event, or events that begin so: phone_*
    #[arg(long, value_name = "PATTERN")]
    event: Option<String>,
    /// Only what this user does, and what reaches it
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only what this socket does, and what reaches it
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Print each line as JSON, as the nodes say it
    #[arg(long)]
    json: bool,
    /// Show what events carry, up to 2 KiB of each; needs a key of `api.keys`
    #[arg(long)]
    data: bool,
    /// Say which nodes of the cluster none of the given --url leads to
    #[arg(long)]
    all_nodes: bool,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let (urls, key) = match (&arguments.url[..], &arguments.api_key) {
        (urls @ [_, ..], Some(key)) => (urls.to_vec(), key.clone()),
        (urls, key) => {
            let config = Config::load(file.as_deref(), &ProcessEnv, &[])?;
            let keys = &config.admin.api_keys;
            let found = || {
                if arguments.data {
                    keys.to_administer()
                } else {
                    keys.to_read()
                }
            };
            let key = key.clone().or_else(found).ok_or_else(|| {
                Failure::usage(
                    "no key that may look: set api.keys or api.read_keys, or use --url and --api-key",
                )
            })?;
            let urls = if urls.is_empty() {
                vec![http::operations_url(&config)]
            } else {
                urls.to_vec()
            };
            (urls, key)
        }
    };
    block_on(tail(&urls, &key, &arguments))
}

async fn tail(urls: &[String], key: &str, arguments: &Arguments) -> Result<(), Failure> {
    let client = HttpClient::new().map_err(Failure::unavailable)?;
    let path = path(arguments);
    let (sender, heard) = mpsc::channel(LINES);
    let ways = urls.iter().map(|url| {
        let way = Way {
            url,
            path: &path,
            key,
            is_only: urls.len() == 1,
        };
        follow(&client, way, sender.clone())
    });
    let nodes = async {
        if arguments.all_nodes {
            nodes_of_cluster(urls, key).await
        } else {
            BTreeSet::new()
        }
    };
    let mut merge = Merge::new(HOLD);
    let ended = tokio::select! {
        ended = try_join_all(ways) => ended.map(|_| ()),
        printed = async { print_all(&mut merge, heard, nodes.await, arguments).await } => printed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Nothing is waited for any more.
    print_groups(&merge.take_due(Instant::now() + HOLD), arguments.json)?;
    ended
}

fn path(arguments: &Arguments) -> String {
    let one = |name, value: &Option<String>| value.iter().map(move |v| (name, v.clone())).collect::<Vec<_>>();
    let pairs = arguments.room.iter().map(|room| ("room", room.clone()));
    let pairs = pairs
        .chain(one("event", &arguments.event))
        .chain(one("user", &arguments.user))
        .chain(one("session", &arguments.session))
        .chain(arguments.data.then(|| ("data", "true".to_owned())));
    let query: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={}", escaped(&value)))
        .collect();
    format!("/api/v1/tail?{}", query.join("&"))
}

/// Every byte that could mean something in a query is escaped.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' | b':' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The nodes that the first of these knows that answers.
async fn nodes_of_cluster(urls: &[String], key: &str) -> BTreeSet<String> {
    for url in urls {
        let answer = http::call(Method::GET, url, "/api/v1/nodes", Some(key), String::new()).await;
        if let Ok((_, answer)) = answer
            && let Some(nodes) = answer.get("nodes").and_then(Value::as_array)
        {
            let ids = nodes.iter().filter_map(|node| node.get("id")?.as_str());
            return ids.map(str::to_owned).collect();
        }
    }
    BTreeSet::new()
}

/// Prints what is heard until nobody reads it any more.
async fn print_all(
    merge: &mut Merge,
    mut heard: mpsc::Receiver<Heard>,
    mut unwatched: BTreeSet<String>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let (mut begun, urls) = (0, arguments.url.len().max(1));
    loop {
        let due = merge.due();
        let next = tokio::select! {
            next = heard.recv() => next,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
        };
        match next {
            Some(Heard::Note(note)) => note_down(&note),
            Some(Heard::Line(line)) => {
                if line.kind() == "begin" {
                    begun += 1;
                    unwatched.remove(line.text("node"));
                    if begun == urls && !unwatched.is_empty() {
                        let nodes: Vec<&str> = unwatched.iter().map(String::as_str).collect();
                        note_down(&format!(
                            "no --url leads to {}: what only they see is not shown",
                            nodes.join(", ")
                        ));
                    }
                }
                if line.kind() != "heartbeat" {
                    merge.push(line, Instant::now());
                }
            }
            None => {}
        }
        if !print_groups(&merge.take_due(Instant::now()), arguments.json)? {
            return Ok(());
        }
    }
}

/// `false` when nobody reads it any more (`roomcast tail | head`).
fn print_groups(groups: &[Vec<Line>], json: bool) -> Result<bool, Failure> {
    for (number, line) in groups.iter().flat_map(|group| group.iter().enumerate()) {
        let text = if json {
            line.raw.clone()
        } else {
            show::text(line, number > 0)
        };
        match writeln!(io::stdout(), "{text}") {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => {
                return Err(Failure::unavailable(format!(
                    "cannot write to standard output: {error}"
                )));
            }
        }
    }
    Ok(true)
}

/// What is said about the nodes themselves does not stand among their lines.
fn note_down(note: &str) {
    let _ = writeln!(io::stderr(), "roomcast: {note}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_arrives_as_it_is() {
        let text = "a&b=c d*é:%";
        let read: Vec<_> = crate::query::pairs(&format!("room={}", escaped(text))).collect();
        assert_eq!(read, [("room".to_owned(), text.to_owned())]);
    }
}
