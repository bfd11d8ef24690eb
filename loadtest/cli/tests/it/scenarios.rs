//! What was delivered is what was due: counted, never timed.

use serde_json::Value;

use crate::node::{Node, Ran};

const CRM: &str = "whatsapp-crm.toml";

/// Of a row of the report: due, delivered.
fn row(ran: &Ran, what: &str) -> (u64, u64) {
    let rows = ran.report["deliveries"].as_array().unwrap();
    let row = rows.iter().find(|row| row["what"] == what);
    let row = row.unwrap_or_else(|| panic!("no row {what:?} in {}", ran.output));
    (row["due"].as_u64().unwrap(), row["delivered"].as_u64().unwrap())
}

/// How often goose has counted something that begins like that.
fn requests(ran: &Ran, name: &str) -> u64 {
    let rows = ran.report["requests"].as_array().unwrap();
    let named = |row: &&Value| row["name"].as_str().unwrap().starts_with(name);
    rows.iter()
        .filter(named)
        .map(|row| row["count"].as_u64().unwrap())
        .sum()
}

/// So many of six clients connect by polling.
async fn fanout(percent: u64, by_polling: u64) {
    let node = Node::start(CRM).await;
    let ran = node.run(&format!(
        "steady_fanout --users 6 --rooms 2 --rate 10 --duration 2s --polling {percent}"
    ));
    ran.delivered(20 * 3);
    let connects = (
        requests(&ran, "WEBSOCKET connect"),
        requests(&ran, "POLLING connect"),
    );
    assert_eq!(connects, (6 - by_polling, by_polling), "{}", ran.output);
    assert_eq!(requests(&ran, "POST publish"), 20);
    assert!(ran.errors.contains(" connected "), "progress: {}", ran.errors);
}

#[tokio::test]
async fn steady_fanout_reaches_everybody_by_websocket() {
    fanout(0, 0).await;
}

#[tokio::test]
async fn steady_fanout_reaches_everybody_by_polling() {
    fanout(100, 6).await;
}

#[tokio::test]
async fn steady_fanout_reaches_everybody_by_both() {
    fanout(50, 3).await;
}

#[tokio::test]
async fn user_updates_reach_one_user_each() {
    let node = Node::start(CRM).await;
    node.run("user_updates --users 6 --rate 30 --duration 2s --polling 50")
        .delivered(60);
}

#[tokio::test]
async fn chat_reaches_all_others() {
    let node = Node::start("chat.toml").await;
    let ran = node.run("chat --users 6 --rooms 2 --rate 10 --duration 2s --polling 50");
    ran.delivered(20 * 2);
    assert_eq!(
        (row(&ran, "private channel").0, row(&ran, "public channel").0),
        (24, 16)
    );
}

#[tokio::test]
async fn who_connects_in_a_storm_is_in_its_rooms() {
    let node = Node::start(CRM).await;
    let ran = node.run("connect_storm --users 12 --rooms 3 --rate 20 --polling 50");
    ran.delivered(3 * 3 * 4);
    assert_eq!(ran.figure("connected"), 12);
}

#[tokio::test]
async fn who_comes_back_in_a_wave_is_in_its_rooms() {
    let node = Node::start(CRM).await;
    let ran = node.run("reconnect_wave --users 6 --rate 10 --duration 2s --spread 500ms --polling 50");
    ran.delivered(20 * 6);
    assert_eq!(row(&ran, "after the wave"), (60, 60));
    assert_eq!(
        requests(&ran, "WEBSOCKET reconnect") + requests(&ran, "POLLING reconnect"),
        6
    );
}

#[tokio::test]
async fn one_who_reads_slowly_takes_nothing_from_the_others() {
    let node = Node::start(CRM).await;
    let ran = node.run("slow_consumer --users 5 --slow 20 --rate 60 --duration 2s --payload 20000");
    ran.delivered(60 * 5 + 60 * 4);
    assert_eq!(row(&ran, "some read slowly"), (240, 240));
    let slow = ran.report["to_slow_clients"].as_u64().unwrap();
    assert!(slow < 60, "it was not slow: it got {slow} of 60");
}

#[tokio::test]
async fn a_day_at_the_crm_loses_nothing() {
    let node = Node::start(CRM).await;
    let ran = node.run("crm_day --users 6 --rooms 2 --rate 50 --duration 2s --polling 50");
    // Of 100 publications 4 are for one user; the others, and what 10 clients begin and end to type, for a group of 3.
    ran.delivered(96 * 3 + 4 + 20 * 2);
    assert_eq!(row(&ran, "typing"), (40, 40));
}

/// Needs a Redis that may be used: `ROOMCAST_TEST_REDIS=1`, `REDIS_URL`.
#[tokio::test]
async fn what_is_published_through_redis_arrives() {
    let Some(url) = std::env::var("ROOMCAST_TEST_REDIS")
        .ok()
        .and(std::env::var("REDIS_URL").ok())
    else {
        return;
    };
    let prefix = format!("loadtest-{}", std::process::id());
    let redis = format!("[redis]\nurl = \"{url}\"\nprefix = \"{prefix}\"");
    let node = Node::start_with(CRM, &redis).await;
    let ran = node.run(&format!(
        "steady_fanout --users 4 --rate 10 --duration 2s --redis {url} --redis-prefix {prefix}"
    ));
    ran.delivered(80);
    assert_eq!(requests(&ran, "FCALL publish"), 20);
}
