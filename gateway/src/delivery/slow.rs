//! What clients get of a publication that read too slowly, by the policy in force.

use std::hash::{BuildHasher, RandomState};

use adapter_redis::Publication;

use crate::{engine, policy, rules::Rules};

/// Looks that up.
#[derive(Debug)]
pub(super) struct Slows {
    rules: Rules,
    /// Names that somebody chooses must not meet.
    hasher: RandomState,
}

impl Slows {
    pub(super) fn new(rules: Rules) -> Slows {
        Slows {
            rules,
            hasher: RandomState::new(),
        }
    }

    /// Of events with one name in one room only the newest matters: they have one key.
    pub(super) fn of(&self, publication: &Publication) -> engine::Slow {
        if publication.volatile {
            return engine::Slow::Volatile;
        }
        match self.rules.slow(&publication.rooms) {
            None | Some((_, policy::Slow::Disconnect)) => engine::Slow::Disconnect,
            Some((_, policy::Slow::DropOldest)) => engine::Slow::DropOldest,
            Some((room, policy::Slow::Latest)) => {
                let state = (room.as_str(), publication.event.as_str());
                engine::Slow::Latest(self.hasher.hash_one(state))
            }
        }
    }
}
