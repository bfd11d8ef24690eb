//! The architecture defends itself: who may name what, and documents that cannot go stale.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// All Rust files below a folder, with their text without comments.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code: Vec<&str> = text
                    .lines()
                    .filter(|l| !l.trim_start().starts_with("//"))
                    .collect();
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, code.join("\n")));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has moved");
    found
}

fn only_in(word: &str, folders: &[&str], allowed: &[&str]) {
    for (name, code) in folders.iter().flat_map(|f| sources(f)) {
        let is_allowed = allowed.iter().any(|a| name.starts_with(a));
        assert!(
            is_allowed || !code.contains(word),
            "{name} says {word:?}; only {allowed:?} may"
        );
    }
}

#[test]
fn fred_stays_behind_the_bus() {
    only_in(
        "fred::",
        &[
            "adapter-redis/src",
            "gateway/src",
            "loadtest/src",
            "loadtest/cli/src",
        ],
        &["adapter-redis/src/bus/redis", "loadtest/cli/src/backend/redis.rs"],
    );
}

#[test]
fn the_broker_stays_behind_its_queues() {
    only_in(
        "lapin::",
        &["adapter-redis/src", "gateway/src", "loadtest/src"],
        &["gateway/src/ingest/amqp"],
    );
}

#[test]
fn the_engine_knows_nothing_of_the_gateway() {
    for (name, code) in sources("gateway/src/engine") {
        let outside = code.replace("crate::engine", "");
        assert!(!outside.contains("crate::"), "{name} reaches out of the engine");
        assert!(!code.contains("adapter_redis"), "{name} knows the bus");
    }
    let seam = fs::read_to_string(root().join("gateway/src/engine.rs")).unwrap();
    assert!(!seam.contains("use crate"), "engine.rs reaches out of the engine");
    only_in("socketioxide", &["gateway/src"], &[]);
}

#[test]
fn load_and_its_client_know_nobody() {
    for word in ["gateway::", "adapter_redis", "socketioxide"] {
        only_in(
            word,
            &[
                "loadtest/src",
                "loadtest/tests",
                "loadtest/cli/src",
                "loadtest/cli/tests",
            ],
            &[],
        );
    }
    only_in(
        "goose::",
        &["loadtest/src", "loadtest/cli/src"],
        &[
            "loadtest/cli/src/attack.rs",
            "loadtest/cli/src/run.rs",
            "loadtest/cli/src/run/",
        ],
    );
    for (manifest, nobody) in [
        ("loadtest/Cargo.toml", &["gateway", "adapter-redis", "goose"][..]),
        ("loadtest/cli/Cargo.toml", &["gateway", "adapter-redis"]),
    ] {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        for name in nobody {
            assert!(
                !text.contains(&format!("\n{name}")),
                "{manifest} depends on {name}"
            );
        }
    }
}

#[test]
fn only_the_composition_root_chooses_the_bus() {
    only_in(
        "RedisBus",
        &["gateway/src"],
        &["gateway/src/app.rs", "gateway/src/cli/publish.rs"],
    );
    only_in(
        "MemoryHub",
        &["gateway/src"],
        &[
            "gateway/src/app.rs",
            "gateway/src/forwarding/tests.rs",
            "gateway/src/revocation/cluster_tests.rs",
        ],
    );
    for name in ["session", "sessions", "policy", "auth", "refusal"] {
        let code = fs::read_to_string(root().join(format!("gateway/src/{name}.rs"))).unwrap();
        assert!(!code.contains("Cluster"), "{name}.rs knows the cluster");
    }
}

#[test]
fn settings_know_no_part_and_parts_know_no_whole() {
    for (name, code) in sources("gateway/src/settings") {
        assert!(!code.contains("crate::"), "{name} reaches out of the settings");
    }
    only_in(
        "config::Config",
        &["gateway/src"],
        &[
            "gateway/src/app.rs",
            "gateway/src/cli",
            "gateway/src/dev.rs",
            "gateway/src/reload",
        ],
    );
}

#[test]
fn pure_files_do_no_io() {
    let folders = [
        "gateway/src/policy",
        "gateway/src/engine/engine_io",
        "gateway/src/engine/socket_io",
        "gateway/src/engine/websocket",
        "loadtest/cli/src/scenarios",
        "loadtest/cli/src/report",
    ];
    let pure = folders.into_iter().flat_map(sources).chain(
        [
            "gateway/src/auth/choice.rs",
            "gateway/src/auth/claims.rs",
            "gateway/src/auth/header.rs",
            "gateway/src/auth/jwks.rs",
            "gateway/src/auth/refresh.rs",
            "gateway/src/auth/credential.rs",
            "gateway/src/expiry/deadlines.rs",
            "gateway/src/expiry/schedule.rs",
            "gateway/src/refusal.rs",
            "gateway/src/query.rs",
            "gateway/src/pattern.rs",
            "gateway/src/tail/filter.rs",
            "gateway/src/tail/queue.rs",
            "gateway/src/tail/sight.rs",
            "gateway/src/cli/tail/show.rs",
            "gateway/src/drain/order.rs",
            "gateway/src/drain/pacing.rs",
            "gateway/src/drain/sharing.rs",
            "gateway/src/engine/activity.rs",
            "gateway/src/engine/backlog.rs",
            "gateway/src/engine/engine_io.rs",
            "gateway/src/engine/ids.rs",
            "gateway/src/engine/rooms.rs",
            "gateway/src/engine/socket_io.rs",
            "gateway/src/engine/websocket.rs",
            "gateway/src/limits.rs",
            "gateway/src/limits/admission.rs",
            "gateway/src/limits/bucket.rs",
            "gateway/src/limits/handshakes.rs",
            "gateway/src/session/meter.rs",
            "gateway/src/session/pace.rs",
            "gateway/src/reload/watch.rs",
            "gateway/src/revocation/set.rs",
            "gateway/src/notices/told.rs",
            "gateway/src/webhook/breaker.rs",
            "gateway/src/webhook/retry.rs",
            "gateway/src/webhook/signature.rs",
            "gateway/src/ingest/entry.rs",
            "gateway/src/ingest/amqp/pauses.rs",
            "gateway/src/ingest/amqp/uri.rs",
            "gateway/src/ingest/amqp/dead_letter.rs",
            "loadtest/cli/src/mark.rs",
            "loadtest/cli/src/measure.rs",
            "loadtest/cli/src/plan.rs",
            "loadtest/cli/src/report.rs",
            "loadtest/cli/src/scenarios.rs",
            "loadtest/cli/src/schedule.rs",
            "loadtest/cli/src/verdict.rs",
        ]
        .map(|name| {
            let text = fs::read_to_string(root().join(name)).unwrap();
            // Tests begin somewhere in time.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            (name.to_owned(), code.to_owned())
        }),
    );
    for (name, code) in pure {
        for word in ["tokio", "std::fs", "std::net", "SystemTime::now", "Instant::now"] {
            assert!(!code.contains(word), "{name} says {word}");
        }
    }
}

#[test]
fn the_reference_of_keys_is_fresh() {
    let doc = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let fresh = gateway::config::markdown();
    assert!(
        doc.trim_end() == fresh.trim_end(),
        "docs/configuration.md is stale; write it anew: cargo run -- config-doc > docs/configuration.md"
    );
}

#[test]
fn files_stay_small_enough_to_read() {
    for (name, code) in [
        "gateway/src",
        "adapter-redis/src",
        "loadtest/src",
        "loadtest/cli/src",
    ]
    .iter()
    .flat_map(|f| sources(f))
    {
        let lines = code.lines().count();
        assert!(
            lines <= 450,
            "{name} has {lines} lines of code: split it along a concept"
        );
    }
}
