//! The node's own sockets, as the cluster sees them. The gateway implements this.

use crate::census::Census;
use crate::publication::Publication;

/// What the sockets of this node do with what arrives.
///
/// Called from the cluster's receive loop: an implementation must not block, and nothing that it does may wait for a
/// socket. It is called once for each publication that arrives, in the order of arrival.
pub trait LocalSockets: Send + Sync + 'static {
    /// Gives the event to every socket of this node that is in one of the rooms and in none of the exceptions, and
    /// answers to how many. A socket counts when the event was accepted for sending, not when the client has it.
    fn deliver(&self, publication: &Publication) -> usize;

    /// Who is connected to this node now.
    fn census(&self) -> Census;
}
