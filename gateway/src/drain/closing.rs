//! Waiting for the load balancer, then closing what is open.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::time::{self, sleep_until};

use super::{
    Config, Drain, Metrics, Other,
    order::LongestIdle,
    pacing::{Pacing, Rate},
    sharing::{Wanted, wanted},
};
use crate::{engine::Sockets, limits::Admissions};

/// How often the other nodes are looked at anew. They speak about as often.
const LOOK: Duration = Duration::from_secs(1);

/// Why sockets are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Their turn had come.
    Paced,
    /// There was no more time.
    Deadline,
    /// Somebody was in a hurry.
    AtOnce,
}

/// Gets the clients of a node that is being stopped to go elsewhere.
pub struct Closing {
    config: Config,
    drain: Drain,
    sockets: Sockets,
    admissions: Admissions,
    others: Box<dyn Fn() -> Vec<Other> + Send + Sync>,
    metrics: Metrics,
}

impl Closing {
    /// `others` says what is known of the other nodes.
    pub fn new(
        config: Config,
        drain: Drain,
        sockets: Sockets,
        admissions: Admissions,
        others: impl Fn() -> Vec<Other> + Send + Sync + 'static,
        metrics: Metrics,
    ) -> Closing {
        let others = Box::new(others);
        Closing {
            config,
            drain,
            sockets,
            admissions,
            others,
            metrics,
        }
    }

    /// Serves on for as long as load balancers are given, or until somebody is in a hurry.
    pub async fn wait(&self, began: time::Instant) {
        tracing::info!(
            connected = self.sockets.count(),
            wait = ?self.config.patience(),
            timeout = ?self.config.timeout,
            "stopping: not ready, new sessions are refused"
        );
        tokio::select! {
            () = self.drain.hurried() => {}
            () = sleep_until(began + self.config.patience()) => {}
        }
    }

    /// Closes socket after socket until none is left. What is left at the deadline, or when somebody is in a hurry, is
    /// counted here, and for the caller to close. `began`: when the node was asked to stop.
    pub async fn run(&self, began: time::Instant) -> End {
        let deadline = began + self.config.for_clients();
        let end = tokio::select! {
            biased;
            () = self.drain.hurried() => End::AtOnce,
            () = self.close_by_and_by(deadline) => End::Paced,
            () = sleep_until(deadline) => End::Deadline,
        };
        self.metrics.rate.set(0.0);
        let (left, took) = (self.sockets.count(), began.elapsed());
        self.metrics.closed(end, left);
        match end {
            End::Paced => tracing::info!(?took, left, "all connections are closed"),
            End::Deadline => {
                tracing::warn!(
                    ?took,
                    left,
                    "some connections are open at the deadline: they are closed at once"
                );
            }
            End::AtOnce => tracing::warn!(
                ?took,
                left,
                "no time to wait for anything: all connections are closed at once"
            ),
        }
        end
    }

    async fn close_by_and_by(&self, deadline: time::Instant) {
        let deadline = deadline.into_std();
        let mut looking = Looking::begin(self, now());
        let mut pacing = Pacing::new(now());
        tracing::info!(
            connected = self.sockets.count(),
            rate = looking.rate(self, deadline).per_second,
            wanted = looking.wanted.per_second,
            by = looking.wanted.source.as_str(),
            "closing connections"
        );
        loop {
            let mut line = LongestIdle::of(self.sockets.activities());
            // Who is let in at the last moment is found by another look.
            let Some(mut next) = line.next(|one| self.sockets.activity(one)) else {
                return;
            };
            loop {
                let rate = looking.rate(self, deadline);
                self.metrics.rate.set(rate.per_second);
                let chance = getrandom::u32().unwrap_or_default();
                sleep_until(pacing.next(rate, now(), chance).into()).await;
                if self.sockets.shut_down(next).await {
                    self.metrics.closed(End::Paced, 1);
                }
                match line.next(|one| self.sockets.activity(one)) {
                    Some(another) => next = another,
                    None => break,
                }
            }
        }
    }
}

impl End {
    /// All of them.
    pub const ALL: [End; 3] = [End::Paced, End::Deadline, End::AtOnce];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Paced => "paced",
            End::Deadline => "deadline",
            End::AtOnce => "at_once",
        }
    }
}

/// How fast, by what was seen of the others last.
struct Looking {
    wanted: Wanted,
    at: Instant,
    was_forced: bool,
}

impl Looking {
    fn begin(closing: &Closing, now: Instant) -> Looking {
        Looking {
            wanted: closing.wanted(),
            at: now,
            was_forced: false,
        }
    }

    fn rate(&mut self, closing: &Closing, deadline: Instant) -> Rate {
        let now = now();
        if now.saturating_duration_since(self.at) >= LOOK {
            *self = Looking {
                wanted: closing.wanted(),
                at: now,
                ..*self
            };
        }
        let left = closing.sockets.count();
        let rate = Rate::of(
            self.wanted.per_second,
            left,
            deadline.saturating_duration_since(now),
        );
        if rate.is_forced && !self.was_forced {
            self.was_forced = true;
            tracing::warn!(
                left,
                rate = rate.per_second,
                wanted = self.wanted.per_second,
                by = self.wanted.source.as_str(),
                "closing faster than that, because `drain.timeout` leaves no more time"
            );
        }
        rate
    }
}

impl Closing {
    fn wanted(&self) -> Wanted {
        wanted(
            self.config.rate,
            self.admissions.budget(),
            self.sockets.count(),
            &(self.others)(),
        )
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn now() -> Instant {
    time::Instant::now().into_std()
}
