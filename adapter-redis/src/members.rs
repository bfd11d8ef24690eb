//! Which other nodes live, by their heartbeats.
//!
//! Pure: the time is a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::node::NodeId;

/// The other nodes of the cluster that were heard of lately.
#[derive(Debug)]
pub(crate) struct Members {
    timeout: Duration,
    heard: BTreeMap<NodeId, Instant>,
}

impl Members {
    /// Nobody yet; a node counts as dead when nothing was heard of it for `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            heard: BTreeMap::new(),
        }
    }

    /// A heartbeat of a node. Whether the node is a new one.
    pub(crate) fn heartbeat(&mut self, id: &NodeId, now: Instant) -> bool {
        self.heard.insert(id.clone(), now).is_none()
    }

    /// Anything else of a node: it lives, but it is no member by that, since it may have said goodbye before.
    pub(crate) fn sign_of_life(&mut self, id: &NodeId, now: Instant) {
        if let Some(heard) = self.heard.get_mut(id) {
            *heard = now;
        }
    }

    /// A node left. Whether it was a member.
    pub(crate) fn remove(&mut self, id: &NodeId) -> bool {
        self.heard.remove(id).is_some()
    }

    /// Forgets the nodes that were silent for too long, and says which.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<NodeId> {
        let timeout = self.timeout;
        self.heard
            .extract_if(.., |_, heard| now.saturating_duration_since(*heard) >= timeout)
            .map(|(id, _)| id)
            .collect()
    }

    /// The nodes that live, sorted.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &NodeId> {
        self.heard.keys()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(2_500);

    fn node(number: u8) -> NodeId {
        NodeId::parse(&format!("node-{number:0>11}")).unwrap()
    }

    #[test]
    fn a_silent_node_dies_at_the_timeout_and_not_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut members = Members::new(TIMEOUT);
        assert!(members.heartbeat(&node(1), at(0)));
        assert!(members.heartbeat(&node(2), at(0)));
        assert!(!members.heartbeat(&node(1), at(1_000)));
        assert_eq!(members.expire(at(2_499)), []);
        assert_eq!(members.expire(at(2_500)), [node(2)]);
        members.sign_of_life(&node(1), at(3_000));
        assert_eq!(members.expire(at(5_499)), []);
        assert_eq!(members.expire(at(5_500)), [node(1)]);
        assert!(members.heartbeat(&node(1), at(6_000)), "who comes back is new");
    }

    #[test]
    fn who_said_goodbye_is_gone_until_its_next_heartbeat() {
        let now = Instant::now();
        let mut members = Members::new(TIMEOUT);
        members.heartbeat(&node(1), now);
        assert!(members.remove(&node(1)));
        assert!(!members.remove(&node(1)));
        members.sign_of_life(&node(1), now);
        assert_eq!(members.alive().count(), 0);
    }

    #[test]
    fn a_clock_that_seems_to_go_backwards_kills_nobody() {
        let now = Instant::now();
        let mut members = Members::new(TIMEOUT);
        members.heartbeat(&node(1), now + Duration::from_secs(60));
        assert_eq!(members.expire(now), []);
    }

    proptest! {
        /// Against the plain reading of the rule: alive is who had a heartbeat within the timeout and no goodbye since.
        #[test]
        fn alive_is_who_was_heard(events in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u64..2_000), 0..60)) {
            let start = Instant::now();
            let mut now = start;
            let mut members = Members::new(TIMEOUT);
            let mut last = BTreeMap::new();
            for (id, kind, wait) in events {
                now += Duration::from_millis(wait);
                members.expire(now);
                last.retain(|_, heard| now - *heard < TIMEOUT);
                if kind == 0 {
                    members.remove(&node(id));
                    last.remove(&node(id));
                } else {
                    members.heartbeat(&node(id), now);
                    last.insert(node(id), now);
                }
                let alive: BTreeSet<_> = members.alive().cloned().collect();
                prop_assert_eq!(alive, last.keys().cloned().collect::<BTreeSet<_>>());
            }
        }
    }
}
