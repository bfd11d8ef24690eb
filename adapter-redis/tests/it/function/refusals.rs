//! What the function refuses, and that nodes take whatever it does not refuse.

use super::{LIMIT, World};
use crate::support::backend::Said;
use crate::support::eventually;

const MARKERS: &str = r#"{"$binary":"AQ=="},"#;

fn nested(depth: usize) -> String {
    // The envelope is one level.
    format!(
        r#"{{"event":"e","data":{}{}}}"#,
        "[".repeat(depth - 1),
        "]".repeat(depth - 1)
    )
}

fn with(field: &str) -> String {
    format!(r#"{{"event":"e",{field}}}"#)
}

fn args(items: &str) -> String {
    with(&format!(r#""args":[{items}]"#))
}

fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(257);
    let text: Vec<(&str, String)> = vec![
        ("unknown_field", with(r#""rom":"r""#)),
        ("unknown_field", with(r#""":1"#)),
        ("wrong_type", with(r#""room":null"#)),
        ("wrong_type", with(r#""rooms":"r""#)),
        ("wrong_type", with(r#""id":1"#)),
        ("wrong_type", with(r#""count":"true""#)),
        ("wrong_type", with(r#""retain":0"#)),
        ("wrong_type", with(r#""volatile":null"#)),
        ("wrong_type", with(r#""namespace":[]"#)),
        ("wrong_type", with(r#""except":"a""#)),
        ("wrong_type", with(r#""except":{}"#)),
        ("wrong_type", with(r#""except":{"a":"b"}"#)),
        ("wrong_type", with(r#""args":1"#)),
        ("wrong_type", r#"{"event":1}"#.into()),
        ("bad_room", with(r#""room":"s""#)),
        ("bad_room", with(r#""rooms":["r","s"]"#)),
        ("bad_room", with(r#""rooms":["r","r"]"#)),
        ("bad_room", with(r#""rooms":["s"]"#)),
        ("bad_room", with(r#""rooms":[]"#)),
        ("bad_room", with(r#""rooms":{"1":"r"}"#)),
        ("bad_room", with(r#""rooms":[1]"#)),
        ("room_and_rooms", with(r#""room":"r","rooms":["r"]"#)),
        ("no_event", "{}".into()),
        ("no_event", r#"{"room":"r","data":1}"#.into()),
        ("bad_event", r#"{"event":""}"#.into()),
        ("bad_event", r#"{"event":"connect"}"#.into()),
        ("bad_event", r#"{"event":"removeListener"}"#.into()),
        ("bad_event", r#"{"event":"a\nb"}"#.into()),
        ("bad_event", r#"{"event":"a\u0000b"}"#.into()),
        ("bad_event", r#"{"event":"a\u007f"}"#.into()),
        ("bad_event", r#"{"event":"a\u0085"}"#.into()),
        ("bad_event", format!(r#"{{"event":"{long}"}}"#)),
        ("data_and_args", with(r#""data":1,"args":[]"#)),
        ("data_and_args", with(r#""data":null,"args":[1]"#)),
        ("bad_args", with(r#""args":{"a":1}"#)),
        ("bad_args", with(r#""args":{}"#)),
        ("bad_args", with(r#""args" : { } "#)),
        ("bad_id", with(r#""id":"""#)),
        ("bad_id", with(&format!(r#""id":"{long}""#))),
        ("bad_namespace", with(r#""namespace":"a""#)),
        ("bad_namespace", with(r#""namespace":"""#)),
        ("bad_namespace", with(r#""namespace":"/\t""#)),
        ("bad_namespace", with(r#""namespace":"/{a}""#)),
        ("bad_namespace", with(&format!(r#""namespace":"/{long}""#))),
        ("bad_except", with(r#""except":[1]"#)),
        ("bad_except", with(r#""except":["a",null]"#)),
        ("bad_except", with(r#""except":[""]"#)),
        ("bad_except", with(r#""except":["a{b"]"#)),
        (
            "bad_except",
            with(&format!(r#""except":[{}"a"]"#, r#""a","#.repeat(128))),
        ),
        ("bad_binary", args(r#"{"$binary":1}"#)),
        ("bad_binary", args(r#"{"$binary":null}"#)),
        ("bad_binary", args(r#"{"$binary":"AQ==","a":1}"#)),
        ("bad_binary", args(r#"{"a":1,"$binary":"AQ=="}"#)),
        ("bad_binary", args(r#"[[{"$binary":"A"}]]"#)),
        ("bad_binary", args(r#"{"$binary":"A-__"}"#)),
        ("bad_binary", args(r#"{"$binary":"AQ==="}"#)),
        ("bad_binary", args(r#"{"$binary":"="}"#)),
        ("bad_binary", args(r#"{"$binary":"AAAA="}"#)),
        ("bad_binary", args(r#"{"$binary":"AAAA=="}"#)),
        ("bad_binary", args(r#"{"$binary":"AAA=="}"#)),
        ("bad_binary", args(r#"{"$binary":"AR=="}"#)),
        ("bad_binary", args(r#"{"$binary":"AAB="}"#)),
        ("bad_binary", args(r#"{"$binary":"AQ ="}"#)),
        ("bad_binary", args(r#"{"_placeholder":true,"num":0}"#)),
        ("bad_binary", with(r#""data":{"a":[{"_placeholder":true}]}"#)),
        (
            "too_many_binaries",
            args(&format!(r#"{}{{"$binary":"AQ=="}}"#, MARKERS.repeat(10))),
        ),
        ("not_json", String::new()),
        ("not_json", "x".into()),
        ("not_json", "null".into()),
        ("not_json", "[]".into()),
        ("not_json", r#"["event","e"]"#.into()),
        ("not_json", r#""event""#.into()),
        ("not_json", r#"{"event":"e""#.into()),
        ("not_json", r#"{"event":"e",}"#.into()),
        ("not_json", r#"{event:"e"}"#.into()),
        ("not_json", r#"{'event':'e'}"#.into()),
        ("not_json", r#"{"event":"e"} x"#.into()),
        ("not_json", r#"{"event":"e"}{"event":"e"}"#.into()),
        ("not_json", "{\"event\":\"e\"}\0".into()),
        ("not_json", "\u{feff}{\"event\":\"e\"}".into()),
        ("not_json", with("\"data\":\"a\tb\"")),
        ("not_json", with("\"data\":\"a\nb\"")),
        ("not_json", with("\"data\":\"\\\"\n\"")),
        ("not_json", with("\"data\":\"a\u{1}b\"")),
        ("not_json", with(r#""data":"\x""#)),
        ("not_json", with(r#""data":"\ud800""#)),
        ("not_json", with(r#""data":NaN"#)),
        ("not_json", with(r#""data":-nan"#)),
        ("not_json", with(r#""data":Infinity"#)),
        ("not_json", with(r#""data":-inf"#)),
        ("not_json", with(r#""data":0x10"#)),
        ("not_json", with(r#""data":-0x10"#)),
        ("not_json", with(r#""data":010"#)),
        ("not_json", with(r#""data":+1"#)),
        ("not_json", with(r#""data":1."#)),
        ("not_json", with(r#""data":1.e5"#)),
        ("not_json", with(r#""data":.5"#)),
        ("not_json", with(r#""data":-.5"#)),
        ("not_json", with(r#""data":-"#)),
        ("not_json", with(r#""data":1e"#)),
        ("not_json", with(r#""data":tru"#)),
        ("not_json", nested(129)),
        ("not_json", nested(10_000)),
    ];
    let mut all: Vec<_> = text
        .into_iter()
        .map(|(code, text)| (code, text.into_bytes()))
        .collect();
    let mut large = with(r#""data":"""#);
    large.push_str(&" ".repeat(1024 * 1024 + 1 - large.len()));
    all.push(("too_large", large.into_bytes()));
    all
}

/// What keeps to the rules, if only just.
fn accepted() -> Vec<String> {
    let long = "x".repeat(256);
    vec![
        r#"{"event":"e"}"#.into(),
        " {\n\t\"event\" : \"e\" }\r\n".into(),
        with(r#""room":"r","data":null"#),
        with(r#""rooms":["r"],"data":{}"#),
        with(r#""args":[]"#),
        with(r#""args" : [ ]"#),
        with(r#""args":[null,null,1]"#),
        with(r#""data":{"args":{}}"#),
        with(r#""count":true,"retain":false,"volatile":true,"namespace":"/a","except":[]"#),
        with(&format!(r#""except":[{}"a"]"#, r#""a","#.repeat(127))),
        with(&format!(r#""id":"{long}","data":1"#)),
        format!(r#"{{"event":"{long}"}}"#),
        r#"{"event":"{ü}"}"#.into(),
        r#"{"\u0065vent":"\u0065"}"#.into(),
        with(r#""data":[0,-0,0.0,1e5,1E+5,1.5e-7,123456789012345678901234567890,1e400]"#),
        with(r#""data":"a. b - .5 \\\" 1. NaN 0x10 $binary _placeholder""#),
        with("\"data\":{ \"a\" :\n\t\"\\\\\" ,\n\"b\":\"\\\"\"\n}"),
        with(r#""data":{"_placeholder":false}"#),
        with(r#""data":{"_placeholder":"true"}"#),
        args(r#"{"$binary":""}"#),
        args(r#"{"$binary":"AQ"},{"$binary":"AQ=="},{"$binary":"AQI"},{"$binary":"AQI="}"#),
        args(r#"{"$binary":"\/\u002b+\/"}"#),
        args(&format!("{}0", MARKERS.repeat(10))),
        with(r#""data":"😀 é \ud83d\ude00 \u0000""#),
        nested(128),
        nested(100),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_its_reason_and_publishes_nothing() {
    let Some(mut world) = World::start().await else {
        return;
    };
    let mut listener = world.server.backend();
    listener.listen("r");
    let mut wrong = Vec::new();
    for (code, envelope) in refused() {
        let said = world.backend.publish("r", &envelope);
        if !said.error().starts_with(&format!("ROOMCAST {code}: ")) {
            let shown: String = String::from_utf8_lossy(&envelope).chars().take(100).collect();
            wrong.push(format!("{code}: {shown}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.backend.publish("r", r#"{"event":"e","data":"the end"}"#);
    let Said::List(message) = listener.read() else {
        panic!("a message")
    };
    assert!(
        matches!(&message[2], Said::Text(text) if text.contains("the end")),
        "{message:?}"
    );
    assert_eq!(world.delivered(1).await, [r#""the end""#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_to_be_that_of_a_room() {
    let Some(mut world) = World::start().await else {
        return;
    };
    let envelope = r#"{"event":"e"}"#;
    let long = format!("roomcast:{{{}}}", "x".repeat(257));
    for keys in [
        &[][..],
        &["roomcast:{r}", "roomcast:{r}"],
        &["roomcast:r"],
        &["roomcast:publish"],
        &["roomcast:{r"],
        &["roomcast:r}"],
        &["{r}"],
        &["roomcast:{}"],
        &["roomcast:{{r}}"],
        &["roomcast:{r}x"],
        &["roomcast:{r}:id:x"],
        &["room{c}ast:{r}"],
        &["roomcast:{a\nb}"],
        &["roomcast:{a\0b}"],
        &["roomcast:{a\u{85}b}"],
        &[long.as_str()],
    ] {
        let count = keys.len().to_string();
        let mut call = vec!["FCALL", "roomcast_publish", &count];
        call.extend(keys);
        call.push(envelope);
        let said = world.backend.ask(&call);
        assert!(
            said.error().starts_with("ROOMCAST bad_room: "),
            "{keys:?}: {said:?}"
        );
    }
    for args in [&[][..], &[envelope, "x"], &[envelope, "frame", "id", "x"]] {
        let mut call = vec!["FCALL", "roomcast_publish", "1", "roomcast:{r}"];
        call.extend(args);
        let said = world.backend.ask(&call);
        assert!(
            said.error().starts_with("ROOMCAST wrong_type: "),
            "{args:?}: {said:?}"
        );
    }
    let longest = "x".repeat(256);
    assert!(world.backend.publish(&longest, envelope).accepted().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_all_that_the_function_takes() {
    let Some(mut world) = World::start().await else {
        return;
    };
    for envelope in accepted() {
        let said = world.backend.publish("r", &envelope);
        assert!(said.accepted().is_some(), "{envelope}: {said:?}");
    }
    world.delivered(accepted().len()).await;
    assert_eq!(world.node.dropped("envelope_invalid"), 0);
}

/// A few random changes to envelopes that are right: most of what comes out is refused, and the rest is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_function_takes_of_anything_is_delivered() {
    const TRIES: usize = 30_000;
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"0",
        b"-",
        b".",
        b"e",
        b"\xc3",
        b"\xbc",
        b"\0",
        b"\n",
        b"\t",
        b" ",
        b"=",
        b"A",
        b"null",
        b"true",
        b"1.",
        b"\"$binary\"",
        b"{\"$binary\":\"AQ==\"}",
        b"\\u0000",
        b"\"args\":[",
        b"\x7f",
        b"_placeholder",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"/",
        b"1e400",
        b"\"id\":\"i\",",
    ];
    let Some(mut world) = World::start().await else {
        return;
    };
    let seeds: Vec<_> = accepted().into_iter().filter(|seed| seed.len() < 250).collect();
    // A random number generator that gives the same numbers each time (xorshift).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut taken = Vec::new();
    for _ in 0..TRIES / 500 {
        let changed: Vec<_> = (0..500)
            .map(|_| {
                let mut text = seeds[random(seeds.len())].clone().into_bytes();
                for _ in 0..=random(3) {
                    let at = random(text.len() + 1);
                    let until = (at + random(3)).min(text.len());
                    let piece = PIECES[random(PIECES.len())];
                    match random(3) {
                        0 => drop(text.drain(at..until)),
                        1 => drop(text.splice(at..at, piece.iter().copied())),
                        _ => drop(text.splice(at..until, piece.iter().copied())),
                    }
                }
                text
            })
            .collect();
        let said = world
            .backend
            .publish_all(changed.iter().map(|text| ("r", text.clone())));
        for (text, said) in changed.into_iter().zip(said) {
            let refused = said.error();
            assert!(
                said.accepted().is_some() || refused.starts_with("ROOMCAST "),
                "{said:?}"
            );
            if refused.is_empty() {
                taken.push((said.accepted().unwrap().0, text));
            }
        }
    }
    // A repetition is taken and not published.
    taken.dedup_by_key(|(offset, _)| *offset);
    taken.sort();
    taken.dedup_by_key(|(offset, _)| *offset);
    let done = || world.node.sockets.seen_count() as u64 + world.node.dropped("envelope_invalid");
    eventually("all have arrived", LIMIT, || done() >= taken.len() as u64).await;
    let delivered: std::collections::HashSet<_> = world
        .node
        .sockets
        .delivered()
        .iter()
        .map(|publication| publication.stamp.unwrap())
        .collect();
    let lost: Vec<_> = taken
        .iter()
        .filter(|(offset, _)| !delivered.contains(offset))
        .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
        .take(20)
        .collect();
    assert!(taken.len() > 1_000, "{} are taken", taken.len());
    assert!(lost.is_empty(), "of {}: {lost:#?}", taken.len());
}
