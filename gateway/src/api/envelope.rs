//! The shape of envelopes, as the document of the API describes it. What an envelope is, is decided in
//! `adapter_redis::Envelope`; tests compare the two.

use adapter_redis::{MAX_NAME_BYTES, MAX_ROOMS};
use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, SchemaType, Type},
    },
};

/// What `/publish` takes.
pub(super) struct EnvelopeShape;
/// What `/request` takes.
pub(super) struct RequestShape;

impl ToSchema for EnvelopeShape {
    fn name() -> std::borrow::Cow<'static, str> {
        "Envelope".into()
    }
}

impl ToSchema for RequestShape {
    fn name() -> std::borrow::Cow<'static, str> {
        "Request".into()
    }
}

impl PartialSchema for EnvelopeShape {
    fn schema() -> RefOr<Schema> {
        let id = "Idempotency key: a repetition within ten minutes is not published again.";
        let retain = "Whether the event is the room's current state. Accepted, no effect yet.";
        let count = "Whether to count the sockets that were reached.";
        common("An event for rooms. Either `room` or `rooms`; either `data` or `args`, or neither.")
            .property("id", name(id))
            .property("retain", flag(retain, false))
            .property("count", flag(count, true))
            .into()
    }
}

impl PartialSchema for RequestShape {
    fn schema() -> RefOr<Schema> {
        let timeout = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
            .description(Some(
                "How long acknowledgements are waited for: a duration such as `500ms`, or a number of milliseconds; at \
                 most `60s`.",
            ))
            .default(Some(json!("5s")));
        common("An envelope whose acknowledgements are waited for. It has no `id`, `retain` and `count`.")
            .property("timeout", timeout)
            .into()
    }
}

fn common(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .required("event")
        .property(
            "room",
            name("The room to reach: 1 to 256 bytes, no control characters, no braces."),
        )
        .property(
            "rooms",
            names(
                "The rooms to reach. A socket in several of them gets the event once.",
                1,
            ),
        )
        .property(
            "event",
            name("The event that clients listen to; none of Socket.IO's own."),
        )
        .property(
            "data",
            anything(
                "The event's only argument; `null` is one, too. Bytes are `{\"$binary\":\"<base64>\"}`.",
            ),
        )
        .property(
            "args",
            ArrayBuilder::new()
                .items(anything("An argument."))
                .description(Some("Several arguments, instead of `data`.")),
        )
        .property("except", names("Rooms and socket ids that get nothing.", 0))
        .property(
            "namespace",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^/"))
                .description(Some("The Socket.IO namespace; only `/` exists."))
                .default(Some(json!("/"))),
        )
        .property(
            "volatile",
            flag(
                "Whether the event may be lost: without an `id` it reaches the node's own sockets first, and has no offset.",
                false,
            ),
        )
}

fn name(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .min_length(Some(1))
        .max_length(Some(MAX_NAME_BYTES))
}

fn names(description: &str, least: usize) -> ArrayBuilder {
    ArrayBuilder::new()
        .items(ObjectBuilder::new().schema_type(Type::String).build())
        .description(Some(description))
        .min_items(Some(least))
        .max_items(Some(MAX_ROOMS))
}

fn flag(description: &str, default: bool) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some(description))
        .default(Some(default.into()))
}

fn anything(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some(description))
}

#[cfg(test)]
mod tests {
    use adapter_redis::{Envelope, EnvelopeError, Limits};

    use super::*;

    fn fields(schema: RefOr<Schema>) -> Vec<String> {
        let schema = serde_json::to_value(schema).unwrap();
        let mut fields: Vec<String> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        fields.sort();
        fields
    }

    #[test]
    fn the_fields_are_those_of_the_parser() {
        let error = Envelope::parse(br#"{"?":1}"#, &Limits::default()).unwrap_err();
        assert!(matches!(error, EnvelopeError::UnknownField(_)));
        let text = error.to_string();
        let (_, known) = text.split_once("known fields are ").unwrap();
        let mut known: Vec<&str> = known.split(", ").collect();
        known.sort_unstable();
        assert_eq!(fields(EnvelopeShape::schema()), known);
        known.retain(|field| !matches!(*field, "id" | "retain" | "count"));
        known.push("timeout");
        known.sort_unstable();
        assert_eq!(fields(RequestShape::schema()), known);
    }
}
