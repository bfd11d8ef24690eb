#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const OFF: Limits = Limits { max_event_bytes: 0 };

fn parse(json: &str) -> Result<Envelope, EnvelopeError> {
    Envelope::parse(json.as_bytes(), &OFF)
}

fn reason(json: &str) -> &'static str {
    parse(json).map_or_else(|error| error.reason(), |_| "ok")
}

/// The text that `data` or `args` have when they are written as `field`.
fn args_of(field: &str) -> String {
    let envelope = parse(&format!(r#"{{"room":"r","event":"e",{field}}}"#)).unwrap();
    String::from_utf8(envelope.args.json().to_vec()).unwrap()
}

#[test]
fn a_full_envelope() {
    let envelope = parse(
        r#" {"rooms": ["a", "b", "a"], "event": "e:{1}", "args": [1, {"x": 2}], "id": "i", "retain": true,
            "except": ["c", "0123456789abcdefghij"], "namespace": "/chat", "volatile": true, "count": false} "#,
    )
    .unwrap();
    let room = |name| RoomName::new(name).unwrap();
    assert_eq!(envelope.rooms, [room("a"), room("b")]);
    assert_eq!(envelope.event.as_str(), "e:{1}");
    assert_eq!(envelope.args.json(), br#"1, {"x": 2}"#);
    assert_eq!(envelope.id.as_deref(), Some("i"));
    assert!(envelope.retain && envelope.volatile && !envelope.count);
    assert_eq!(envelope.except, ["c", "0123456789abcdefghij"]);
    assert_eq!(envelope.namespace, "/chat");
}

#[test]
fn a_small_envelope_and_its_defaults() {
    let envelope = parse(r#"{"room":"user:42","event":"ready"}"#).unwrap();
    assert_eq!(envelope.args, Args::none());
    assert_eq!(envelope.namespace, "/");
    assert!(envelope.id.is_none() && envelope.except.is_empty());
    assert!(!envelope.retain && !envelope.volatile && envelope.count);
}

#[test]
fn payload_bytes_are_never_rewritten() {
    for data in [
        "null",
        "true",
        "\"a\\u00fc\\/\\ud800\"",
        "123456789012345678901234567890.10",
        "1E400",
        "-0.0",
        r#"{"b":1,"a":2,"b":3}"#,
        "{ \"a\" :\n[ 1 ,\t2 ] }",
    ] {
        assert_eq!(args_of(&format!("\"data\": {data} ")), data);
        assert_eq!(
            args_of(&format!("\"args\":[{data},{data}]")),
            format!("{data},{data}")
        );
    }
    assert_eq!(args_of(r#""args":[ 1 , 2 ]"#), " 1 , 2 ");
    assert_eq!(args_of(r#""args":[]"#), "");
    assert_eq!(args_of("\"args\":[ \n ]"), "");
    assert_eq!(args_of(r#""args":[null]"#), "null");
    assert_eq!(args_of(r#""data":[]"#), "[]");
}

#[test]
fn refusals() {
    let many = |n: usize| json!((0..n).map(|i| format!("r{i}")).collect::<Vec<_>>()).to_string();
    let long = "x".repeat(257);
    let cases = [
        ("", "not_json"),
        ("nope", "not_json"),
        (r#"{"room":"r","event":"e"}x"#, "not_json"),
        (r#"{"room":"r","event":"e","data":{]}"#, "not_json"),
        (r#"{"room":"r","event":"e","data":01}"#, "not_json"),
        (r#"{"room":"r","event":"e","what":1,"data":{]}"#, "not_json"),
        ("[]", "wrong_type"),
        ("\"text\"", "wrong_type"),
        (r#"{"room":"r","event":"e","Data":1}"#, "unknown_field"),
        (r#"{"room":"r","room":"r","event":"e"}"#, "duplicate_field"),
        (
            r#"{"room":"r","event":"e","data":null,"data":1}"#,
            "duplicate_field",
        ),
        (r#"{"event":"e"}"#, "no_room"),
        (r#"{"rooms":[],"event":"e"}"#, "no_room"),
        (r#"{"room":"r","rooms":["r"],"event":"e"}"#, "room_and_rooms"),
        (
            &format!(r#"{{"rooms":{},"event":"e"}}"#, many(129)),
            "too_many_rooms",
        ),
        (&format!(r#"{{"rooms":{},"event":"e"}}"#, many(128)), "ok"),
        (r#"{"room":"","event":"e"}"#, "bad_room"),
        (r#"{"rooms":["r","a{b"],"event":"e"}"#, "bad_room"),
        (&format!(r#"{{"room":"{long}","event":"e"}}"#), "bad_room"),
        (r#"{"room":"a\nb","event":"e"}"#, "bad_room"),
        (r#"{"room":1,"event":"e"}"#, "wrong_type"),
        (r#"{"room":null,"event":"e"}"#, "wrong_type"),
        (r#"{"room":"\ud800","event":"e"}"#, "wrong_type"),
        (r#"{"rooms":"r","event":"e"}"#, "wrong_type"),
        (r#"{"rooms":["r",1],"event":"e"}"#, "wrong_type"),
        (r#"{"room":"r"}"#, "no_event"),
        (r#"{"room":"r","event":"disconnect"}"#, "bad_event"),
        (r#"{"room":"r","event":""}"#, "bad_event"),
        (r#"{"room":"r","event":{}}"#, "wrong_type"),
        (r#"{"room":"r","event":"e","data":1,"args":[1]}"#, "data_and_args"),
        (r#"{"room":"r","event":"e","args":1}"#, "bad_args"),
        (r#"{"room":"r","event":"e","args":null}"#, "bad_args"),
        (r#"{"room":"r","event":"e","data":{"$binary":"!"}}"#, "bad_binary"),
        (
            r#"{"room":"r","event":"e","data":{"_placeholder":true,"num":0}}"#,
            "bad_binary",
        ),
        (
            &format!(
                r#"{{"room":"r","event":"e","args":[{}]}}"#,
                [r#"{"$binary":""}"#; 11].join(",")
            ),
            "too_many_binaries",
        ),
        (
            &format!(
                r#"{{"room":"r","event":"e","args":[{}]}}"#,
                [r#"{"$binary":""}"#; 10].join(",")
            ),
            "ok",
        ),
        (r#"{"room":"r","event":"e","except":["a{"]}"#, "bad_except"),
        (
            &format!(r#"{{"room":"r","event":"e","except":{}}}"#, many(129)),
            "bad_except",
        ),
        (r#"{"room":"r","event":"e","except":"a"}"#, "wrong_type"),
        (r#"{"room":"r","event":"e","namespace":"chat"}"#, "bad_namespace"),
        (r#"{"room":"r","event":"e","namespace":""}"#, "bad_namespace"),
        (r#"{"room":"r","event":"e","id":""}"#, "bad_id"),
        (&format!(r#"{{"room":"r","event":"e","id":"{long}"}}"#), "bad_id"),
        (r#"{"room":"r","event":"e","id":7}"#, "wrong_type"),
        (r#"{"room":"r","event":"e","retain":"true"}"#, "wrong_type"),
        (r#"{"room":"r","event":"e","volatile":1}"#, "wrong_type"),
        (r#"{"room":"r","event":"e","count":null}"#, "wrong_type"),
    ];
    for (json, expected) in cases {
        assert_eq!(reason(json), expected, "{json}");
        if expected != "ok" {
            assert!(EnvelopeError::REASONS.contains(&expected), "{expected}");
        }
    }
}

#[test]
fn size_is_the_size_of_the_text() {
    let json = br#"{"room":"r","event":"e"}"#;
    let limited = |max_event_bytes| Envelope::parse(json, &Limits { max_event_bytes });
    assert!(limited(json.len()).is_ok());
    assert_eq!(
        limited(json.len() - 1),
        Err(EnvelopeError::TooLarge {
            bytes: json.len(),
            limit: json.len() - 1
        })
    );
}

#[test]
fn hostile_depth_is_refused_and_does_not_overflow() {
    for open in ["[", "{\"a\":"] {
        for field in ["data", "args", "room", "rooms", "other"] {
            assert_eq!(
                reason(&format!(
                    r#"{{"room":"r","event":"e","{field}":{}"#,
                    open.repeat(200_000)
                )),
                "not_json"
            );
        }
    }
    let nested = |n| {
        format!(
            r#"{{"room":"r","event":"e","data":{}{}}}"#,
            "[".repeat(n),
            "]".repeat(n)
        )
    };
    assert_eq!(reason(&nested(127)), "ok");
    assert_eq!(reason(&nested(128)), "not_json");
}

#[test]
fn messages_say_how_to_mend_it_and_quote_no_value() {
    for (json, text) in [
        (
            r#"{"room":"r","event":"e","dat":1}"#,
            r#"the envelope has an unknown field "dat": remove it; known fields are room, rooms, event, data, args, id, retain, except, namespace, volatile, count"#,
        ),
        (
            r#"{"room":"secret{","event":"e"}"#,
            "`room` or an item of `rooms` is not a room name: it holds a brace; use another character than { and }",
        ),
        (
            r#"{"room":"r","event":"e","id":12345}"#,
            "`id` must be a string: change it, or leave it out where it is optional",
        ),
    ] {
        assert_eq!(parse(json).unwrap_err().to_string(), text);
    }
    assert_eq!(
        Envelope::parse(b"{\"\xff\":1}", &OFF).unwrap_err().reason(),
        "not_json"
    );
    let long = parse(&format!(r#"{{"{}":1}}"#, "x".repeat(5_000))).unwrap_err();
    assert!(long.to_string().len() < 300);
}

#[test]
fn an_envelope_made_of_parts_is_as_one_that_was_read() {
    let data = r#"{"b": 1e400, "a":12345678901234567890123}"#;
    let made = Envelope::from_parts(&["a", "b", "a"], "e", &[data, "null"], &OFF).unwrap();
    let read = parse(&format!(
        r#"{{"rooms":["a","b","a"],"event":"e","args":[{data},null]}}"#
    ))
    .unwrap();
    assert_eq!(made, read);
    let made = Envelope::from_parts(&["a".to_owned()], "e", &[], &OFF).unwrap();
    assert_eq!(made, parse(r#"{"room":"a","event":"e"}"#).unwrap());
}

#[test]
fn parts_are_refused_as_envelopes_are() {
    let made = |rooms: &[&str], event, args: &[&str], max_event_bytes| {
        Envelope::from_parts(rooms, event, args, &Limits { max_event_bytes }).map_err(|error| error.reason())
    };
    let many = vec!["r"; MAX_ROOMS + 1];
    let eleven = format!("[{}]", [r#"{"$binary":""}"#; 11].join(","));
    for (rooms, event, args, reason) in [
        (&[][..], "e", "1", "no_room"),
        (&many, "e", "1", "too_many_rooms"),
        (&["{"], "e", "1", "bad_room"),
        (&[""], "e", "1", "bad_room"),
        (&["r"], "", "1", "bad_event"),
        (&["r"], "connect", "1", "bad_event"),
        (&["r"], "e", "1,2", "not_json"),
        (&["r"], "e", "", "not_json"),
        (&["r"], "e", r#"{"_placeholder":true}"#, "bad_binary"),
        (&["r"], "e", &eleven, "too_many_binaries"),
    ] {
        assert_eq!(
            made(rooms, event, &[args], 0),
            Err(reason),
            "{rooms:?} {event} {args}"
        );
    }
    assert!(made(&["room"], "event", &["12", "3"], 12).is_ok());
    assert_eq!(made(&["room"], "event", &["12", "3"], 11), Err("too_large"));
}

proptest! {
    #[test]
    fn making_is_total(room in any::<String>(), event in any::<String>(), arg in any::<String>()) {
        let _ = Envelope::from_parts(&[room], &event, &[&arg], &OFF);
    }

    #[test]
    fn parsing_is_total(json in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&json, &OFF);
    }

    #[test]
    fn parsing_near_envelopes_is_total(json in "(\\{|\\}|\\[|\\]|\"room\"|\"event\"|\"data\"|\"args\"|:|,|\"e\"|1|null| ){0,24}") {
        let _ = parse(&json);
    }

    #[test]
    fn any_json_survives(number in any::<i64>(), text in any::<String>(), pretty in any::<bool>()) {
        let value = json!({"n": number, "t": text, "l": [null, true, {}]});
        let data = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let envelope = parse(&format!(r#"{{"event":"e","data":{data},"room":"r"}}"#)).unwrap();
        prop_assert_eq!(envelope.args.json(), data.as_bytes());
        let packet = envelope.args.to_packet(&envelope.event).text;
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&packet).unwrap(), json!(["e", value]));
    }
}
