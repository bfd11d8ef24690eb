//! Which rooms are held, and how far the bus is with each.
//!
//! The time is a parameter, and nobody is woken here: who has to be is handed out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Refused;
use crate::room::RoomName;

/// How soon at the earliest a room is looked at again that cannot be left yet.
const AGAIN: Duration = Duration::from_millis(10);

/// Who waits for a room.
pub(super) type Waiters = Vec<oneshot::Sender<Result<(), Refused>>>;

/// All rooms that are held, or were until a moment ago.
#[derive(Default)]
pub(super) struct Table {
    rooms: HashMap<RoomName, Entry>,
    /// What has to be subscribed to, in the order of asking. Names that are not wanted any more may be among them.
    wanted: VecDeque<RoomName>,
    /// What nobody holds any more, with the time to leave it; each room at most once.
    idle: VecDeque<(Instant, RoomName)>,
    /// How many subscriptions are with the bus.
    asked: usize,
    link: Link,
}

/// The answer to [`Table::enter`].
pub(super) struct Entered {
    /// The room, with the name that all holders share.
    pub(super) room: RoomName,
    /// The bus has to be asked.
    pub(super) ask: bool,
    /// What to wait for; `None` when the room is live.
    pub(super) waits: Option<oneshot::Receiver<Result<(), Refused>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Link {
    /// There is none: whoever enters a room does so at once, and it is subscribed to when there is one.
    #[default]
    Down,
    /// One is being made: likewise, and what is wanted is collected for it.
    Opening,
    Up,
    /// What is asked is granted without anybody being asked: the bus inside one process.
    Instant,
}

#[derive(Default)]
struct Entry {
    holders: usize,
    state: State,
    waiters: Waiters,
    /// Since when nobody holds it.
    idle_since: Option<Instant>,
    in_idle_queue: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Wanted,
    Asked,
    Live,
    /// Asked again when the next one enters it, and with the next link.
    Refused,
}

impl Table {
    /// One more holds the room.
    pub(super) fn enter(&mut self, room: &RoomName) -> Entered {
        let (room, is_new) = match self.rooms.get_key_value(room.as_str()) {
            Some((name, _)) => (name.clone(), false),
            None => (room.clone(), true),
        };
        let entry = self.rooms.entry(room.clone()).or_default();
        entry.holders += 1;
        entry.idle_since = None;
        if self.link == Link::Instant {
            entry.state = State::Live;
        }
        let ask = match (entry.state, self.link) {
            (_, Link::Down) | (State::Asked | State::Live, _) => false,
            (State::Wanted, _) => is_new,
            (State::Refused, _) => {
                entry.state = State::Wanted;
                true
            }
        };
        let waits = if entry.state == State::Live || self.link != Link::Up {
            None
        } else {
            let (waiter, waits) = oneshot::channel();
            entry.waiters.push(waiter);
            Some(waits)
        };
        if ask {
            self.wanted.push_back(room.clone());
        }
        Entered { room, ask, waits }
    }

    /// One holds the room no longer. Whether that is the first room to be left after `linger`.
    pub(super) fn leave(&mut self, room: &RoomName, now: Instant, linger: Duration) -> bool {
        let Some(entry) = self.rooms.get_mut(room.as_str()) else {
            return false;
        };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders > 0 {
            return false;
        }
        if matches!(self.link, Link::Down | Link::Instant) {
            self.rooms.remove(room.as_str());
            return false;
        }
        entry.idle_since = Some(now);
        if entry.in_idle_queue {
            return false;
        }
        entry.in_idle_queue = true;
        self.idle.push_back((now + linger, room.clone()));
        self.idle.len() == 1
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// The room of that name, if somebody holds it.
    pub(super) fn held(&self, name: &str) -> Option<RoomName> {
        let (room, entry) = self.rooms.get_key_value(name)?;
        (entry.holders > 0).then(|| room.clone())
    }

    pub(super) fn is_live(&self, name: &str) -> bool {
        self.rooms
            .get(name)
            .is_some_and(|entry| entry.state == State::Live)
    }

    /// The rooms that the bus is subscribed to.
    pub(super) fn live(&self) -> Vec<RoomName> {
        let live = self.rooms.iter().filter(|(_, entry)| entry.state == State::Live);
        live.map(|(room, _)| room.clone()).collect()
    }

    /// Up to `most` rooms to subscribe to, which are then with the bus.
    pub(super) fn take_wanted(&mut self, most: usize) -> Vec<RoomName> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(room) = self.wanted.pop_front()
        {
            if let Some(entry) = self.rooms.get_mut(&room)
                && entry.state == State::Wanted
            {
                entry.state = State::Asked;
                self.asked += 1;
                taken.push(room);
            }
        }
        taken
    }

    /// Up to `most` rooms to leave by now, which are then forgotten; and when to ask again.
    pub(super) fn take_idle(
        &mut self,
        now: Instant,
        linger: Duration,
        most: usize,
    ) -> (Vec<RoomName>, Option<Instant>) {
        let mut left = Vec::new();
        while left.len() < most
            && let Some((_, room)) = self.idle.pop_front_if(|(due, _)| *due <= now)
        {
            let Some(entry) = self.rooms.get_mut(&room) else {
                continue;
            };
            entry.in_idle_queue = false;
            let again = match entry.idle_since.map(|since| since + linger) {
                None => continue,
                Some(due) if due > now => due,
                // Its answer is on the way, and must not be taken for that to a later question.
                Some(_) if entry.state == State::Asked => now + linger.max(AGAIN),
                Some(_) => {
                    let subscribed = entry.state == State::Live;
                    self.rooms.remove(&room);
                    if subscribed {
                        left.push(room);
                    }
                    continue;
                }
            };
            entry.in_idle_queue = true;
            self.idle.push_back((again, room));
        }
        (left, self.idle.front().map(|(due, _)| *due))
    }

    /// The bus is subscribed to the room. Without effect when nobody asked.
    pub(super) fn confirmed(&mut self, name: &str) -> Waiters {
        self.answered(name, State::Live)
    }

    /// The bus refuses the room. Those who wait give it up; those that entered without a link stay in it.
    pub(super) fn refused(&mut self, name: &str) -> Waiters {
        self.answered(name, State::Refused)
    }

    fn answered(&mut self, name: &str, state: State) -> Waiters {
        match self.rooms.get_mut(name) {
            Some(entry) if entry.state == State::Asked => {
                entry.state = state;
                self.asked -= 1;
                std::mem::take(&mut entry.waiters)
            }
            _ => Vec::new(),
        }
    }

    /// The bus has lost the subscription, which is wanted again. `None` when there was none; else whether it is held.
    pub(super) fn lost(&mut self, name: &str) -> Option<bool> {
        let (room, _) = self.rooms.get_key_value(name)?;
        let room = room.clone();
        let entry = self.rooms.get_mut(name)?;
        if entry.state != State::Live {
            return None;
        }
        entry.state = State::Wanted;
        let held = entry.holders > 0;
        self.wanted.push_back(room);
        Some(held)
    }

    /// There is no link any more: nobody waits longer.
    pub(super) fn link_down(&mut self) -> Waiters {
        let mut waiters = Vec::new();
        self.link = Link::Down;
        self.asked = 0;
        self.wanted = VecDeque::new();
        self.idle = VecDeque::new();
        self.rooms.retain(|_, entry| {
            waiters.append(&mut entry.waiters);
            entry.state = State::Wanted;
            entry.in_idle_queue = false;
            entry.holders > 0
        });
        waiters
    }

    /// A link is being made, which everything is wanted of.
    pub(super) fn link_opening(&mut self) {
        self.link = Link::Opening;
        self.wanted = self.rooms.keys().cloned().collect();
    }

    /// There is a link, unless something is still to be subscribed to or confirmed.
    pub(super) fn try_link_up(&mut self) -> bool {
        let complete = self.link != Link::Down && self.wanted.is_empty() && self.asked == 0;
        if complete {
            self.link = Link::Up;
        }
        complete
    }

    /// From now on whatever is wanted is granted at once.
    pub(super) fn link_instant(&mut self) -> Waiters {
        let waiters = self.link_down();
        self.link = Link::Instant;
        self.rooms
            .values_mut()
            .for_each(|entry| entry.state = State::Live);
        waiters
    }

    /// There is a link that is not served by itself (for tests).
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn link_up(&mut self) {
        self.link = Link::Up;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const LINGER: Duration = Duration::from_secs(5);
    const ALL: usize = usize::MAX;

    fn room(number: u8) -> RoomName {
        RoomName::new(&format!("r{number}")).unwrap()
    }

    fn up() -> Table {
        let mut table = Table::default();
        table.link_up();
        table
    }

    #[test]
    fn the_first_asks_and_all_wait_for_the_same_answer() {
        let mut table = up();
        let (first, second) = (table.enter(&room(1)), table.enter(&room(1)));
        assert_eq!((first.ask, second.ask), (true, false));
        assert!(first.waits.is_some() && second.waits.is_some());
        assert_eq!(table.take_wanted(ALL), [room(1)]);
        assert_eq!(table.confirmed("r1").len(), 2);
        assert!(table.enter(&room(1)).waits.is_none(), "it is live");
        assert!(table.confirmed("r1").is_empty(), "once");
    }

    #[test]
    fn a_room_is_left_when_nobody_came_back_in_time() {
        let (mut table, start) = (up(), Instant::now());
        table.enter(&room(1));
        table.take_wanted(ALL);
        table.confirmed("r1");
        assert!(table.leave(&room(1), start, LINGER), "the first to be left");
        assert_eq!(
            table.take_idle(start, LINGER, ALL),
            (vec![], Some(start + LINGER))
        );
        // Somebody comes and goes: the time begins anew, and the room is in the queue once.
        assert!(table.enter(&room(1)).waits.is_none());
        let later = start + LINGER / 2;
        assert!(!table.leave(&room(1), later, LINGER));
        assert_eq!(
            table.take_idle(start + LINGER, LINGER, ALL),
            (vec![], Some(later + LINGER))
        );
        assert_eq!(
            table.take_idle(later + LINGER, LINGER, ALL),
            (vec![room(1)], None)
        );
        assert_eq!(table.len(), 0);
        assert!(table.enter(&room(1)).ask, "a new one asks again");
    }

    #[test]
    fn what_is_with_the_bus_is_not_left_before_it_answered() {
        let (mut table, start) = (up(), Instant::now());
        table.enter(&room(1));
        table.take_wanted(ALL);
        table.leave(&room(1), start, Duration::ZERO);
        let (left, again) = table.take_idle(start, Duration::ZERO, ALL);
        assert_eq!((left, again), (vec![], Some(start + AGAIN)));
        table.confirmed("r1");
        assert_eq!(table.take_idle(start + AGAIN, Duration::ZERO, ALL).0, [room(1)]);
    }

    #[test]
    fn what_was_refused_is_asked_again_by_the_next_one() {
        let mut table = up();
        table.enter(&room(1));
        table.take_wanted(ALL);
        assert_eq!(table.refused("r1").len(), 1);
        assert!(table.try_link_up(), "nothing is left to wait for");
        assert!(table.enter(&room(1)).ask);
        assert_eq!(table.take_wanted(ALL), [room(1)]);
    }

    #[test]
    fn without_a_link_nobody_waits_and_nothing_piles_up() {
        let mut table = Table::default();
        for _ in 0..1_000 {
            assert!(table.enter(&room(1)).waits.is_none());
            table.leave(&room(1), Instant::now(), LINGER);
        }
        assert!(table.rooms.is_empty() && table.wanted.is_empty() && table.idle.is_empty());
        table.enter(&room(2));
        table.link_opening();
        assert!(table.enter(&room(3)).waits.is_none(), "nor while it is made");
        assert!(!table.try_link_up());
        assert_eq!(table.take_wanted(ALL), [room(2), room(3)]);
        table.confirmed("r2");
        assert!(!table.try_link_up());
        table.confirmed("r3");
        assert!(table.try_link_up());
        assert_eq!(table.lost("r2"), Some(true));
        assert_eq!(table.take_wanted(ALL), [room(2)]);
    }

    proptest! {
        /// Whatever happens in whatever order: who holds a room while there is a link has it live, or it is on its way.
        #[test]
        fn no_held_room_is_forgotten(steps in proptest::collection::vec((0_u8..9, 0_u8..4), 0..200)) {
            let (mut table, mut now) = (Table::default(), Instant::now());
            let mut held = [0_usize; 4];
            let mut asked: Vec<RoomName> = Vec::new();
            for (step, number) in steps {
                let name = room(number);
                let holders = held.get_mut(usize::from(number)).unwrap();
                match step {
                    0 | 1 => {
                        table.enter(&name);
                        *holders += 1;
                    }
                    2 | 3 if *holders > 0 => {
                        table.leave(&name, now, LINGER);
                        *holders -= 1;
                    }
                    4 => asked.extend(table.take_wanted(2)),
                    5 if !asked.is_empty() => {
                        table.confirmed(asked.remove(0).as_str());
                    }
                    6 => {
                        now += LINGER / 2;
                        let (left, _) = table.take_idle(now, LINGER, ALL);
                        for room in left {
                            prop_assert_eq!(held.get(usize::from(room.as_str().as_bytes()[1] - b'0')), Some(&0));
                        }
                    }
                    7 => {
                        table.link_down();
                        asked.clear();
                        table.link_opening();
                    }
                    8 => {
                        table.try_link_up();
                    }
                    _ => {}
                }
                let in_state = |state| table.rooms.values().filter(|entry| entry.state == state).count();
                prop_assert_eq!(table.asked, in_state(State::Asked));
                prop_assert_eq!(table.asked, asked.len());
                for (number, holders) in held.iter().enumerate() {
                    let name = format!("r{number}");
                    prop_assert_eq!(table.held(&name).is_some(), *holders > 0);
                    if *holders > 0 && table.link != Link::Down {
                        let entry = table.rooms.get(name.as_str()).unwrap();
                        let on_its_way = entry.state != State::Wanted || table.wanted.iter().any(|room| room.as_str() == name);
                        prop_assert!(on_its_way, "{} is {:?}", name, entry.state);
                    }
                }
                let idle = table.rooms.values().filter(|entry| entry.in_idle_queue).count();
                prop_assert_eq!(idle, table.idle.len());
            }
        }
    }
}
