//! `docs/policy.md` as a test: every policy is loaded, every command is run and says what is printed there, every
//! message becomes what is said.

use std::{fs, path::Path, time::SystemTime};

use gateway::policy::{IngestSource, Policy};
use serde_json::{Value, value::RawValue};

use crate::{cli::roomcast_in, config::Folder};

const CONFIG: &str =
    "policy = \"policy.toml\"\n[auth.jwt]\nhmac_secret = \"0123456789abcdef0123456789abcdef\"\n";

/// A fenced block: the language, the text, and the line that it begins in.
struct Block {
    language: String,
    text: String,
    line: usize,
}

fn blocks() -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(""), Some(block)) => blocks.push(block),
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                    line: number + 1,
                });
            }
            (None, Some(mut block)) => {
                block.text += &format!("{line}\n");
                open = Some(block);
            }
            (None, None) => {}
            (Some(_), Some(block)) => {
                panic!("line {}: a fence in the block of line {}", number + 1, block.line)
            }
        }
    }
    blocks
}

#[test]
fn every_example_is_true() {
    let folder = Folder::new("policy-doc");
    folder.file("roomcast.toml", CONFIG);
    let blocks = blocks();
    let (mut policies, mut commands, mut messages) = (0, 0, 0);
    let mut current = None;
    let mut rest = blocks.iter().peekable();
    while let Some(block) = rest.next() {
        let at = format!("docs/policy.md, line {}", block.line);
        match block.language.as_str() {
            "toml" => {
                policies += 1;
                folder.file("policy.toml", &block.text);
                let is_mistake = rest.peek().is_some_and(|next| next.text.contains("check-config"));
                current = Policy::parse(&block.text).ok();
                let is_fine = current
                    .as_ref()
                    .is_some_and(|policy| policy.warnings().is_empty());
                assert_eq!(is_fine, !is_mistake, "{at}: {:?}", Policy::parse(&block.text));
            }
            "console" => {
                for (command, expect) in commands_of(&block.text) {
                    commands += 1;
                    assert_eq!(run(&folder.0, command), expect, "{at}: {command}");
                }
            }
            "json" => {
                messages += 1;
                let expect = rest.next().filter(|next| next.language == "json");
                let expect = &expect.unwrap_or_else(|| panic!("{at}: what becomes of it?")).text;
                let policy = current.as_ref().unwrap();
                let sources = policy.ingest_sources();
                let [source, ..] = sources.as_slice() else {
                    panic!("{at}: nothing to take it from");
                };
                assert_eq!(ingested(policy, source, &block.text), published(expect), "{at}");
            }
            other => panic!("{at}: nobody checks blocks of {other:?}"),
        }
    }
    assert!(
        policies >= 12 && commands >= 30 && messages >= 3,
        "{policies} policies, {commands} commands, {messages} messages"
    );
}

/// Each command and all that is printed below it.
fn commands_of(text: &str) -> Vec<(&str, String)> {
    let mut commands: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("{line:?} is printed by no command"),
        }
    }
    commands
}

/// What a command prints; its exit code says the same.
fn run(folder: &Path, command: &str) -> String {
    let mut words = words(command);
    assert_eq!(words.remove(0), "roomcast");
    if words[0] == "explain" {
        words.extend(["--policy", "policy.toml"].map(str::to_owned));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = roomcast_in(folder, &words);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let first = text.lines().next().unwrap_or_default();
    let code = match words[0] {
        "explain" if first.contains(": allowed, ") => 0,
        "explain" if first.contains(": refused (") => 1,
        "check-config" if text.ends_with(": ok\n") => 0,
        _ => 64,
    };
    assert_eq!(output.status.code(), Some(code), "{command}: {text}");
    text
}

/// The words of a command as a shell sees them; single quotes are all that is needed here.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (number, part) in command.split('\'').enumerate() {
        let is_quoted = number % 2 == 1;
        let mut pieces = if is_quoted {
            vec![part]
        } else {
            part.split(' ').collect()
        }
        .into_iter();
        words
            .last_mut()
            .unwrap()
            .push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
    }
    words.retain(|word| !word.is_empty());
    words
}

type Published = Result<(String, String, String), String>;

fn ingested(policy: &Policy, source: &IngestSource, message: &str) -> Vec<Published> {
    let results = policy
        .ingest(source, message.as_bytes(), SystemTime::now())
        .into_iter();
    results
        .map(|(_, result)| match result {
            Ok(ingested) => Ok((
                ingested.room.as_str().to_owned(),
                ingested.event.as_str().to_owned(),
                without_spaces(&ingested.data),
            )),
            Err(reason) => Err(reason.as_str().to_owned()),
        })
        .collect()
}

fn published(text: &str) -> Vec<Published> {
    let items: Vec<std::collections::HashMap<String, &RawValue>> = serde_json::from_str(text).unwrap();
    let string = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).unwrap();
    items
        .into_iter()
        .map(|item| match item.get("dropped") {
            Some(reason) => Err(string(reason)),
            None => Ok((
                string(item["room"]),
                string(item["event"]),
                without_spaces(item["data"].get()),
            )),
        })
        .collect()
}

/// White space between the parts does not matter; the digits of numbers do.
fn without_spaces(json: &str) -> String {
    assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
    json.replace([' ', '\n'], "")
}
