//! The task that keeps a link to Redis for as long as the bus lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::{Failure, Shared, link};
use crate::bus::BusState;

/// Runs the keeper, and runs it again should it panic: a bug there, or in fred, must not leave a node deaf that believes
/// to be connected.
pub(super) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let pause = shared.config.reconnect_max;
    let run = || Keeper::new(Arc::clone(&shared)).run(stop.clone());
    let panicked = || shared.lost(BusState::Reconnecting);
    again_after_panic(run, panicked, pause).await;
}

async fn again_after_panic<F>(run: impl Fn() -> F, panicked: impl Fn(), pause: Duration)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new();
        task.spawn(run());
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                panicked();
                tracing::error!(%error, "the task that keeps the link to Redis failed; it begins anew");
                sleep(pause).await;
            }
            _ => return,
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    backoff: Backoff,
    address: String,
    was_connected: bool,
    /// What was said last about there being no link, so that it is said once and not with every attempt.
    said: Option<String>,
}

impl Keeper {
    fn new(shared: Arc<Shared>) -> Self {
        let backoff = Backoff::new(shared.config.reconnect_min, shared.config.reconnect_max);
        let address = shared.config.address();
        Self {
            shared,
            backoff,
            address,
            was_connected: false,
            said: None,
        }
    }

    /// Makes links, one after the other, until it is told to stop.
    async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                ended = link::run(&shared, &stop, || self.connected()) => ended,
                // While it is being made; afterwards it ends by itself, in good order.
                () = stopped_early(&shared, &stop) => break,
            };
            if stop.is_cancelled() {
                break;
            }
            // A link that breaks at once is no reason to try again at once.
            if ended
                .lasted
                .is_some_and(|lasted| lasted >= self.shared.config.reconnect_max)
            {
                self.backoff.reset();
            }
            let pause = self.failed(&ended.failure);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        self.shared.lost(BusState::Reconnecting);
    }

    fn connected(&mut self) {
        tracing::info!(redis = self.address, "connected to Redis");
        (self.was_connected, self.said) = (true, None);
    }

    /// Says that there is no link, and for how long to wait.
    fn failed(&mut self, failure: &Failure) -> Duration {
        self.shared.lost(match (failure.refused, self.was_connected) {
            (true, _) => BusState::Failed,
            (false, true) => BusState::Reconnecting,
            (false, false) => BusState::Connecting,
        });
        let mut chance = [0; 4];
        // Without randomness all pauses are as short as they may be, which is no harm to this node.
        let _ = getrandom::fill(&mut chance);
        let pause = self.backoff.pause(u32::from_ne_bytes(chance));
        if self.said.as_deref() == Some(&failure.why) {
            tracing::debug!(
                redis = self.address,
                why = failure.why,
                ?pause,
                "still no link to Redis"
            );
        } else if failure.refused {
            tracing::error!(
                redis = self.address,
                why = failure.why,
                "Redis refuses the link; trying again until somebody mends it there"
            );
            self.said = Some(failure.why.clone());
        } else {
            tracing::warn!(
                redis = self.address,
                why = failure.why,
                "no link to Redis; trying again until there is one"
            );
            self.said = Some(failure.why.clone());
        }
        pause
    }
}

async fn stopped_early(shared: &Shared, stop: &CancellationToken) {
    stop.cancelled().await;
    if *shared.state.borrow() == BusState::Connected {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_not_the_end() {
        let (runs, panics) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
        let run = || {
            let runs = Arc::clone(&runs);
            async move {
                assert!(runs.fetch_add(1, Ordering::Relaxed) >= 2, "the first two fail");
            }
        };
        let panicked = || {
            panics.fetch_add(1, Ordering::Relaxed);
        };
        let start = Instant::now();
        again_after_panic(run, panicked, Duration::from_secs(5)).await;
        assert_eq!(
            (runs.load(Ordering::Relaxed), panics.load(Ordering::Relaxed)),
            (3, 2)
        );
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
