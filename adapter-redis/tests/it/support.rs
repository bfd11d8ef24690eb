//! What the tests stand on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) mod backend;
pub(crate) mod cable;
pub(crate) mod nodes;
pub(crate) mod numbered;
pub(crate) mod proxy;
pub(crate) mod recorder;
pub(crate) mod redis_server;
pub(crate) mod scripted;
pub(crate) mod stream;
pub(crate) mod verdict;

/// Waits until `condition` holds, and fails the test when it does not in `limit`.
pub(crate) async fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Says that a test did nothing, since it looks the same as one that passed.
#[allow(clippy::print_stderr)]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether there is time for what does not fit into CI (`ROOMCAST_LONG=1`).
pub(crate) fn long() -> bool {
    std::env::var("ROOMCAST_LONG").as_deref() == Ok("1")
}
