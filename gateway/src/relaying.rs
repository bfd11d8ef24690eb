//! The way from a session to other clients: what it needs to know of the cluster.

use adapter_redis::{Cluster, Phase, Relay, Relayed};

/// Hands events of clients to other clients. Never waits.
pub(crate) trait Relaying: Send + Sync + 'static {
    fn relay(&self, relay: Relay, phase: Phase) -> Relayed;
}

impl Relaying for Cluster {
    fn relay(&self, relay: Relay, phase: Phase) -> Relayed {
        Cluster::relay(self, relay, phase)
    }
}

/// Reaches nobody: for tests of what does not relay.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl Relaying for Nobody {
    fn relay(&self, _: Relay, _: Phase) -> Relayed {
        Relayed {
            sockets: 0,
            at_ms: 0,
            queued: false,
        }
    }
}
