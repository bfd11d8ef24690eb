//! What is due when. Pure: the time is a parameter. One entry for each session, which is taken out when it goes, so
//! nothing stays behind whatever the times are.

use std::collections::BTreeMap;

/// One entry: its time, and a number that no other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    at: u64,
    number: u64,
}

/// Entries in the order of their times; those of the same time in the order in which they came.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    entries: BTreeMap<Ticket, T>,
    number: u64,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Schedule {
            entries: BTreeMap::new(),
            number: 0,
        }
    }
}

impl<T> Schedule<T> {
    /// One more.
    pub(super) fn add(&mut self, at: u64, what: T) -> Ticket {
        let ticket = Ticket {
            at,
            number: self.number,
        };
        self.number = self.number.wrapping_add(1);
        self.entries.insert(ticket, what);
        ticket
    }

    /// One less, if it is still there.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.entries.remove(&ticket);
    }

    /// Takes out what is due, at most so many.
    pub(super) fn take_due(&mut self, now: u64, most: usize) -> Vec<(Ticket, T)> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(entry) = self.entries.first_entry()
            && entry.key().at <= now
        {
            due.push(entry.remove_entry());
        }
        due
    }

    /// When the first one is due.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(ticket, _)| ticket.at)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(schedule: &mut Schedule<char>, now: u64, most: usize) -> String {
        let due = schedule.take_due(now, most);
        due.into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let mut schedule = Schedule::default();
        let tickets = [(20, 'c'), (10, 'a'), (20, 'd'), (10, 'b'), (u64::MAX, 'z')]
            .map(|(at, what)| schedule.add(at, what));
        assert_eq!(
            (schedule.first(), taken(&mut schedule, 9, 9)),
            (Some(10), String::new())
        );
        assert_eq!(taken(&mut schedule, 10, 1), "a");
        assert_eq!(taken(&mut schedule, 30, 2), "bc");
        schedule.remove(tickets[0]);
        schedule.remove(tickets[2]);
        assert_eq!(taken(&mut schedule, 30, 9), "", "d was taken out");
        assert_eq!(taken(&mut schedule, u64::MAX, 9), "z");
        assert_eq!((schedule.first(), schedule.len()), (None, 0));
    }

    proptest! {
        /// Against a list: nothing is lost, nothing comes early or twice, and what is taken out does not come.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0_u64..50, 0_u64..4, any::<bool>()), 0..100)) {
            let (mut schedule, mut model, mut now) = (Schedule::default(), Vec::new(), 0);
            for (number, (at, passed, takes_out)) in steps.into_iter().enumerate() {
                let ticket = schedule.add(at, number);
                if takes_out {
                    schedule.remove(ticket);
                } else {
                    model.push((at, number));
                }
                now += passed;
                let due: Vec<usize> = schedule.take_due(now, usize::MAX).into_iter().map(|(_, n)| n).collect();
                let mut expected: Vec<(u64, usize)> = model.extract_if(.., |(at, _)| *at <= now).collect();
                expected.sort_unstable();
                prop_assert_eq!(due, expected.into_iter().map(|(_, n)| n).collect::<Vec<_>>());
                prop_assert_eq!(schedule.len(), model.len());
            }
        }
    }
}
