//! What a backend reads of notices.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::backend::Said;
use crate::support::redis_server::RedisServer;

/// All that is in the stream.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) entries: Vec<BTreeMap<String, String>>,
    pub(super) connections: BTreeSet<String>,
}

/// What a test looks at in Redis.
pub(super) trait Reader {
    fn notices(&self) -> Read;
    /// How many connections a node has announced and not ended.
    fn announced(&self, node: &str) -> usize;
    /// The nodes that are known.
    fn table(&self) -> Vec<String>;
    /// As a survivor does first.
    fn begin_to_bury(&self, node: &str);
}

impl Reader for RedisServer {
    fn notices(&self) -> Read {
        let entries: Vec<BTreeMap<String, String>> =
            list(ask(self, &["XRANGE", "roomcast:notices", "-", "+"]))
                .into_iter()
                .map(|entry| {
                    let fields = texts(list(entry).pop().unwrap());
                    fields
                        .chunks(2)
                        .map(|pair| (pair[0].clone(), pair[1].clone()))
                        .collect()
                })
                .collect();
        let connections = entries.iter().map(|entry| entry["connection"].clone()).collect();
        Read { entries, connections }
    }

    fn announced(&self, node: &str) -> usize {
        let key = format!("roomcast:notices:{{roomcast:notices}}:of:{node}");
        list(ask(self, &["HKEYS", &key])).len()
    }

    fn table(&self) -> Vec<String> {
        texts(ask(self, &["HKEYS", NODES]))
    }

    fn begin_to_bury(&self, node: &str) {
        let Said::Text(was) = ask(self, &["HGET", NODES, node]) else {
            panic!("{node} is not known");
        };
        let (_, rest) = was.split_once(' ').unwrap();
        ask(self, &["HSET", NODES, node, &format!("0 {rest}")]);
    }
}

const NODES: &str = "roomcast:notices:{roomcast:notices}:nodes";

impl Read {
    pub(super) fn connects(&self) -> usize {
        self.of("connect").count()
    }

    pub(super) fn ends(&self) -> usize {
        self.of("disconnect").count()
    }

    /// Every connection has one connect and at most one disconnect behind it, and so many have none.
    pub(super) fn assert_paired(&self, open: usize) {
        let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for entry in &self.entries {
            seen.entry(&entry["connection"]).or_default().push(&entry["type"]);
        }
        let live = seen.values().filter(|types| **types == ["connect"]).count();
        let over = seen
            .values()
            .filter(|types| **types == ["connect", "disconnect"])
            .count();
        let odd: Vec<_> = seen
            .iter()
            .filter(|(_, types)| **types != ["connect"] && **types != ["connect", "disconnect"])
            .collect();
        assert_eq!((live, live + over), (open, seen.len()), "odd: {odd:?}");
    }

    fn of(&self, kind: &'static str) -> impl Iterator<Item = &BTreeMap<String, String>> {
        self.entries.iter().filter(move |entry| entry["type"] == kind)
    }
}

fn ask(server: &RedisServer, command: &[&str]) -> Said {
    server.backend().ask(command)
}

fn list(said: Said) -> Vec<Said> {
    match said {
        Said::List(parts) => parts,
        other => panic!("no list: {other:?}"),
    }
}

fn texts(said: Said) -> Vec<String> {
    let text = |said| match said {
        Said::Text(text) => text,
        other => panic!("no text: {other:?}"),
    };
    list(said).into_iter().map(text).collect()
}
