//! Answering a client's event that was found in the stream.

use adapter_redis::Envelope;
use axum::{
    Json,
    extract::{Request, State},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Api, Problem, body, code, document::About};
use crate::forwarding;

/// The answer to an event: either `data` or `args`, or neither.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reply)]
pub(super) struct Reply<'a> {
    /// The `id` of the event.
    #[schema(min_length = 1, max_length = 256)]
    id: String,
    /// What the client's acknowledgement is called with. Bytes are `{"$binary":"<base64>"}`.
    #[serde(borrow, default, deserialize_with = "given")]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<&'a RawValue>,
    /// Several of these.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<serde_json::Value>>, nullable = false)]
    args: Option<Vec<&'a RawValue>>,
}

/// Who got it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replied {
    /// How many clients: always 1.
    sockets: u64,
}

/// `POST /api/v1/reply`
pub(super) async fn reply(State(api): State<Api>, request: Request) -> Result<Json<Replied>, Problem> {
    let body = body::read(request, api.limits.max_event_bytes).await?;
    let reply: Reply<'_> = body::object(&body).map_err(|error| Problem::new(&code::BAD_REPLY, error))?;
    let args: Vec<&str> = match (&reply.data, &reply.args) {
        (Some(_), Some(_)) => {
            let detail =
                "both `data` and `args` are there: keep `data` for one argument, or `args` for several";
            return Err(Problem::new(&code::BAD_REPLY, detail));
        }
        (data, None) => data.iter().map(|data| data.get()).collect(),
        (None, Some(args)) => args.iter().map(|arg| arg.get()).collect(),
    };
    let nobody = || {
        let detail =
            "nobody waits for this answer: it was answered, its time is over, or its client or node is gone";
        Problem::new(&code::NOT_WAITED_FOR, detail)
    };
    let room = forwarding::room_of(&reply.id).ok_or_else(nobody)?;
    let envelope = Envelope::from_parts(&[room.as_str()], &reply.id, &args, &api.limits)
        .map_err(|error| Problem::of_envelope(&error))?;
    let published = api.cluster.publish(envelope).await.map_err(Problem::of_bus)?;
    match (published.sockets, published.complete) {
        (1.., _) => Ok(Json(Replied { sockets: 1 })),
        (0, true) => Err(nobody()),
        (0, false) => Err(Problem::new(
            &code::BUS_TIMEOUT,
            "the node that waits for it did not answer in time: whether the client has it is unknown",
        )),
    }
}

/// Null is an argument like others.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(super) fn about() -> About {
    About::new("reply", "Answer a client's event")
        .text(
            "For an event of a `[[forward]]` rule with `to = \"stream\"` that was found with a field `reply`. The client's \
             acknowledgement is called with it. The first answer counts.",
        )
        .body::<Reply<'_>>(r#"{"id":"0123456789abcdef-42","data":{"messageId":"m-7"}}"#)
        .answer(Replied { sockets: 1 })
        .code(&code::TOO_LARGE)
        .code(&code::BAD_REPLY)
        .code(&code::NOT_WAITED_FOR)
        .code(&code::BUS_TIMEOUT)
        .code(&code::BUS_UNAVAILABLE)
}
