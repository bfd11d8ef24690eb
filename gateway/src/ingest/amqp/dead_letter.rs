//! What a refused message looks like where it is put aside. Pure.

use std::collections::BTreeMap;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

/// Why it was refused.
pub(super) const REASON: &str = "x-roomcast-reason";

/// Headers that tell a broker where to put more copies of it.
const ROUTES: [&str; 2] = ["CC", "BCC"];

/// The longest headers that are kept, as they are written for people: all of them have to fit into one frame with ours.
const LONGEST: usize = 64 * 1024;

const PERSISTENT: u8 = 2;

/// The queue for what is refused of a queue.
pub(super) fn queue_for(queue: &str) -> String {
    format!("{queue}.refused")
}

/// The properties as they were, with the reason, and without those that would make a broker refuse the message, forget it
/// or send it elsewhere.
pub(super) fn properties(of: &BasicProperties, reason: &str) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_headers(headers(of, reason))
        .with_delivery_mode(PERSISTENT);
    if let Some(value) = of.content_type() {
        properties = properties.with_content_type(value.clone());
    }
    if let Some(value) = of.content_encoding() {
        properties = properties.with_content_encoding(value.clone());
    }
    if let Some(value) = of.priority() {
        properties = properties.with_priority(*value);
    }
    if let Some(value) = of.correlation_id() {
        properties = properties.with_correlation_id(value.clone());
    }
    if let Some(value) = of.reply_to() {
        properties = properties.with_reply_to(value.clone());
    }
    if let Some(value) = of.message_id() {
        properties = properties.with_message_id(value.clone());
    }
    if let Some(value) = of.timestamp() {
        properties = properties.with_timestamp(*value);
    }
    if let Some(value) = of.kind() {
        properties = properties.with_type(value.clone());
    }
    if let Some(value) = of.app_id() {
        properties = properties.with_app_id(value.clone());
    }
    properties
}

fn headers(of: &BasicProperties, reason: &str) -> FieldTable {
    let mut headers = BTreeMap::new();
    for (name, value) in of.headers().iter().flat_map(|headers| headers.inner()) {
        if ROUTES.contains(&name.as_str()) {
            headers.insert(renamed(name.as_str()), value.clone());
        } else {
            headers.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in [("expiration", of.expiration()), ("user-id", of.user_id())] {
        if let Some(value) = value {
            headers.insert(renamed(name), text(value.as_str()));
        }
    }
    if format!("{headers:?}").len() > LONGEST {
        headers.clear();
    }
    headers.insert(REASON.into(), text(reason));
    headers.into()
}

/// For names of ours, which are short.
fn renamed(name: &str) -> ShortString {
    format!("x-roomcast-{}", name.to_ascii_lowercase()).into()
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_keeps_what_it_was_and_stays_where_it_is_put() {
        let mut headers = FieldTable::default();
        headers.insert("trace".into(), text("1"));
        headers.insert("CC".into(), text("elsewhere"));
        headers.insert(REASON.into(), text("of somebody else"));
        let of = BasicProperties::default()
            .with_headers(headers)
            .with_content_type("application/json".into())
            .with_message_id("m".into())
            .with_type("t".into())
            .with_timestamp(7)
            .with_priority(3)
            .with_delivery_mode(1)
            .with_expiration("1000".into())
            .with_user_id("bob".into());
        let kept = properties(&of, "not_json");
        let shown: BTreeMap<_, _> = kept
            .headers()
            .as_ref()
            .unwrap()
            .inner()
            .iter()
            .map(|(n, v)| (n.as_str(), v.clone()))
            .collect();
        let expected: BTreeMap<_, _> = [
            ("trace", "1"),
            ("x-roomcast-cc", "elsewhere"),
            ("x-roomcast-expiration", "1000"),
            ("x-roomcast-user-id", "bob"),
            (REASON, "not_json"),
        ]
        .map(|(name, value)| (name, text(value)))
        .into();
        assert_eq!(shown, expected);
        assert_eq!(*kept.delivery_mode(), Some(PERSISTENT));
        assert_eq!((kept.expiration(), kept.user_id()), (&None, &None));
        assert_eq!(kept.message_id(), of.message_id());
        assert_eq!(
            (kept.kind(), kept.timestamp(), kept.priority()),
            (of.kind(), of.timestamp(), of.priority())
        );
        assert_eq!(kept.content_type(), of.content_type());
    }

    #[test]
    fn headers_that_leave_no_room_for_the_reason_are_left_out() {
        let mut headers = FieldTable::default();
        headers.insert("long".into(), text(&"x".repeat(200_000)));
        let kept = properties(&BasicProperties::default().with_headers(headers), "room");
        let names: Vec<_> = kept
            .headers()
            .as_ref()
            .unwrap()
            .inner()
            .keys()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, [REASON]);
    }
}
