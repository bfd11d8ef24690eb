//! Which connection a session moved to when it changed from polling to a websocket. The session itself remembers
//! only the request that opened it, which came over another connection.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Peer;

/// Entries among which nobody looks for those that have ended.
const FEW: usize = 64;

/// The connections by session. Those that have ended are forgotten along the way, so there are never many more
/// than open connections.
#[derive(Debug)]
pub(super) struct Upgrades<S> {
    peers: Mutex<Table<S>>,
}

#[derive(Debug)]
struct Table<S> {
    by_session: HashMap<S, Peer>,
    /// At how many entries those that have ended are looked for.
    sweep_at: usize,
}

impl<S> Default for Upgrades<S> {
    fn default() -> Self {
        Upgrades {
            peers: Mutex::new(Table {
                by_session: HashMap::new(),
                sweep_at: FEW,
            }),
        }
    }
}

impl<S: Eq + Hash> Upgrades<S> {
    /// A session asks to move to this connection.
    pub(super) fn note(&self, session: S, peer: Peer) {
        let mut table = self.table();
        if table.by_session.len() >= table.sweep_at {
            table.by_session.retain(|_, peer| !peer.is_closed());
            table.sweep_at = (table.by_session.len() * 2).max(FEW);
        }
        table.by_session.insert(session, peer);
    }

    /// The connection that a session moved to.
    pub(super) fn of(&self, session: &S) -> Option<Peer> {
        self.table().by_session.get(session).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table<S>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_connection_counts_and_ended_ones_are_forgotten() {
        let upgrades = Upgrades::default();
        for port in 1..1000 {
            let peer = Peer::open(port);
            upgrades.note(0, Peer::open(port));
            upgrades.note(port, peer.clone());
            peer.close();
            assert!(upgrades.table().by_session.len() <= FEW + 2);
        }
        let kept = upgrades.of(&0).expect("it is open");
        assert_eq!((kept.address().port(), kept.is_closed()), (999, false));
        assert!(upgrades.of(&1).is_none());
    }
}
