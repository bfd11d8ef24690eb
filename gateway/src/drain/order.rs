//! In which order connections are closed: who has been idle for longest misses least. Pure.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Those who are left, whoever has been idle for longest first. `A` is how recently one was used.
///
/// They go on being used while they wait. It is looked at again when somebody's turn has come, and not before, so that
/// nothing has to be told to this.
#[derive(Debug)]
pub(super) struct LongestIdle<S, A>(BinaryHeap<Reverse<(A, S)>>);

impl<S: Copy + Ord, A: Copy + Ord> LongestIdle<S, A> {
    pub(super) fn of(all: impl IntoIterator<Item = (S, A)>) -> LongestIdle<S, A> {
        LongestIdle(all.into_iter().map(|(one, used)| Reverse((used, one))).collect())
    }

    /// Takes the next one out. `now` says how recently one was used, and `None` of one who is gone.
    pub(super) fn next(&mut self, now: impl Fn(S) -> Option<A>) -> Option<S> {
        while let Some(Reverse((used, one))) = self.0.pop() {
            match now(one) {
                None => {}
                Some(latest) if latest > used => self.0.push(Reverse((latest, one))),
                Some(_) => return Some(one),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_was_used_meanwhile_waits_and_who_is_gone_is_left_out() {
        let mut used = BTreeMap::from([('a', 1), ('b', 2), ('c', 3), ('d', 4)]);
        let mut left = LongestIdle::of(used.clone());
        used.insert('b', 9);
        used.remove(&'c');
        let next = |left: &mut LongestIdle<char, i32>, used: &BTreeMap<char, i32>| {
            left.next(|one| used.get(&one).copied())
        };
        assert_eq!(next(&mut left, &used), Some('a'));
        assert_eq!(next(&mut left, &used), Some('d'));
        used.insert('b', 10);
        assert_eq!(next(&mut left, &used), Some('b'));
        assert_eq!(next(&mut left, &used), None);
    }

    proptest! {
        /// Whoever is used when: each comes once, and nobody before one who had been idle for longer at that moment.
        #[test]
        fn nobody_comes_before_one_who_was_idle_for_longer(
            mut used in prop::collection::vec(0_u32..20, 0..30),
            events in prop::collection::vec(prop::option::of((0_usize..30, 0_u32..5)), 0..90),
        ) {
            let mut left = LongestIdle::of(used.clone().into_iter().enumerate());
            let (mut came, mut clock) = (Vec::new(), 20);
            for event in events.into_iter().chain(std::iter::repeat_n(None, 30)) {
                if let Some((who, passed)) = event {
                    clock += passed;
                    if let Some(used) = used.get_mut(who) {
                        *used = clock;
                    }
                    continue;
                }
                let Some(one) = left.next(|one| used.get(one).copied()) else { continue };
                came.push(one);
                let idlest = (0..used.len()).filter(|other| !came.contains(other)).map(|other| used[other]).min();
                prop_assert!(idlest.is_none_or(|idlest| used[one] <= idlest));
            }
            came.sort_unstable();
            prop_assert_eq!(came, (0..used.len()).collect::<Vec<_>>());
        }
    }
}
