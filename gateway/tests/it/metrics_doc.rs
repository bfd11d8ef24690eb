//! The tables of metrics in `docs/protocol.md` and what a node exports are the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use adapter_redis::MemoryHub;

use crate::support::{Node, http, until};

/// A metric's kind, and the names of its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

#[tokio::test]
async fn what_is_exported_is_documented_and_the_reverse() {
    let node = Node::start(&MemoryHub::new());
    let (status, text) = http(node.operations, "GET", "/metrics", &[], "").await;
    assert_eq!(status, 200);
    let section = section();
    let (exported, documented) = (exported(&text), documented(&section));
    for (name, found) in &exported {
        let row = documented.get(name);
        assert_eq!(row, Some(found), "{name} is exported; docs/protocol.md has");
    }
    for name in documented.keys() {
        assert!(
            exported.contains_key(name),
            "{name} is documented, and not exported"
        );
    }
    assert!(text.contains("# HELP process_open_fds "), "without help");
}

#[tokio::test]
async fn every_reason_of_a_drop_is_documented_and_the_reverse() {
    let node = Node::start(&MemoryHub::new());
    let (_, text) = http(node.operations, "GET", "/metrics", &[], "").await;
    let start = "roomcast_dropped_total{reason=\"";
    let exported: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(start)?.split('"').next())
        .collect();
    let section = section();
    let (_, table) = section
        .split_once("| `reason` of `roomcast_dropped_total`")
        .unwrap();
    let documented: BTreeSet<&str> = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| quoted(line.split('|').nth(1).unwrap()))
        .collect();
    assert_eq!(exported, documented);
}

/// The process' own figures are those of now.
#[tokio::test]
async fn a_process_says_what_it_takes() {
    let node = Node::start(&MemoryHub::new());
    let files = node.metric("process_open_fds ").await;
    let listeners: Vec<_> = (0..20)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    // Other tests of this process open and close files, too.
    assert!(files > 0.0 && node.metric("process_max_fds ").await >= files);
    assert!(node.metric("process_open_fds ").await >= listeners.len() as f64);
    assert!(node.metric("process_resident_memory_bytes ").await > 1_000_000.0);
    assert!(node.metric("process_start_time_seconds ").await > 1_700_000_000.0);
    assert!(node.metric("roomcast_runtime_workers ").await >= 1.0);
    assert!(node.metric("roomcast_runtime_tasks ").await >= 1.0);
}

#[tokio::test]
async fn nodes_that_know_each_other_are_counted() {
    let hub = MemoryHub::new();
    let (one, two) = (Node::start(&hub), Node::start(&hub));
    for node in [&one, &two] {
        until("both are counted", || async {
            node.metric("roomcast_nodes ").await == 2.0
        })
        .await;
    }
}

fn section() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("\n## Metrics\n").unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// From `# TYPE` lines and samples. What a distribution adds to its name is not its name.
fn exported(text: &str) -> Metrics {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut metrics: Metrics = kinds
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), (kind.to_owned(), BTreeSet::new())))
        .collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = line.split_once('{') else {
            continue;
        };
        let name = name.strip_suffix("_bucket").unwrap_or(name);
        let (_, names) = metrics.get_mut(name).unwrap();
        let labels = labels.split("\",").map(|label| label.split('=').next().unwrap());
        names.extend(labels.filter(|label| *label != "le").map(str::to_owned));
    }
    metrics
}

/// The first table: names and kinds in its first column, labels with a colon behind them in its second. A kind in
/// brackets is that of all names since the last one; what ends with `_total` is a counter.
fn documented(section: &str) -> Metrics {
    let mut metrics = Metrics::new();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
    for row in rows.skip(1).take_while(|line| line.starts_with('|')) {
        let mut columns = row.split('|').skip(1);
        let (names, meaning) = (columns.next().unwrap(), columns.next().unwrap());
        let labels: BTreeSet<String> = meaning
            .split(';')
            .filter_map(|part| part.trim().strip_prefix('`')?.split_once('`'))
            .filter(|(name, rest)| rest.starts_with([':', ',']) || (rest.is_empty() && !name.is_empty()))
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut waiting = Vec::new();
        for part in names.split(',') {
            let name = quoted(part).next().map(str::to_owned);
            waiting.extend(name);
            let kind = match part.split_once('(') {
                Some((_, kind)) => kind
                    .split([')', ';', ' '])
                    .next()
                    .unwrap()
                    .trim_end_matches('s')
                    .to_owned(),
                None if part.contains("_total`") => "counter".to_owned(),
                None => continue,
            };
            for name in waiting.drain(..) {
                metrics.insert(name, (kind.clone(), labels.clone()));
            }
        }
        assert!(waiting.is_empty(), "{waiting:?} have no kind");
    }
    metrics
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
