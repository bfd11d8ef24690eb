//! How many sessions may begin each second, and whose. Pure.
//!
//! The node has one bucket. Each address has a share of its own: a bucket of half the rate. Who has used its share up may
//! still take from the upper half of the node's bucket. So a flood from one address leaves half of the rate to all
//! others, and one address that is alone (a proxy that is not trusted) gets the whole rate.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Bucket, Limit, Network, Rate};

/// The most addresses that are known at a time. Only who began a session in the last two seconds is: this is full beyond
/// twenty thousand new sessions each second from as many addresses.
pub(super) const MAX_ADDRESSES: usize = 65_536;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    node: Option<Bucket>,
    addresses: HashMap<Network, Bucket>,
    swept: Option<Instant>,
}

/// No session may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooFast {
    pub(super) limit: Limit,
    pub(super) wait: Duration,
}

/// How a session was let begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Began {
    /// By the share of its address, or beyond it while nobody else needs it.
    Counted,
    /// The table of addresses was full, so that its address has no share: it came out of the upper half.
    Unknown,
}

impl Handshakes {
    /// Lets a session begin.
    ///
    /// # Errors
    /// Which limit says no, and for how long.
    pub(super) fn take(&mut self, from: Network, per_second: u32, now: Instant) -> Result<Began, TooFast> {
        let rate = Rate::per_second(per_second);
        let share = rate.half();
        self.sweep(share, now);
        let node = self.node.get_or_insert_with(|| Bucket::full(rate, now));
        let known = self.addresses.get_mut(&from);
        let mut own = known
            .as_deref()
            .copied()
            .unwrap_or_else(|| Bucket::full(share, now));
        if let Err(wait) = own.take(share, now) {
            return match node.take_upper(rate, now) {
                Ok(()) => Ok(Began::Counted),
                Err(upper) => Err(TooFast {
                    limit: Limit::HandshakesPerSecondAddress,
                    wait: wait.min(upper),
                }),
            };
        }
        if known.is_none() && self.addresses.len() >= MAX_ADDRESSES {
            return match node.take_upper(rate, now) {
                Ok(()) => Ok(Began::Unknown),
                Err(wait) => Err(TooFast {
                    limit: Limit::HandshakesPerSecond,
                    wait,
                }),
            };
        }
        // Nothing is remembered of who got nothing: a flood of addresses does not fill the table.
        node.take(rate, now).map_err(|wait| TooFast {
            limit: Limit::HandshakesPerSecond,
            wait,
        })?;
        self.addresses.insert(from, own);
        Ok(Began::Counted)
    }

    /// Forgets everything: the limit is off.
    pub(super) fn clear(&mut self) {
        if self.node.is_some() {
            *self = Handshakes::default();
        }
    }

    /// Forgets full buckets, once a second: they say no more than new ones.
    fn sweep(&mut self, share: Rate, now: Instant) {
        let is_due = self
            .swept
            .is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1));
        if is_due {
            self.swept = Some(now);
            self.addresses.retain(|_, bucket| !bucket.is_full(share, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use proptest::prelude::*;

    use super::{super::ClientAddress, *};

    fn address(number: u32) -> Network {
        ClientAddress::from(SocketAddr::from((Ipv4Addr::from_bits(number), 1))).network()
    }

    fn begun(handshakes: &mut Handshakes, from: u32, tries: usize, rate: u32, now: Instant) -> usize {
        (0..tries)
            .filter(|_| handshakes.take(address(from), rate, now).is_ok())
            .count()
    }

    /// Floods from one address for ten seconds, a thousand times each second.
    fn flood(rate: u32, mut beside: impl FnMut(&mut Handshakes, u64, Instant)) -> usize {
        let (start, mut handshakes) = (Instant::now(), Handshakes::default());
        let mut got = 0;
        for tick in 0..10_000 {
            let now = start + Duration::from_millis(tick);
            got += begun(&mut handshakes, 1, 1, rate, now);
            beside(&mut handshakes, tick, now);
        }
        got
    }

    #[test]
    fn one_address_alone_gets_the_whole_rate() {
        for rate in [1, 2, 3, 7, 10, 100] {
            let got = flood(rate, |_, _, _| ());
            let whole = rate as usize * 10;
            assert!(
                (whole..=whole + rate as usize + 1).contains(&got),
                "{rate}: {got}"
            );
        }
    }

    #[test]
    fn a_flood_from_one_address_leaves_half_of_the_rate_to_others() {
        let mut refused = 0;
        let got = flood(100, |handshakes, tick, now| {
            // Fifty others each second, each from an address of its own.
            if tick % 20 == 0 && handshakes.take(address(1000 + tick as u32), 100, now).is_err() {
                refused += 1;
            }
        });
        assert_eq!(refused, 0);
        assert!((450..=600).contains(&got), "{got}");
    }

    #[test]
    fn a_wave_from_others_finds_half_of_a_second_in_the_middle_of_a_flood() {
        let mut got = Vec::new();
        flood(100, |handshakes, tick, now| {
            if tick == 5000 {
                got.extend(
                    (0..80).map(|n| handshakes.take(address(1000 + n), 100, now).map_err(|e| e.limit)),
                );
            }
        });
        let let_in = got.iter().take_while(|r| r.is_ok()).count();
        assert!((50..=51).contains(&let_in), "{let_in}");
        assert_eq!(
            got.last(),
            Some(&Err(Limit::HandshakesPerSecond)),
            "the node's own limit"
        );
    }

    #[test]
    fn whose_fault_it_is() {
        let (now, mut handshakes) = (Instant::now(), Handshakes::default());
        assert_eq!(begun(&mut handshakes, 1, 99, 10, now), 5);
        let refused = handshakes.take(address(1), 10, now).unwrap_err();
        assert_eq!(refused.limit, Limit::HandshakesPerSecondAddress);
        assert_eq!(refused.wait, Duration::from_millis(100));
        assert_eq!(begun(&mut handshakes, 2, 99, 10, now), 5);
        let refused = handshakes.take(address(3), 10, now).unwrap_err();
        assert_eq!(refused.limit, Limit::HandshakesPerSecond);
        assert_eq!(refused.wait, Duration::from_millis(100));
        let later = now + refused.wait;
        assert!(handshakes.take(address(3), 10, later).is_ok());
    }

    #[test]
    fn who_was_refused_is_not_remembered_and_who_came_long_ago_is_forgotten() {
        let (now, mut handshakes) = (Instant::now(), Handshakes::default());
        for number in 0..1000 {
            let _ = handshakes.take(address(number), 100, now);
        }
        assert_eq!(handshakes.addresses.len(), 100);
        let later = now + Duration::from_secs(1);
        handshakes.take(address(5000), 100, later).unwrap();
        assert_eq!(handshakes.addresses.len(), 1);
        handshakes.clear();
        assert!(handshakes.addresses.is_empty() && handshakes.node.is_none());
    }

    #[test]
    fn a_full_table_still_lets_in_what_is_left_over() {
        let (now, mut handshakes) = (Instant::now(), Handshakes::default());
        let (rate, most) = (1_000_000, MAX_ADDRESSES as u32);
        for number in 0..most {
            assert_eq!(handshakes.take(address(number), rate, now), Ok(Began::Counted));
        }
        assert_eq!(handshakes.take(address(most), rate, now), Ok(Began::Unknown));
        assert_eq!(
            handshakes.take(address(0), rate, now),
            Ok(Began::Counted),
            "who is known"
        );
        assert_eq!(handshakes.addresses.len(), MAX_ADDRESSES);
        let later = now + Duration::from_secs(1);
        assert_eq!(handshakes.take(address(most), rate, later), Ok(Began::Counted));
        assert_eq!(handshakes.addresses.len(), 1, "the others are full again");
    }

    #[test]
    fn a_new_rate_holds_at_once() {
        let (now, mut handshakes) = (Instant::now(), Handshakes::default());
        assert_eq!(begun(&mut handshakes, 1, 1, 1000, now), 1);
        assert_eq!(begun(&mut handshakes, 2, 9, 4, now), 2);
        assert_eq!(begun(&mut handshakes, 3, 9, 4, now), 2);
        assert_eq!(begun(&mut handshakes, 4, 9, 4, now), 0);
    }

    proptest! {
        /// Whoever comes, no second sees more than two seconds' worth.
        #[test]
        fn the_node_is_never_asked_for_more(rate in 1_u32..40, steps in prop::collection::vec((0_u64..100, 0_u32..6), 1..300)) {
            let (start, mut handshakes) = (Instant::now(), Handshakes::default());
            let (mut at, mut got) = (0, Vec::new());
            for (wait, from) in steps {
                at += wait;
                if handshakes.take(address(from), rate, start + Duration::from_millis(at)).is_ok() {
                    got.push(at);
                }
            }
            for from in &got {
                let within = got.iter().filter(|to| (*from..from + 1000).contains(*to)).count();
                prop_assert!(within <= 2 * rate as usize + 1);
            }
        }
    }
}
