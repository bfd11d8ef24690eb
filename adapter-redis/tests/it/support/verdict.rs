//! What must be true of every stream, whatever was broken meanwhile:
//!
//! - Of one publisher and one room a node sees rising numbers: nothing twice, nothing out of order. Stamps rise.
//! - What was published while a node was in the room, and Redis took, is delivered there, or lies in a gap that the
//!   node was told of after it joined.
//! - What was published without a link is seen by that node alone, and once.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use adapter_redis::Gap;

use super::nodes::Seen;
use super::numbered::{Log, Numbered, room};
use super::stream::{Stay, node_of};

pub(crate) struct Verdict {
    logs: HashMap<usize, Arc<Log>>,
    forgetful: bool,
    counts: Counts,
}

/// How much there was.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) accepted: u64,
    /// Publications whose outcome was not known at first.
    pub(crate) again: u64,
    pub(crate) local: u64,
    pub(crate) delivered: u64,
    pub(crate) gaps: u64,
    /// What was accepted and lies in a gap.
    pub(crate) missed: u64,
    /// What came twice, because Redis forgot its id.
    pub(crate) twice: u64,
}

/// What a node saw of one room.
#[derive(Default)]
struct Room {
    stamps: Vec<u64>,
    /// At which place of all that the node saw each of them is.
    places: Vec<usize>,
    /// The last number of each publisher.
    last: HashMap<usize, u64>,
    /// At which places there was a gap.
    gaps: Vec<usize>,
}

impl Verdict {
    pub(crate) fn new(logs: HashMap<usize, Arc<Log>>, forgetful: bool) -> Self {
        let mut counts = Counts::default();
        for log in logs.values() {
            let sent = log.sent.lock().unwrap();
            counts.published += sent.published;
            counts.accepted += sent.accepted.len() as u64;
            counts.again += sent.again;
            counts.local += sent.local.len() as u64;
        }
        Self {
            logs,
            forgetful,
            counts,
        }
    }

    pub(crate) fn counts(self) -> Counts {
        self.counts
    }

    /// Judges what one node saw, which was in these rooms.
    pub(crate) fn judge(&mut self, node: usize, stays: &[Stay], seen: &[Seen]) {
        let mut rooms: HashMap<_, _> = stays.iter().map(|stay| (stay.room, Room::default())).collect();
        let mut local = HashSet::new();
        // The last stamp at each place. Redis does one thing after the other, so that they rise over all rooms.
        let mut stamps = vec![0];
        for (place, seen) in seen.iter().enumerate() {
            let last = *stamps.last().unwrap();
            stamps.push(last);
            match seen {
                Seen::Gap(gap) => {
                    self.counts.gaps += 1;
                    for (number, seen_there) in &mut rooms {
                        let named = match gap {
                            Gap::All => true,
                            Gap::Rooms(named) => named.iter().any(|name| name.as_str() == room(*number)),
                        };
                        if named {
                            seen_there.gaps.push(place);
                        }
                    }
                }
                Seen::Event(publication) => {
                    let numbered = Numbered::read(publication);
                    let Some(stamp) = publication.stamp else {
                        // Whether anybody is in the room is found out by delivering it.
                        assert_eq!(node_of(numbered.publisher), node, "seen elsewhere: {numbered:?}");
                        let new = local.insert((numbered.publisher, numbered.number));
                        assert!(new, "twice without a link: {numbered:?}");
                        continue;
                    };
                    let Some(seen_there) = rooms.get_mut(&numbered.room) else {
                        panic!("node {node} was never in the room: {numbered:?}")
                    };
                    assert!(stamp > last, "stamps do not rise on node {node}: {numbered:?}");
                    *stamps.last_mut().unwrap() = stamp;
                    self.counts.delivered += 1;
                    self.counts.twice += seen_there.next(node, numbered, stamp, place, self.forgetful);
                }
            }
        }
        let own = self
            .logs
            .iter()
            .filter(|(publisher, _)| node_of(**publisher) == node);
        let expected: HashSet<_> = own
            .flat_map(|(publisher, log)| {
                let sent = log.sent.lock().unwrap();
                let local: Vec<_> = sent.local.iter().map(|number| (*publisher, *number)).collect();
                local
            })
            .collect();
        assert!(
            local == expected,
            "node {node} saw all that it published without a link"
        );
        for stay in stays {
            // What came later than the last that it saw may have been on its way still when it left.
            let last = stamps.get(stay.until).copied().unwrap_or(u64::MAX);
            self.complete(node, stay, last, &rooms[&stay.room]);
        }
    }

    /// Whether all that was published during a stay was seen, or lies in a gap that was told after joining.
    fn complete(&mut self, node: usize, stay: &Stay, last: u64, seen_there: &Room) {
        for (publisher, log) in &self.logs {
            let sent = log.sent.lock().unwrap();
            let during = sent.accepted.iter().filter(|accepted| {
                accepted.room == stay.room && accepted.began > stay.joined && accepted.stamp <= last
            });
            for accepted in during {
                let Err(next) = seen_there.stamps.binary_search(&accepted.stamp) else {
                    continue;
                };
                let before = next.checked_sub(1).map_or(0, |before| seen_there.places[before]);
                let behind = seen_there.places.get(next).copied().unwrap_or(usize::MAX);
                let told = before.max(stay.from)..behind;
                assert!(
                    seen_there.gaps.iter().any(|gap| told.contains(gap)),
                    "lost on node {node} without a gap: number {} of {publisher}, {stay:?}",
                    accepted.number
                );
                self.counts.missed += 1;
            }
        }
    }
}

impl Room {
    /// The next event; answers with how many there are too many.
    fn next(&mut self, node: usize, numbered: Numbered, stamp: u64, place: usize, forgetful: bool) -> u64 {
        self.stamps.push(stamp);
        self.places.push(place);
        let last = self.last.insert(numbered.publisher, numbered.number).unwrap_or(0);
        if forgetful && last == numbered.number {
            return 1;
        }
        assert!(
            last < numbered.number,
            "twice or out of order on node {node}: {numbered:?} after {last}"
        );
        0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            accepted,
            again,
            local,
            delivered,
            gaps,
            missed,
            twice,
        } = self;
        write!(
            f,
            "published {published}, accepted {accepted}, again {again}, local {local}, delivered {delivered}, \
             gaps {gaps}, missed in gaps {missed}, twice {twice}"
        )
    }
}
