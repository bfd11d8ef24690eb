use adapter_redis::{Args, EventName, NodeId, Way};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn publication(args: Args, stamp: Option<u64>) -> Publication {
    Publication {
        rooms: ["user:42", "system"]
            .map(|room| RoomName::new(room).unwrap())
            .to_vec(),
        except: vec![],
        namespace: "/".to_owned(),
        volatile: false,
        event: EventName::new("news").unwrap(),
        args,
        published_at_ms: 1_800_000_000_000,
        stamp,
        trace: None,
    }
}

fn at(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_800_000_000_000_000 + us)
}

fn read(line: &Bytes) -> Value {
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(line).unwrap()
}

#[test]
fn lines_are_frozen() {
    let from = NodeId::parse("AAAAAAAAAAAAAAAA").unwrap();
    let args = || Args::from_texts(["{\"a\": 1}"]).unwrap();
    let (stamped, plain) = (
        publication(args(), Some(1_800_000_000_001_500)),
        publication(args(), None),
    );
    let delivered = |publication, way, sockets| Passage::Delivered {
        way,
        publication,
        arrived: at(2_500),
        took: Duration::from_micros(44),
        sockets,
    };
    let way = |source, from| Way { source, from };
    for (passage, expect) in [
        (
            delivered(&stamped, way("node", Some(&from)), Some(2)),
            r#"{"at":"2027-01-15T08:00:00.002500Z","node":"me","kind":"delivery","source":"node","from":"AAAAAAAAAAAAAAAA","publication":"1800000000001500","rooms":["user:42","system"],"event":"news","sockets":2,"since_entry_ms":2.5,"since_bus_ms":1.0,"took_ms":0.044,"data":[{"a": 1}]}"#,
        ),
        (
            delivered(&plain, way("channel", None), Some(0)),
            r#"{"at":"2027-01-15T08:00:00.002500Z","node":"me","kind":"delivery","source":"channel","rooms":["user:42","system"],"event":"news","sockets":0,"took_ms":0.044,"data":[{"a": 1}]}"#,
        ),
        (
            Passage::Lost {
                way: way("function", None),
                reason: "bad_event",
                publication: None,
                room: plain.rooms.first(),
                bytes: Some(9),
            },
            r#"{"at":"2027-01-15T08:00:00.000000Z","node":"me","kind":"drop","source":"function","rooms":["user:42"],"reason":"bad_event","bytes":9}"#,
        ),
    ] {
        let line = Sight::of(&passage).line("me", at(0), true);
        assert_eq!(std::str::from_utf8(&line).unwrap().trim_end(), expect);
        let without = read(&Sight::of(&passage).line("me", at(0), false));
        assert_eq!((without.get("data"), without.get("data_cut")), (None, None));
    }
}

#[test]
fn what_has_no_place_is_called_by_its_node_and_moment() {
    let one = identity("n", 1, "typing", Some(&RoomName::new("a").unwrap()));
    assert!(one.starts_with("n/1/"), "{one}");
    for other in [
        identity("m", 1, "typing", Some(&RoomName::new("a").unwrap())),
        identity("n", 2, "typing", Some(&RoomName::new("a").unwrap())),
        identity("n", 1, "stopped", Some(&RoomName::new("a").unwrap())),
        identity("n", 1, "typing", Some(&RoomName::new("b").unwrap())),
        identity("n", 1, "typing", None),
    ] {
        assert_ne!(one, other);
    }
    let from = NodeId::parse("AAAAAAAAAAAAAAAA").unwrap();
    let publication = publication(Args::none(), None);
    let seen = about(&publication, Some(from.as_str())).publication.unwrap();
    let told = identity(
        from.as_str(),
        1_800_000_000_000,
        "news",
        publication.rooms.first(),
    );
    assert_eq!(seen, told, "the same wherever it is seen");
}

#[test]
fn a_long_payload_is_cut_and_a_broken_one_is_a_text() {
    for (data, expect) in [
        (
            "1,\n {\"a\":\r\n2}".to_owned(),
            r#""data":[1,  {"a":  2}]"#.to_owned(),
        ),
        (String::new(), r#""data":[]"#.to_owned()),
        ("}\n".to_owned(), r#""data_cut":"}\n""#.to_owned()),
        (
            format!("\"{}\"", "x".repeat(MAX_DATA)),
            format!(r#""data_cut":"\"{}""#, "x".repeat(MAX_DATA - 1)),
        ),
    ] {
        let sight = Sight {
            data: Some(Cow::Borrowed(data.as_bytes())),
            ..Sight::default()
        };
        let line = sight.line("me", at(0), true);
        read(&line);
        assert!(std::str::from_utf8(&line).unwrap().contains(&expect), "{line:?}");
    }
}

proptest! {
    #[test]
    fn no_payload_is_shown_without_the_right(data in ".{0,200}", stamp in any::<Option<u64>>(), binary in any::<bool>()) {
        const MARK: &str = "c0nfidential";
        let text = if binary {
            serde_json::json!({"$binary": "YzBuZmlkZW50aWFs", MARK: data})
        } else {
            serde_json::json!([MARK, data])
        };
        let publication = publication(Args::from_values(&[text]), stamp);
        let from = NodeId::parse("AAAAAAAAAAAAAAAA").unwrap();
        let way = Way { source: "node", from: Some(&from) };
        let passages = [
            Passage::Delivered { way, publication: &publication, arrived: at(0), took: Duration::ZERO, sockets: Some(1) },
            Passage::Lost { way, reason: "relay_queue_full", publication: Some(&publication), room: None, bytes: None },
        ];
        for passage in &passages {
            let sight = Sight::of(passage);
            let line = sight.line("me", at(0), false);
            prop_assert!(!String::from_utf8_lossy(&line).contains(MARK));
            prop_assert!(read(&line).get("data").is_none());
            let line = sight.line("me", at(0), true);
            prop_assert!(String::from_utf8_lossy(&line).contains(MARK));
            read(&line);
        }
    }

    /// Whatever a node says that we trust: a line stays a line.
    #[test]
    fn whatever_a_payload_is_a_line_is_one(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let sight = Sight { data: Some(Cow::Borrowed(&data)), ..Sight::default() };
        let line = read(&sight.line("me", at(0), true));
        prop_assert!(line.get("data").is_some() != line.get("data_cut").is_some());
    }
}
