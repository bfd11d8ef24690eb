//! A run that must not be believed says so, and why; a threshold that is missed is another matter.

use crate::node::{Node, Ran};

const CRM: &str = "whatsapp-crm.toml";
const SHORT: &str = "--users 4 --rate 10 --duration 500ms";

/// Whoever tries is refused.
const NO_POLLING: &str = "[engine]\ntransports = [\"websocket\"]";

#[track_caller]
fn doubted(ran: &Ran, why: &str) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.output.contains("NOT TO BE BELIEVED"), "{}", ran.output);
    let doubts = ran.report["verdict"]["doubts"].as_array().unwrap();
    let found = doubts.iter().any(|doubt| doubt.as_str().unwrap().contains(why));
    assert!(found, "{why:?} is not among {doubts:?}");
}

#[tokio::test]
async fn clients_that_do_not_get_in() {
    let node = Node::start_with(CRM, NO_POLLING).await;
    let some = node.run(&format!("steady_fanout {SHORT} --polling 50 --grace 1s"));
    doubted(&some, "2 of 4 clients could not connect");
    let nobody = node.run(&format!("steady_fanout {SHORT} --polling 100"));
    doubted(&nobody, "4 of 4 clients could not connect");
    doubted(&nobody, "nothing was sent");
}

#[tokio::test]
async fn a_saturated_generator() {
    let node = Node::start(CRM).await;
    doubted(
        &node.run(&format!("steady_fanout {SHORT} --max-lag 1us")),
        "saturated: 1 in 100",
    );
    doubted(
        &node.run(&format!("steady_fanout {SHORT} --max-cpu 0.001")),
        "saturated: it used",
    );
}

#[tokio::test]
async fn more_than_was_due() {
    let node = Node::start(CRM).await;
    // All users have this account, and so are in the room of the first one, too.
    let ran = node.run("user_updates --users 4 --rate 20 --duration 500ms --claim account_id=load-0");
    doubted(&ran, "more was delivered than was due");
}

#[tokio::test]
async fn a_run_that_was_interrupted() {
    let node = Node::start(CRM).await;
    let running = node
        .begin("steady_fanout --users 4 --rate 10 --duration 5m")
        .await;
    running.interrupt();
    doubted(&running.end(), "interrupted");
}

#[tokio::test]
async fn a_node_that_goes_down_is_no_doubt() {
    let mut node = Node::start(CRM).await;
    let running = node
        .begin("steady_fanout --users 4 --rate 10 --duration 6s --polling 50 --grace 1s")
        .await;
    node.kill();
    let ran = running.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.figure("lost"), 4, "{}", ran.output);
    assert!(ran.figure("delivered") < ran.figure("due"), "{}", ran.output);
    assert!(ran.figure("publish_failed") > 0, "{}", ran.output);
}

#[tokio::test]
async fn thresholds_that_are_missed() {
    let node = Node::start(CRM).await;
    let met = node.run(&format!(
        "steady_fanout {SHORT} --fail-if missing>0 --fail-if p99_ms>3600000"
    ));
    met.delivered(20);
    let missed = node.run(&format!(
        "steady_fanout {SHORT} --fail-if missing<1 --fail-if p99_ms>0"
    ));
    assert_eq!(missed.code, Some(1), "{missed:?}");
    assert_eq!(missed.report["verdict"]["missed"].as_array().unwrap().len(), 2);
    assert!(
        missed.output.contains("Threshold missed: missing<1: it is 0."),
        "{}",
        missed.output
    );
}
