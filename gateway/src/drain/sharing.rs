//! How fast connections may be closed: what the nodes that stay can admit, shared among those that go. Pure.

/// What is known of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// New sessions that it can admit each second; `None` = it does not say.
    pub admits: Option<u64>,
    /// It is being stopped itself.
    pub is_draining: bool,
    /// Its sockets.
    pub connected: u64,
}

/// A rate, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted {
    /// Closes each second.
    pub(super) per_second: f64,
    pub(super) source: Source,
}

/// Who says how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The configuration.
    Configured,
    /// The nodes that stay.
    Others,
    /// This node, for those who are to take its clients and are not known.
    Own,
}

/// Of what others can admit this much is used: load balancers spread clients unevenly, and some come twice.
const USED: f64 = 0.8;

/// How fast this node wants to close its connections, `left` in number. `fixed` is what the configuration says, 0 =
/// nothing; `own` what a node like this one can admit, which is assumed of those who do not say.
pub(super) fn wanted(fixed: u32, own: u64, left: usize, others: &[Other]) -> Wanted {
    let (going, staying): (Vec<&Other>, Vec<&Other>) = others.iter().partition(|other| other.is_draining);
    let (per_second, source) = match staying.as_slice() {
        _ if fixed > 0 => (f64::from(fixed), Source::Configured),
        [] => (own as f64, Source::Own),
        staying => {
            let admitted: f64 = staying
                .iter()
                .map(|other| other.admits.unwrap_or(own) as f64)
                .sum();
            let theirs: f64 = going.iter().map(|other| other.connected as f64).sum();
            let mine = left as f64;
            // So all who go are ready at the same time, and each knows its share without asking.
            let share = if mine > 0.0 { mine / (mine + theirs) } else { 1.0 };
            (admitted * share * USED, Source::Others)
        }
    };
    Wanted {
        per_second: per_second.max(1.0),
        source,
    }
}

impl Source {
    /// For the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Source::Configured => "drain.rate",
            Source::Others => "other nodes",
            Source::Own => "this node",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stays(admits: Option<u64>) -> Other {
        Other {
            admits,
            is_draining: false,
            connected: 500,
        }
    }

    fn goes(connected: u64) -> Other {
        Other {
            admits: Some(0),
            is_draining: true,
            connected,
        }
    }

    #[test]
    fn who_says_how_fast() {
        use Source::{Configured, Others, Own};
        for (fixed, left, others, per_second, source) in [
            (7, 100, vec![], 7.0, Configured),
            (7, 100, vec![stays(Some(900)), goes(3)], 7.0, Configured),
            (0, 100, vec![], 50.0, Own),
            (0, 100, vec![goes(100)], 50.0, Own), // nobody stays
            (0, 100, vec![stays(Some(100)), stays(Some(200))], 240.0, Others),
            (0, 100, vec![stays(None), stays(Some(200))], 200.0, Others), // an older build
            (0, 100, vec![stays(Some(100)), goes(300)], 20.0, Others),
            (0, 0, vec![stays(Some(100)), goes(300)], 80.0, Others),
            (0, 100, vec![stays(Some(0))], 1.0, Others), // never stuck
        ] {
            let got = wanted(fixed, 50, left, &others);
            assert_eq!(got, Wanted { per_second, source }, "{fixed} {left} {others:?}");
        }
    }

    proptest! {
        /// Nodes that go at once, and see the same, together use no more than what the others can admit.
        #[test]
        fn those_who_go_share(
            staying in prop::collection::vec(10_u64..1000, 1..5),
            going in prop::collection::vec(1_u64..10_000, 1..5),
        ) {
            let together: f64 = (0..going.len())
                .map(|me| {
                    let others = going.iter().enumerate().filter(|(other, _)| *other != me);
                    let others = others.map(|(_, connected)| goes(*connected));
                    let others: Vec<_> = others.chain(staying.iter().map(|admits| stays(Some(*admits)))).collect();
                    // Each closes one a second at least.
                    wanted(0, 50, going[me] as usize, &others).per_second - 1.0
                })
                .sum();
            prop_assert!(together <= staying.iter().sum::<u64>() as f64 * USED + 1e-6);
        }
    }
}
