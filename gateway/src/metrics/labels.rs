//! What there is to count by: the values of labels that no other part has a type for.

/// Why something that arrived at the gateway went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// A client's event that no rule names.
    UnknownEvent,
    /// A client's packet that is no event.
    MalformedEvent,
    /// A reply whose values could not be computed from what the client sent.
    ReplyFailed,
    /// An answer or event for one socket that was gone or full.
    SocketGone,
    /// An event for a socket whose queue was full.
    SlowConsumer,
    /// A publication for a namespace that does not exist.
    UnknownNamespace,
    /// A client's event behind a room that is being entered, when too many wait there already.
    EventQueueFull,
    /// A client's wish to enter a room, when too many clients wait for rooms.
    JoiningQueueFull,
    /// A client's event for others that was refused.
    RelayRefused,
    /// A client's event for the backend that the policy or a limit refused.
    ForwardRefused,
    /// A client's event for the backend, when too many are on their way.
    ForwardQueueFull,
    /// A client's event for the backend that failed, with nobody to tell.
    ForwardFailed,
    /// A backend's answer that nobody waits for, or not any more.
    ForwardReplyLate,
    /// The look at a user's sockets on the other nodes, when too many users wait for theirs.
    UserCheckQueueFull,
    /// The share of an address in new sessions, when too many addresses are known.
    AddressTableFull,
    /// The wait for a key that is not known, when too many wait for the same key set.
    KeyQueueFull,
}

impl Dropped {
    pub(super) const ALL: [Dropped; 16] = [
        Dropped::UnknownEvent,
        Dropped::MalformedEvent,
        Dropped::ReplyFailed,
        Dropped::SocketGone,
        Dropped::SlowConsumer,
        Dropped::UnknownNamespace,
        Dropped::EventQueueFull,
        Dropped::JoiningQueueFull,
        Dropped::RelayRefused,
        Dropped::ForwardRefused,
        Dropped::ForwardQueueFull,
        Dropped::ForwardFailed,
        Dropped::ForwardReplyLate,
        Dropped::UserCheckQueueFull,
        Dropped::AddressTableFull,
        Dropped::KeyQueueFull,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Dropped::UnknownEvent => "unknown_event",
            Dropped::MalformedEvent => "malformed_event",
            Dropped::ReplyFailed => "reply_failed",
            Dropped::SocketGone => "socket_gone",
            Dropped::SlowConsumer => "slow_consumer",
            Dropped::UnknownNamespace => "unknown_namespace",
            Dropped::EventQueueFull => "event_queue_full",
            Dropped::JoiningQueueFull => "joining_queue_full",
            Dropped::RelayRefused => "relay_refused",
            Dropped::ForwardRefused => "forward_refused",
            Dropped::ForwardQueueFull => "forward_queue_full",
            Dropped::ForwardFailed => "forward_failed",
            Dropped::ForwardReplyLate => "forward_reply_late",
            Dropped::UserCheckQueueFull => "user_check_queue_full",
            Dropped::AddressTableFull => "address_table_full",
            Dropped::KeyQueueFull => "key_queue_full",
        }
    }
}

/// What a policy that is tried out is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShadowDecision {
    /// Identity and rooms on connect.
    Connect,
    /// A room on request.
    Subscribe,
    /// An event for other clients.
    Relay,
    /// An event for the backend.
    Forward,
    /// An event that only one of the two has a rule for.
    Event,
}

impl ShadowDecision {
    pub(super) const ALL: [ShadowDecision; 5] = [
        ShadowDecision::Connect,
        ShadowDecision::Subscribe,
        ShadowDecision::Relay,
        ShadowDecision::Forward,
        ShadowDecision::Event,
    ];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            ShadowDecision::Connect => "connect",
            ShadowDecision::Subscribe => "subscribe",
            ShadowDecision::Relay => "relay",
            ShadowDecision::Forward => "forward",
            ShadowDecision::Event => "event",
        }
    }
}

/// What became of a configuration that was read while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reloaded {
    /// The node does as it says.
    Applied,
    /// It says nothing else than before, or nothing that could be taken over.
    Unchanged,
    /// Something is wrong with it, and the node does as before.
    Refused,
}

impl Reloaded {
    pub(super) const ALL: [Reloaded; 3] = [Reloaded::Applied, Reloaded::Unchanged, Reloaded::Refused];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Unchanged => "unchanged",
            Reloaded::Refused => "refused",
        }
    }
}
