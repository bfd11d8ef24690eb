//! Rules of the house that the compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The source files with their path below `src`.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found
        .iter()
        .map(|path| {
            (
                path.strip_prefix(&root).unwrap().display().to_string(),
                fs::read_to_string(path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn only_the_redis_bus_names_fred() {
    for (file, text) in files() {
        assert!(
            file.starts_with("bus/redis") || !text.contains("fred"),
            "{file} names fred"
        );
    }
}

#[test]
fn pure_files_know_no_runtime() {
    let pure = [
        "room",
        "node",
        "channel",
        "json",
        "binary",
        "args",
        "envelope",
        "publication",
        "relay/phase",
        "census",
        "wire",
        "bus/redis/backoff",
        "notices/ledger",
    ];
    for (file, text) in files() {
        let stem = file.trim_end_matches(".rs");
        if pure
            .iter()
            .any(|name| stem == *name || stem.starts_with(&format!("{name}/")))
        {
            assert!(!text.contains("tokio"), "{file} is pure and names tokio");
            assert!(!text.contains("now()"), "{file} is pure and asks for the time");
        }
    }
}

#[test]
fn channel_names_are_made_in_one_place() {
    for (file, text) in files() {
        assert!(
            file == "channel.rs" || !text.contains("\"node:"),
            "{file} makes the name of a channel"
        );
    }
}
