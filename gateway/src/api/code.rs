//! Everything that the API can answer instead of what was asked for.

use http::StatusCode;

/// A stable code, and what always comes with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// How clients tell it from others.
    pub(super) name: &'static str,
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// Whether the same request may succeed the next time.
    pub(super) retry: bool,
    /// What it means, for the document of the API.
    pub(super) meaning: &'static str,
}

const fn code(name: &'static str, status: StatusCode, meaning: &'static str) -> Code {
    Code {
        name,
        status,
        retry: false,
        meaning,
    }
}

const fn refused(name: &'static str, meaning: &'static str) -> Code {
    code(name, StatusCode::UNPROCESSABLE_ENTITY, meaning)
}

const fn away(name: &'static str, meaning: &'static str) -> Code {
    Code {
        retry: true,
        ..code(name, StatusCode::SERVICE_UNAVAILABLE, meaning)
    }
}

pub(super) static UNAUTHORIZED: Code = code(
    "unauthorized",
    StatusCode::UNAUTHORIZED,
    "no key, a wrong one, or none configured",
);
pub(super) static FORBIDDEN: Code = code(
    "forbidden",
    StatusCode::FORBIDDEN,
    "the key is right, and of another scope than this needs",
);
/// There is nothing at the path.
pub static NOT_FOUND: Code = code(
    "not_found",
    StatusCode::NOT_FOUND,
    "there is nothing at this path",
);
pub(super) static METHOD_NOT_ALLOWED: Code = code(
    "method_not_allowed",
    StatusCode::METHOD_NOT_ALLOWED,
    "this path does not take this method",
);
pub(super) static BUS_TIMEOUT: Code = away(
    "bus_timeout",
    "Redis did not answer: whether the event was published is unknown",
);
pub(super) static BUS_UNAVAILABLE: Code = away(
    "bus_unavailable",
    "Redis refused, or too many publications wait for it: nothing was published, but for some of several `rooms`",
);
pub(super) static BAD_BATCH: Code = refused("bad_batch", "not an object with a list `items`");
pub(super) static TOO_MANY_ITEMS: Code = refused("too_many_items", "more than 1,000 items");
pub(super) static NOT_FOR_REQUESTS: Code = refused(
    "not_for_requests",
    "`id`, `retain` or `count`, which mean nothing for a request",
);
pub(super) static BAD_TIMEOUT: Code = refused(
    "bad_timeout",
    "`timeout` is not a duration of more than nothing and at most 60 seconds",
);
pub(super) static BAD_REPLY: Code = refused(
    "bad_reply",
    "not JSON, an unknown field, no `id`, a field that is there twice or has the wrong type, or both `data` and `args`",
);
pub(super) static NOT_WAITED_FOR: Code = code(
    "not_waited_for",
    StatusCode::NOT_FOUND,
    "nobody waits for this answer, or not any more",
);
pub(super) static BAD_ORDER: Code = refused(
    "bad_order",
    "not JSON, an unknown field, or a field that is missing, is there twice or has the wrong type",
);
pub(super) static BAD_TARGET: Code = refused(
    "bad_target",
    "not exactly one of `user`, `session` and `room`, or one that is no id",
);
pub(super) static BAD_REASON: Code = refused("bad_reason", "`reason` has not 1 to 256 bytes of visible text");
pub(super) static BAD_REVOCATION: Code = refused(
    "bad_revocation",
    "not exactly one of `jti` and `user`, one that is no id, or a field that belongs to the other",
);
pub(super) static BAD_TIME: Code = refused(
    "bad_time",
    "not a number of seconds since 1970, or an `issued_before` that is still to come",
);
pub(super) static REVOCATIONS_FULL: Code = away(
    "revocations_full",
    "the node holds as many revocations as it may: nothing was revoked",
);
pub(super) static BAD_QUESTION: Code = refused(
    "bad_question",
    "not JSON, an unknown field, a field that is there twice or has the wrong type, not exactly one of `token` and \
     `claims`, or an argument without an event",
);
pub(super) static BAD_USER: Code = refused(
    "bad_user",
    "the user in the path has not 1 to 256 bytes of visible text",
);
pub(super) static BAD_QUERY: Code = refused(
    "bad_query",
    "an unknown parameter, or a `list` that is not a number from 1 to 1,000",
);
pub(super) static BAD_FILTER: Code = refused(
    "bad_filter",
    "an unknown parameter, one that is there twice, a pattern with a `*` elsewhere than at its end, or more than 16 patterns \
     of rooms",
);
pub(super) static TOO_MANY_TAILS: Code = away(
    "too_many_tails",
    "as many look at this node as may, or it is being stopped",
);
pub(super) static TOO_LARGE: Code = refused(
    "too_large",
    "longer than it may be, or the body did not arrive whole",
);
pub(super) static NO_ROOM: Code = refused("no_room", "no room is named");
pub(super) static TOO_MANY_ROOMS: Code = refused("too_many_rooms", "more than 128 rooms");
pub(super) static BAD_ROOM: Code = refused("bad_room", "the name of a room breaks a rule");

/// Why an envelope is refused; the names are those of [`adapter_redis::EnvelopeError::REASONS`], which a test compares.
pub(super) static ENVELOPE: [Code; 18] = [
    refused("too_large", TOO_LARGE.meaning),
    refused(
        "not_json",
        "not JSON, not UTF-8, or nested deeper than 128 levels",
    ),
    refused("unknown_field", "a field that envelopes do not have"),
    refused("duplicate_field", "a field that is there more than once"),
    refused("wrong_type", "a field of the wrong type, or no object"),
    refused("no_room", NO_ROOM.meaning),
    refused("room_and_rooms", "both `room` and `rooms`"),
    refused("too_many_rooms", TOO_MANY_ROOMS.meaning),
    refused("bad_room", BAD_ROOM.meaning),
    refused("no_event", "no `event`"),
    refused("bad_event", "the event's name breaks a rule, or is reserved"),
    refused("data_and_args", "both `data` and `args`"),
    refused("bad_args", "`args` is not a list"),
    refused("bad_binary", "a `$binary` that is no base64, or a `_placeholder`"),
    refused("too_many_binaries", "more than 10 `$binary`"),
    refused("bad_except", "more than 128 exceptions, or one that is no name"),
    refused("bad_namespace", "not a name that begins with a slash"),
    refused("bad_id", "`id` is empty or has more than 256 bytes"),
];

#[cfg(test)]
mod tests {
    use adapter_redis::EnvelopeError;

    use super::*;

    #[test]
    fn every_reason_to_refuse_an_envelope_is_described() {
        assert_eq!(ENVELOPE.each_ref().map(|code| code.name), EnvelopeError::REASONS);
    }
}
