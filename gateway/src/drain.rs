//! Stopping: refuse what is new, close what is open in a way that makes clients come back, all within a deadline.
//!
//! Never a DISCONNECT packet: the stock client takes it as "do not come back".

use tokio_util::sync::CancellationToken;

/// Whether the node is being stopped. Once begun, it does not end.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// From now on the node is not ready and refuses new sessions.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}
