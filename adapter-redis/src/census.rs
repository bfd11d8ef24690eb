//! Counting users and rooms over all nodes without sending their names around.
//!
//! Pure. A user with sockets on two nodes is one user, so that nodes have to exchange who, and not just how many.

use crate::node::NodeId;

/// Who is connected to one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Connected sockets.
    pub connected: u64,
    /// [`Census::hash`] of every user, sorted, each once.
    pub users: Vec<u64>,
    /// [`Census::hash`] of every room with members, sorted, each once.
    pub rooms: Vec<u64>,
}

/// Who is connected to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ClusterCensus {
    /// Connected sockets.
    pub connected: u64,
    /// Different users.
    pub users: u64,
    /// Different rooms with members.
    pub rooms: u64,
    /// Whether every known node answered.
    pub complete: bool,
    /// The nodes that did not answer, sorted. Nodes that are not known because the bus is away are not listed; then
    /// `complete` is false nevertheless.
    pub missing: Vec<NodeId>,
}

impl Census {
    /// Counts what is given by name; the order and repetitions do not matter.
    pub fn of<'a>(
        connected: u64,
        users: impl IntoIterator<Item = &'a str>,
        rooms: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let hashes = |mut hashes: Vec<u64>| {
            hashes.sort_unstable();
            hashes.dedup();
            hashes
        };
        Self {
            connected,
            users: hashes(users.into_iter().map(Self::hash).collect()),
            rooms: hashes(rooms.into_iter().map(Self::hash).collect()),
        }
    }

    /// The hash under which a name is counted: the same on every node and in every build (64-bit FNV-1a, then mixed).
    ///
    /// Two names share a hash with a probability of about n²/2⁶⁵ for n names, so that counts are exact for all that
    /// anybody will notice. Names that somebody chose to collide make a count too small and do nothing else.
    #[must_use]
    pub fn hash(name: &str) -> u64 {
        let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The finalizer of MurmurHash3: FNV alone is weak in the high bits of short names.
        let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}

impl ClusterCensus {
    pub(crate) fn of(
        answers: impl IntoIterator<Item = Census>,
        complete: bool,
        missing: Vec<NodeId>,
    ) -> Self {
        let (mut connected, mut users, mut rooms) = (0_u64, Vec::new(), Vec::new());
        for answer in answers {
            connected = connected.saturating_add(answer.connected);
            users.extend(answer.users);
            rooms.extend(answer.rooms);
        }
        let different = |mut hashes: Vec<u64>| {
            hashes.sort_unstable();
            hashes.dedup();
            hashes.len() as u64
        };
        Self {
            connected,
            users: different(users),
            rooms: different(rooms),
            complete,
            missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_frozen() {
        // Nodes of different builds count together: these values must never change.
        assert_eq!(Census::hash(""), 0xefd0_1f60_ba99_2926);
        assert_eq!(Census::hash("user:42"), 0x9988_17be_e671_8248);
    }

    #[test]
    fn users_on_two_nodes_are_counted_once() {
        let one = Census::of(3, ["ann", "bob", "ann"], ["system", "user:ann"]);
        assert_eq!(one.users.len(), 2);
        assert!(one.users.is_sorted());
        let other = Census::of(2, ["bob", "cid"], ["system"]);
        let all = ClusterCensus::of([one, other], true, Vec::new());
        assert_eq!((all.connected, all.users, all.rooms), (5, 3, 2));
    }
}
