//! Which other nodes live, by their heartbeats.
//!
//! Pure: the time is a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::heartbeat::NodeInfo;
use crate::node::NodeId;
use crate::wire::{About, VERSION};

/// How many other nodes are known at most: more than any cluster has, and a bound for who makes up names.
const MAX_NODES: usize = 4096;

/// The other nodes of the cluster that were heard of lately.
#[derive(Debug)]
pub(crate) struct Members {
    timeout: Duration,
    heard: BTreeMap<NodeId, Member>,
}

#[derive(Debug)]
struct Member {
    heard: Instant,
    about: About,
}

impl Members {
    /// Nobody yet; a node counts as dead when nothing was heard of it for `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            heard: BTreeMap::new(),
        }
    }

    /// A heartbeat of a node. Whether the node is a new one; beyond [`MAX_NODES`] it is not taken. Who says nothing about itself is of version 1.
    pub(crate) fn heartbeat(&mut self, id: &NodeId, about: Option<About>, now: Instant) -> bool {
        if self.heard.len() >= MAX_NODES && !self.heard.contains_key(id) {
            return false;
        }
        let about = about.unwrap_or(About {
            wire: 1,
            ..About::default()
        });
        self.heard
            .insert(id.clone(), Member { heard: now, about })
            .is_none()
    }

    /// Anything else of a node: it lives, but it is no member by that, since it may have said goodbye before.
    pub(crate) fn sign_of_life(&mut self, id: &NodeId, now: Instant) {
        if let Some(member) = self.heard.get_mut(id) {
            member.heard = now;
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
            .extract_if(.., |_, member| {
                now.saturating_duration_since(member.heard) >= timeout
            })
            .map(|(id, _)| id)
            .collect()
    }

    /// The version of frames that all of them read.
    pub(crate) fn oldest_wire(&self) -> u8 {
        let wires = self.heard.values().map(|member| member.about.wire);
        wires.min().unwrap_or(VERSION).min(VERSION)
    }

    /// The nodes that live, with the version of frames that each reads.
    pub(crate) fn with_wire(&self) -> impl Iterator<Item = (&NodeId, u8)> {
        self.heard.iter().map(|(id, member)| (id, member.about.wire))
    }

    /// Whether it is one of them.
    pub(crate) fn knows(&self, id: &NodeId) -> bool {
        self.heard.contains_key(id)
    }

    /// The nodes that do not read frames of this version.
    pub(crate) fn of_wire_below(&self, version: u8) -> Vec<NodeId> {
        let old = self.with_wire().filter(|(_, wire)| *wire < version);
        old.map(|(id, _)| id.clone()).collect()
    }

    /// What they told about themselves.
    pub(crate) fn infos(&self, now: Instant) -> impl Iterator<Item = NodeInfo> {
        self.heard
            .iter()
            .map(move |(id, Member { heard, about })| NodeInfo {
                id: id.clone(),
                version: about.version.clone(),
                load: about.load,
                heard_ms_ago: u64::try_from(now.saturating_duration_since(*heard).as_millis())
                    .unwrap_or(u64::MAX),
                this: false,
            })
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
    fn who_makes_up_names_fills_no_memory() {
        let (mut members, now) = (Members::new(TIMEOUT), Instant::now());
        for _ in 0..MAX_NODES + 100 {
            members.heartbeat(&NodeId::random(), None, now);
        }
        assert_eq!(members.alive().count(), MAX_NODES);
        members.expire(now + TIMEOUT);
        assert!(members.heartbeat(&node(1), None, now), "there is room again");
    }

    #[test]
    fn a_silent_node_dies_at_the_timeout_and_not_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut members = Members::new(TIMEOUT);
        assert!(members.heartbeat(&node(1), None, at(0)));
        assert!(members.heartbeat(&node(2), None, at(0)));
        assert!(!members.heartbeat(&node(1), None, at(1_000)));
        assert_eq!(members.expire(at(2_499)), []);
        assert_eq!(members.expire(at(2_500)), [node(2)]);
        members.sign_of_life(&node(1), at(3_000));
        assert_eq!(members.expire(at(5_499)), []);
        assert_eq!(members.expire(at(5_500)), [node(1)]);
        assert!(
            members.heartbeat(&node(1), None, at(6_000)),
            "who comes back is new"
        );
    }

    #[test]
    fn who_said_goodbye_is_gone_until_its_next_heartbeat() {
        let now = Instant::now();
        let mut members = Members::new(TIMEOUT);
        members.heartbeat(&node(1), None, now);
        assert!(members.remove(&node(1)));
        assert!(!members.remove(&node(1)));
        members.sign_of_life(&node(1), now);
        assert_eq!(members.alive().count(), 0);
    }

    #[test]
    fn a_clock_that_seems_to_go_backwards_kills_nobody() {
        let now = Instant::now();
        let mut members = Members::new(TIMEOUT);
        members.heartbeat(&node(1), None, now + Duration::from_secs(60));
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
                    members.heartbeat(&node(id), None, now);
                    last.insert(node(id), now);
                }
                let alive: BTreeSet<_> = members.alive().cloned().collect();
                prop_assert_eq!(alive, last.keys().cloned().collect::<BTreeSet<_>>());
            }
        }
    }
}
