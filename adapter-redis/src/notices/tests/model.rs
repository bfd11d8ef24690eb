//! Nodes and Redis, as the script has it: whatever happens to them, backends read one end for each beginning.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NODES: usize = 3;

type Name = (String, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive { expired: bool },
    Dying,
    Buried,
}

#[derive(Debug, Default, Clone)]
struct Redis {
    nodes: BTreeMap<usize, (Life, u64, u64)>,
    announced: BTreeMap<usize, BTreeSet<Name>>,
}

#[derive(Debug, Default)]
struct World {
    redis: Redis,
    saved: Option<Redis>,
    /// What a backend read: everything that was ever written.
    read: Vec<(bool, Name)>,
    nodes: Vec<Node>,
    links: u64,
    sessions: u64,
    /// Connections that only a dead node knew, and Redis has lost.
    forgotten: BTreeSet<Name>,
    /// Nothing was ever lost by Redis.
    is_exact: bool,
}

#[derive(Debug, Default)]
struct Node {
    ledger: Ledger,
    live: Vec<u64>,
    link: Option<u64>,
    killed: bool,
    /// What an earlier link sent, and Redis has not read.
    late: Vec<(u64, Batch)>,
}

impl Redis {
    fn write(&mut self, node: usize, link: u64, batch: &Batch, read: &mut Vec<(bool, Name)>) -> bool {
        match self.nodes.get_mut(&node) {
            Some((life @ Life::Alive { .. }, its, after)) if *its == link && *after == batch.after => {
                *life = Life::Alive { expired: false };
                *after += 1;
            }
            _ => return false,
        }
        let announced = self.announced.entry(node).or_default();
        for notice in &batch.notices {
            let name = (notice.about.session.to_string(), notice.number);
            match notice.what {
                What::Connected { .. } => {
                    if announced.insert(name.clone()) {
                        read.push((true, name));
                    }
                }
                What::Ended { .. } => {
                    if announced.remove(&name) {
                        read.push((false, name));
                    }
                }
            }
        }
        true
    }

    /// Reports up to `most`. Whether there is nothing left to do.
    fn bury(&mut self, me: usize, node: usize, most: usize, read: &mut Vec<(bool, Name)>) -> bool {
        let mine = self.nodes.get(&me).map(|(life, ..)| *life);
        match self.nodes.get_mut(&node) {
            Some((Life::Dying, ..)) => {}
            Some((life @ Life::Alive { expired: true }, ..))
                if me != node && mine == Some(Life::Alive { expired: false }) =>
            {
                *life = Life::Dying;
            }
            _ => return true,
        }
        let announced = self.announced.entry(node).or_default();
        for _ in 0..most {
            if let Some(name) = announced.pop_first() {
                read.push((false, name));
            }
        }
        let done = announced.is_empty();
        if done && let Some((life, ..)) = self.nodes.get_mut(&node) {
            *life = Life::Buried;
        }
        done
    }
}

impl World {
    fn new() -> World {
        World {
            nodes: (0..NODES).map(|_| Node::default()).collect(),
            is_exact: true,
            ..World::default()
        }
    }

    /// As `Notices::enter`; `steps` of it are done before the link breaks.
    fn enter(&mut self, at: usize, steps: u8) -> bool {
        for _ in 0..4 {
            let node = &mut self.nodes[at];
            self.links += 1;
            if let Some((_, link, _)) = self.redis.nodes.get_mut(&at) {
                *link = self.links;
            }
            match self.redis.nodes.get(&at).copied() {
                Some((Life::Dying, ..)) => {
                    self.redis.bury(at, at, 2, &mut self.read);
                    continue;
                }
                Some((Life::Buried, _, written)) => node.ledger.buried(written, 9),
                Some((Life::Alive { .. }, _, written)) if node.ledger.recall(written) => {}
                _ => {
                    let held: Vec<Name> = self
                        .redis
                        .announced
                        .get(&at)
                        .into_iter()
                        .flatten()
                        .cloned()
                        .collect();
                    node.ledger.lost(&held, 9);
                }
            }
            if steps == 0 {
                return false;
            }
            let entered = (Life::Alive { expired: false }, self.links, node.ledger.written());
            self.redis.nodes.insert(at, entered);
            node.link = (steps > 1).then_some(self.links);
            return node.link.is_some();
        }
        false
    }

    /// Sends a batch: 0 answered, 1 the answer is lost, 2 it is lost, 3 it comes later.
    fn send(&mut self, at: usize, fate: u8, most: usize) {
        if self.nodes[at].killed || (self.nodes[at].link.is_none() && !self.enter(at, 2)) {
            return;
        }
        let node = &mut self.nodes[at];
        let (Some(link), Some(batch)) = (node.link, node.ledger.batch(most)) else {
            return;
        };
        match fate {
            0 | 1 => {
                let done = self.redis.write(at, link, &batch, &mut self.read);
                if done && fate == 0 {
                    node.ledger.settle();
                } else {
                    node.link = None;
                }
            }
            2 => node.link = None,
            _ => {
                node.link = None;
                node.late.push((link, batch));
            }
        }
    }

    fn step(&mut self, op: (u8, usize, u8)) {
        let (kind, at, detail) = op;
        match kind {
            0..=2 if !self.nodes[at].killed => {
                self.sessions += 1;
                let key = self.nodes[at].ledger.begin(about(&format!("s{}", self.sessions)));
                self.nodes[at].live.push(key);
            }
            3 | 4 if !self.nodes[at].killed && !self.nodes[at].live.is_empty() => {
                let which = usize::from(detail) % self.nodes[at].live.len();
                let key = self.nodes[at].live.remove(which);
                self.nodes[at].ledger.end(key, "gone", 9);
            }
            5..=8 => self.send(at, detail % 4, 1 + usize::from(detail % 3)),
            9 => self.send(at, 0, 100),
            10 if !self.nodes[at].killed => {
                self.nodes[at].link = None;
                self.enter(at, detail % 3);
            }
            11 => {
                if let Some((link, batch)) = self.nodes[at].late.pop() {
                    self.redis.write(at, link, &batch, &mut self.read);
                }
            }
            12 => {
                if let Some((Life::Alive { expired }, ..)) = self.redis.nodes.get_mut(&at) {
                    *expired = true;
                }
            }
            13..=15 => {
                let me = usize::from(detail) % NODES;
                if self.nodes[me].link.is_some() && !self.nodes[me].killed {
                    self.redis.bury(me, at, usize::from(detail % 4), &mut self.read);
                }
            }
            16 if at > 0 => self.nodes[at].killed = true,
            17 if detail < 40 => self.lose(Redis::default()),
            18 => self.saved = Some(self.redis.clone()),
            19 if detail < 80 => {
                if let Some(saved) = self.saved.take() {
                    self.lose(saved);
                }
            }
            _ => {}
        }
    }

    /// Redis is another one from now on. Links do not outlive that.
    fn lose(&mut self, other: Redis) {
        self.is_exact = false;
        // What nobody alive remembers.
        let read: BTreeSet<Name> = self.read.iter().map(|(_, name)| name.clone()).collect();
        self.forgotten.extend(read);
        self.redis = other;
        for node in &mut self.nodes {
            node.link = None;
            node.late.clear();
        }
    }

    /// All is well again, and everybody goes.
    fn finish(&mut self) {
        for at in 0..NODES {
            self.nodes[at].late.clear();
            if !self.nodes[at].killed {
                self.nodes[at].ledger.end_all("stopping", 9);
                for _ in 0..300 {
                    if self.nodes[at].ledger.waiting() == 0 && self.nodes[at].link.is_some() {
                        break;
                    }
                    self.send(at, 0, 100);
                    if self.nodes[at].link.is_none() {
                        self.enter(at, 2);
                    }
                }
                assert_eq!(self.nodes[at].ledger.waiting(), 0);
            }
        }
        for at in 1..NODES {
            if let Some((Life::Alive { expired }, ..)) = self.redis.nodes.get_mut(&at) {
                *expired = true;
            }
        }
        // Somebody lives. The node 0 is never killed, and has the lease now.
        self.nodes[0].link = None;
        while !self.enter(0, 2) {}
        for dead in 1..NODES {
            while !self.redis.bury(0, dead, 2, &mut self.read) {}
        }
        assert!(
            self.redis.announced.values().all(BTreeSet::is_empty),
            "nothing stays in Redis: {:?}",
            self.redis
        );
    }

    fn check(&self) {
        let mut open: BTreeMap<&Name, (u32, u32)> = BTreeMap::new();
        for (is_connect, name) in &self.read {
            let (connects, ends) = open.entry(name).or_default();
            if *is_connect {
                *connects += 1;
            } else {
                *ends += 1;
            }
            assert!(
                *ends <= *connects || !self.is_exact,
                "{name:?} ends before it began"
            );
        }
        for (name, (connects, ends)) in open {
            if self.is_exact {
                assert_eq!((connects, ends), (1, 1), "{name:?}");
            } else if self.forgotten.contains(name) {
                // By the id of a notice it is once; of a node that died together with what Redis knew of it, there may
                // be no end.
                assert!(connects >= 1, "{name:?}");
            } else {
                assert_eq!((connects.min(1), ends.min(1)), (1, 1), "{name:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens in whatever order: every connect gets exactly one disconnect.
    #[test]
    fn every_connect_gets_one_disconnect(
        ops in proptest::collection::vec((0_u8..17, 0..NODES, any::<u8>()), 0..120),
    ) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.finish();
        world.check();
        prop_assert!(world.is_exact);
    }

    /// Also when Redis is emptied, or goes back to what it once knew: by the ids of the notices, since nobody can know what
    /// was read before.
    #[test]
    fn what_redis_loses_is_made_good_by_who_lives(
        ops in proptest::collection::vec((0_u8..20, 0..NODES, any::<u8>()), 0..120),
    ) {
        let mut world = World::new();
        for op in ops {
            if op.0 != 16 {
                world.step(op);
            }
        }
        world.finish();
        world.check();
        // Nobody was killed, so there is an end for everything that was ever read.
        for (_, name) in &world.read {
            prop_assert!(world.read.contains(&(false, name.clone())), "{name:?} never ends");
            prop_assert!(world.read.contains(&(true, name.clone())), "{name:?} never began");
        }
    }
}
