//! What the script refuses, step by step.

use std::time::Duration;

use super::LIMIT;
use crate::support::backend::{Backend, Said};
use crate::support::eventually;
use crate::support::redis_server::RedisServer;

const SCRIPT: &str = include_str!("../../../src/bus/redis/notices.lua");
const STREAM: &str = "roomcast:notices";
const NODES: &str = "roomcast:notices:{roomcast:notices}:nodes";

/// Calls the script as a node does, about the sessions of `of`.
fn call(redis: &mut Backend, of: &str, args: &[&str]) -> Said {
    let announced = format!("roomcast:notices:{{roomcast:notices}}:of:{of}");
    let mut parts = vec!["EVAL", SCRIPT, "3", STREAM, NODES, &announced];
    parts.extend(args);
    redis.ask(&parts)
}

fn numbers(numbers: [i64; 3]) -> Said {
    Said::List(numbers.map(Said::Number).to_vec())
}

fn text(text: &str) -> Said {
    Said::Text(text.to_owned())
}

/// As a node that was not known, over link 0, with a lease of so many milliseconds.
fn enter(redis: &mut Backend, node: &str, lease: &str) {
    let said = call(redis, node, &["enter", node, "", "0", lease, "0"]);
    assert_eq!(said, Said::Number(1), "{node}");
}

fn connect(redis: &mut Backend, node: &str, link: &str, after: &str, lease: &str) -> Said {
    let notice = ["connect", "s:1", "5", r#"["session","s","user","ann"]"#, "0"];
    let args = [&["write", node, link, lease, after, "1000"][..], &notice].concat();
    call(redis, node, &args)
}

#[tokio::test]
async fn a_node_is_buried_by_one_that_lives_and_only_when_it_is_silent() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let redis = &mut server.backend();
    enter(redis, "a", "1");
    enter(redis, "b", "60000");
    assert_eq!(connect(redis, "b", "0", "0", "60000"), numbers([1, 0, 0]));
    let bury = |redis: &mut Backend, me| call(redis, "b", &["bury", me, "b", "1000", "s:1"]);
    assert_eq!(bury(redis, "b"), Said::Nothing, "nobody buries itself");
    // Its lease runs out with the next renewal.
    assert_eq!(
        call(redis, "b", &["write", "b", "0", "1", "1", "1000"]),
        numbers([0, 0, 0])
    );
    eventually("both are silent", LIMIT, || {
        let said = call(&mut server.backend(), "b", &["silent"]);
        matches!(said, Said::List(nodes) if nodes.len() == 2)
    })
    .await;
    assert_eq!(bury(redis, "a"), Said::Nothing, "its own lease has run out");
    assert_eq!(bury(redis, "nobody"), Said::Nothing);
    assert_eq!(
        call(redis, "a", &["write", "a", "0", "60000", "0", "1000"]),
        numbers([0, 0, 0])
    );
    assert_eq!(bury(redis, "a"), numbers([1, 0, 1]));
    assert_eq!(bury(redis, "a"), numbers([0, 0, 1]), "once");
    assert_eq!(
        connect(redis, "b", "0", "1", "1"),
        Said::Nothing,
        "it has to enter anew"
    );
    assert_eq!(redis.ask(&["XLEN", STREAM]), Said::Number(2));
}

#[tokio::test]
async fn what_was_sent_over_an_earlier_link_is_not_done() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let redis = &mut server.backend();
    assert_eq!(
        connect(redis, "a", "0", "0", "60000"),
        Said::Nothing,
        "nobody knows it"
    );
    enter(redis, "a", "60000");
    assert_eq!(
        connect(redis, "a", "0", "7", "60000"),
        Said::Nothing,
        "not the next batch"
    );
    let Said::Text(seen) = call(redis, "a", &["look", "a", "1"]) else {
        panic!("it is known");
    };
    assert_eq!(
        connect(redis, "a", "0", "0", "60000"),
        Said::Nothing,
        "not even before it enters"
    );
    assert_eq!(
        call(redis, "a", &["enter", "a", "other", "1", "60000", "0"]),
        Said::Number(0)
    );
    assert_eq!(
        call(redis, "a", &["enter", "a", &seen, "1", "60000", "0"]),
        Said::Number(1)
    );
    assert_eq!(connect(redis, "a", "1", "0", "60000"), numbers([1, 0, 0]));
    assert_eq!(
        connect(redis, "a", "1", "1", "60000"),
        numbers([0, 0, 0]),
        "it was there already"
    );
    // A node that leaves with something to report is silent at once; one that was taken for dead is remembered.
    assert_eq!(
        call(redis, "a", &["leave", "a", "0"]),
        Said::Number(0),
        "an earlier link"
    );
    assert_eq!(call(redis, "a", &["leave", "a", "1"]), Said::Number(1));
    assert_eq!(call(redis, "a", &["silent"]), Said::List(vec![text("a")]));
    enter(redis, "b", "60000");
    assert_eq!(
        call(redis, "a", &["bury", "b", "a", "1000"]),
        numbers([0, 0, 0]),
        "begun"
    );
    assert_eq!(
        connect(redis, "a", "1", "2", "60000"),
        Said::Nothing,
        "it is being buried"
    );
    assert_eq!(
        call(redis, "a", &["bury", "a", "a", "1000", "s:1"]),
        numbers([1, 0, 1]),
        "it may help"
    );
    assert_eq!(call(redis, "a", &["silent"]), Said::List(vec![]));
    // For a day.
    let old = Duration::from_hours(25).as_millis();
    let then = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() - old;
    redis.ask(&["HSET", NODES, "a", &format!("-{then} 1 2")]);
    assert_eq!(call(redis, "a", &["silent"]), Said::List(vec![]));
    assert_eq!(redis.ask(&["HKEYS", NODES]), Said::List(vec![text("b")]));
}
