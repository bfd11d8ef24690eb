//! Stopping: refuse what is new, wait until the load balancer knows, close what is open at a pace that the other nodes can
//! take, all within a deadline.
//!
//! Never a DISCONNECT packet: the stock client takes it as "do not come back".

mod closing;
mod config;
mod metrics;
mod offer;
mod order;
mod pacing;
mod sharing;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::{
    closing::{Closing, End},
    config::{Config, KEYS},
    metrics::Metrics,
    offer::Offer,
    sharing::Other,
};

/// How far the node is with being stopped. None of it is taken back. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    begun: CancellationToken,
    hurried: CancellationToken,
    over: CancellationToken,
}

impl Drain {
    /// From now on the node is not ready and refuses new sessions. It serves those that it has.
    pub fn begin(&self) {
        self.0.begun.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    /// Nothing is to be waited for any more.
    pub fn hurry(&self) {
        self.0.hurried.cancel();
    }

    /// Waits until somebody is in a hurry.
    pub async fn hurried(&self) {
        self.0.hurried.cancelled().await;
    }

    /// Nobody is served any more.
    pub fn end(&self) {
        self.0.over.cancel();
    }

    /// Waits until nobody is served any more.
    pub async fn ended(&self) {
        self.0.over.cancelled().await;
    }
}
