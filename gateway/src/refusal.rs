//! Every refusal that a client can see, numbered. Client authors read this file (and `docs/protocol.md`).
//!
//! A number, a code and a message never change their meaning; new ones are added at the end of their group.

/// Why a connection or a request was refused.
///
/// `code()` and `message()` are stable: clients may compare them. `number()` is for documents and logs.
/// Nothing of the token or of the request is ever part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No token was sent.
    TokenMissing,
    /// The token is not a JWT at all.
    TokenMalformed,
    /// The token is signed with an algorithm outside the allow-list.
    TokenAlgorithm,
    /// The signature does not belong to the key.
    TokenSignature,
    /// `exp` plus leeway is over.
    TokenExpired,
    /// `nbf` minus leeway is still to come.
    TokenNotYetValid,
    /// `iss` is not the configured issuer.
    TokenIssuer,
    /// `aud` does not hold the configured audience.
    TokenAudience,
    /// `exp`, or a claim that the policy's identity needs, is missing or of the wrong type.
    ClaimMissing,
    /// A room of the policy cannot be served: the bus refuses the subscription.
    ServerUnavailable,
    /// The user has as many sockets as a user may have.
    TooManyConnections,
    /// No key that is known has the name that the token gives.
    TokenKey,
    /// The keys of the identity provider could not be fetched.
    KeysUnavailable,
    /// The token was revoked.
    TokenRevoked,
    /// The backend does not want the client here.
    HookRefused,
    /// The backend has to be asked, and did not answer.
    HookUnavailable,
    /// The policy says no.
    NotAllowed,
    /// The argument is missing, or cannot be part of a room's name.
    BadArgument,
    /// No rule of the policy names the event.
    UnknownEvent,
    /// What was sent does not fit the rule of the event.
    BadData,
    /// Too much of what this client sent waits already.
    Busy,
    /// The room cannot be served: the bus refuses the subscription, or too many wait for one.
    RoomUnavailable,
    /// This client sends too fast.
    RateLimited,
    /// The event is longer than an event may be.
    EventTooLarge,
    /// The client is in as many rooms as a client may be in.
    TooManyRooms,
    /// The client is not in the room that it wants to tell something.
    NotInRoom,
    /// Another token on the same connection is somebody else's.
    IdentityChanged,
    /// The backend cannot be reached, is left alone for a while, or too much is on its way to it. It has not got it.
    BackendUnavailable,
    /// The backend did not answer in time.
    BackendTimeout,
    /// The backend answered that it failed, or what is no answer.
    BackendFailed,
    /// The backend refused it, without saying more.
    BackendRefused,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Refusal; 31] = [
        Refusal::TokenMissing,
        Refusal::TokenMalformed,
        Refusal::TokenAlgorithm,
        Refusal::TokenSignature,
        Refusal::TokenExpired,
        Refusal::TokenNotYetValid,
        Refusal::TokenIssuer,
        Refusal::TokenAudience,
        Refusal::ClaimMissing,
        Refusal::ServerUnavailable,
        Refusal::TooManyConnections,
        Refusal::TokenKey,
        Refusal::KeysUnavailable,
        Refusal::TokenRevoked,
        Refusal::HookRefused,
        Refusal::HookUnavailable,
        Refusal::NotAllowed,
        Refusal::BadArgument,
        Refusal::UnknownEvent,
        Refusal::BadData,
        Refusal::Busy,
        Refusal::RoomUnavailable,
        Refusal::RateLimited,
        Refusal::EventTooLarge,
        Refusal::TooManyRooms,
        Refusal::NotInRoom,
        Refusal::IdentityChanged,
        Refusal::BackendUnavailable,
        Refusal::BackendTimeout,
        Refusal::BackendFailed,
        Refusal::BackendRefused,
    ];

    const fn row(self) -> (u16, &'static str, &'static str, bool) {
        match self {
            // 1xxx: the connection is refused with connect_error.
            Refusal::TokenMissing => (
                1001,
                "token_missing",
                "no token: send it as auth.token or in the Authorization header",
                false,
            ),
            Refusal::TokenMalformed => (1002, "token_malformed", "the token is not a valid JWT", false),
            Refusal::TokenAlgorithm => (
                1003,
                "token_algorithm",
                "the token's algorithm is not allowed",
                false,
            ),
            Refusal::TokenSignature => (
                1004,
                "token_signature",
                "the token's signature is not valid",
                false,
            ),
            Refusal::TokenExpired => (1005, "token_expired", "the token has expired", false),
            Refusal::TokenNotYetValid => (1006, "token_not_yet_valid", "the token is not valid yet", true),
            Refusal::TokenIssuer => (1007, "token_issuer", "the token's issuer is not accepted", false),
            Refusal::TokenAudience => (
                1008,
                "token_audience",
                "the token's audience is not accepted",
                false,
            ),
            Refusal::ClaimMissing => (
                1009,
                "claim_missing",
                "the token lacks a claim that is needed to connect",
                false,
            ),
            Refusal::ServerUnavailable => (
                1010,
                "unavailable",
                "the server cannot serve this room now, try again later",
                true,
            ),
            Refusal::TooManyConnections => (
                1011,
                "too_many_connections",
                "the user has too many connections",
                true,
            ),
            Refusal::TokenKey => (1012, "token_key", "the token's key is not known", false),
            Refusal::KeysUnavailable => (
                1013,
                "keys_unavailable",
                "the keys to check the token cannot be fetched now, try again later",
                true,
            ),
            Refusal::TokenRevoked => (1014, "token_revoked", "the token has been revoked", false),
            Refusal::HookRefused => (1015, "hook_refused", "the backend refused the connection", false),
            Refusal::HookUnavailable => (
                1016,
                "hook_unavailable",
                "the backend cannot be asked now, try again later",
                true,
            ),
            // 2xxx: a request is refused in its ack, or by an event when no ack was asked for.
            Refusal::NotAllowed => (2001, "not_allowed", "not allowed", false),
            Refusal::BadArgument => (2002, "bad_argument", "the argument cannot name a room", false),
            Refusal::UnknownEvent => (
                2003,
                "unknown_event",
                "the policy has no rule for this event",
                false,
            ),
            Refusal::BadData => (
                2004,
                "bad_data",
                "the data does not fit the rule of this event",
                false,
            ),
            Refusal::Busy => (
                2005,
                "busy",
                "too many events wait behind a room that is being entered",
                true,
            ),
            Refusal::RoomUnavailable => (
                2006,
                "unavailable",
                "the room cannot be entered now, try again later",
                true,
            ),
            Refusal::RateLimited => (
                2007,
                "rate_limited",
                "too many events, send them more slowly",
                true,
            ),
            Refusal::EventTooLarge => (2008, "event_too_large", "the event is too large", false),
            Refusal::TooManyRooms => (
                2009,
                "too_many_rooms",
                "too many rooms, leave one before entering another",
                false,
            ),
            Refusal::NotInRoom => (
                2010,
                "not_in_room",
                "only who is in the room reaches the others in it",
                false,
            ),
            Refusal::IdentityChanged => (
                2011,
                "identity_changed",
                "the token belongs to another user or tenant",
                false,
            ),
            Refusal::BackendUnavailable => (
                2012,
                "backend_unavailable",
                "the backend cannot be reached now, try again later",
                true,
            ),
            Refusal::BackendTimeout => (
                2013,
                "backend_timeout",
                "the backend did not answer in time and may have done it or not",
                true,
            ),
            Refusal::BackendFailed => (
                2014,
                "backend_failed",
                "the backend failed, try again later",
                true,
            ),
            Refusal::BackendRefused => (2015, "backend_refused", "the backend refused it", false),
        }
    }

    /// The number of this refusal, for documents and logs.
    pub fn number(self) -> u16 {
        self.row().0
    }

    /// The stable code, unique among connections and among requests: `code` in acks and in `connect_error` data, and
    /// the metric's label.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The stable message for people.
    pub fn message(self) -> &'static str {
        self.row().2
    }

    /// Whether the very same request can succeed later.
    pub fn retry(self) -> bool {
        self.row().3
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_codes_are_unique_and_documented() {
        let doc = include_str!("../../docs/protocol.md");
        let mut seen = BTreeSet::new();
        for refusal in Refusal::ALL {
            assert!(seen.insert(refusal.number().to_string()), "{refusal:?}");
            let group = refusal.number() / 1000;
            assert!(seen.insert(format!("{group} {}", refusal.code())), "{refusal:?}");
            let row = format!(
                "| {} | `{}` | {} | {} |",
                refusal.number(),
                refusal.code(),
                refusal.message(),
                if refusal.retry() { "yes" } else { "no" }
            );
            assert!(doc.contains(&row), "docs/protocol.md lacks the row\n{row}");
        }
    }
}
