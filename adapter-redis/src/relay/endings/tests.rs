#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::args::Args;
use crate::room::{EventName, RoomName};

const REMEMBER: Duration = Duration::from_secs(10);

fn node(number: u8) -> NodeId {
    NodeId::parse(&format!("node-{number:0>11}")).unwrap()
}

fn key(number: u8, key: u64) -> Key {
    (node(number), key)
}

fn end(text: &'static str) -> Publication {
    Publication {
        rooms: vec![RoomName::new("r").unwrap()],
        except: Vec::new(),
        namespace: "/".to_owned(),
        volatile: false,
        event: EventName::new("e").unwrap(),
        args: Args::from_parts(text.as_bytes().into(), false),
        published_at_ms: 0,
        stamp: None,
        trace: None,
    }
}

fn after(start: Instant, seconds: u64) -> Option<Instant> {
    Some(start + Duration::from_secs(seconds))
}

/// The arguments of what ends by then.
fn over(endings: &mut Endings, now: Instant) -> Vec<String> {
    let over = endings.take_due(now, usize::MAX);
    over.iter()
        .map(|(_, end)| String::from_utf8(end.args.json().to_vec()).unwrap())
        .collect()
}

#[test]
fn what_is_due_ends_once_and_in_order() {
    let start = Instant::now();
    let mut endings = Endings::new(Duration::ZERO);
    assert_eq!(endings.next(), None);
    for (number, due) in [(1, 5), (2, 3), (3, 9)] {
        assert!(endings.begin(
            key(1, number),
            end(["1", "2", "3"][number as usize - 1]),
            after(start, due)
        ));
    }
    assert_eq!(endings.next(), after(start, 3));
    assert!(over(&mut endings, start + Duration::from_millis(2_999)).is_empty());
    assert_eq!(over(&mut endings, start + Duration::from_secs(5)), ["2", "1"]);
    assert!(over(&mut endings, start + Duration::from_secs(5)).is_empty());
    assert!(endings.end(&key(1, 3)), "stopped before");
    assert!(over(&mut endings, start + Duration::from_secs(60)).is_empty());
    assert_eq!((endings.len(), endings.bytes, endings.due.len()), (0, 0, 0));
}

#[test]
fn the_same_key_prolongs_and_keys_of_nodes_are_their_own() {
    let start = Instant::now();
    let mut endings = Endings::new(Duration::ZERO);
    endings.begin(key(1, 7), end("old"), after(start, 3));
    endings.begin(key(2, 7), end("other"), after(start, 4));
    endings.begin(key(1, 7), end("new"), after(start, 5));
    assert_eq!(over(&mut endings, start + Duration::from_secs(4)), ["other"]);
    assert_eq!(over(&mut endings, start + Duration::from_secs(5)), ["new"]);
    // Without a time, it no longer ends by itself.
    endings.begin(key(1, 7), end("a"), after(start, 1));
    endings.begin(key(1, 7), end("b"), None);
    assert_eq!(endings.next(), None);
    assert_eq!(endings.len(), 1);
}

#[test]
fn only_so_many_at_a_time() {
    let start = Instant::now();
    let mut endings = Endings::new(Duration::ZERO);
    for number in 0..5 {
        endings.begin(key(1, number), end("x"), Some(start));
    }
    assert_eq!(endings.take_due(start, 3).len(), 3);
    assert_eq!(endings.next(), Some(start), "the rest is due still");
    assert_eq!(endings.take_due(start, 3).len(), 2);
}

#[test]
fn what_ended_by_itself_does_not_end_again_for_a_while() {
    let start = Instant::now();
    let mut endings = Endings::new(REMEMBER);
    assert!(endings.end(&key(1, 1)), "nobody knows it");
    for number in 1..=3 {
        endings.begin(key(1, number), end("x"), Some(start));
    }
    assert_eq!(over(&mut endings, start).len(), 3);
    assert!(!endings.end(&key(1, 1)), "its node says so late");
    assert!(endings.end(&key(1, 1)), "and a second time, whatever that means");
    endings.begin(key(1, 2), end("again"), None);
    assert!(endings.end(&key(1, 2)), "it began anew");
    assert_eq!(endings.next(), Some(start + REMEMBER));
    assert!(over(&mut endings, start + REMEMBER).is_empty());
    assert!(endings.end(&key(1, 3)));
    assert_eq!((endings.len(), endings.bytes), (0, 0));
}

#[test]
fn what_a_node_began_is_due_when_it_is_gone() {
    let start = Instant::now();
    let mut endings = Endings::new(REMEMBER);
    endings.begin(key(1, 0), end("a"), None);
    endings.begin(key(1, u64::MAX), end("b"), after(start, 60));
    endings.begin(key(2, 0), end("c"), None);
    endings.begin(key(1, 5), end("d"), Some(start));
    assert_eq!(over(&mut endings, start), ["d"]);
    endings.gone(&node(1), start);
    endings.gone(&node(1), start);
    assert_eq!(over(&mut endings, start), ["a", "b"]);
    assert!(!endings.end(&key(1, 0)));
    assert!(endings.end(&key(2, 0)));
}

#[test]
fn strangers_get_the_time_in_which_a_node_would_be_heard() {
    const PATIENCE: Duration = Duration::from_millis(2_500);
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut endings = Endings::new(REMEMBER);
    endings.begin(key(1, 1), end("member"), None);
    endings.begin(key(2, 1), end("stranger"), None);
    endings.begin(key(3, 1), end("late"), None);
    let mut look = |ms, members: &[u8]| {
        endings.strangers_gone(at(ms), PATIENCE, |id| {
            members.iter().any(|number| node(*number) == *id)
        });
        over(&mut endings, at(ms))
    };
    assert!(look(0, &[1]).is_empty());
    assert!(look(2_499, &[1, 3]).is_empty());
    assert_eq!(
        look(2_500, &[1]),
        ["stranger"],
        "the other was a member meanwhile"
    );
    assert_eq!(look(5_000, &[1]), ["late"]);
    assert!(look(60_000, &[1]).is_empty());
}

#[test]
fn what_is_of_no_use_is_forgotten_unless_it_ends_by_itself() {
    let start = Instant::now();
    let mut endings = Endings::new(REMEMBER);
    endings.begin(key(1, 1), end("a"), None);
    endings.begin(key(1, 2), end("b"), after(start, 1));
    endings.begin(key(1, 3), end("c"), None);
    endings.forget(|end| end.args.json() == b"a" || end.args.json() == b"b");
    assert_eq!(endings.len(), 2);
    endings.forget(|_| true);
    assert_eq!(over(&mut endings, start + REMEMBER), ["b"]);
    assert_eq!(endings.bytes, 0);
}

#[test]
fn the_table_is_bounded_by_number_and_by_bytes() {
    let limits = Limits {
        entries: 2,
        bytes: 2_000,
    };
    let mut endings = Endings {
        limits,
        ..Endings::new(REMEMBER)
    };
    assert!(endings.begin(key(1, 1), end("a"), None));
    assert!(endings.begin(key(1, 2), end("b"), None));
    assert!(!endings.begin(key(1, 3), end("c"), None));
    assert!(endings.begin(key(1, 2), end("prolonged"), None));
    endings.end(&key(1, 1));
    let long = "x".repeat(limits.bytes).leak();
    assert!(!endings.begin(key(1, 4), end(long), None));
    assert!(endings.begin(key(1, 3), end("c"), None), "there is room again");
}

proptest! {
    /// Against the plain reading of the rules, for a table that remembers nothing.
    #[test]
    fn each_beginning_ends_once(
        steps in proptest::collection::vec((0_u8..5, 0_u8..2, 0_u64..3, 0_u64..2_000), 0..80),
    ) {
        let mut now = Instant::now();
        let mut endings = Endings::new(Duration::ZERO);
        let mut model: HashMap<Key, Option<Instant>> = HashMap::new();
        for (kind, number, of_node, ms) in steps {
            let key = key(number, of_node);
            match kind {
                0 => now += Duration::from_millis(ms),
                1 => {
                    let due = Some(now + Duration::from_millis(ms));
                    endings.begin(key.clone(), end("x"), due);
                    model.insert(key, due);
                }
                2 => {
                    endings.begin(key.clone(), end("x"), None);
                    model.insert(key, None);
                }
                3 => {
                    endings.end(&key);
                    model.remove(&key);
                }
                _ => {
                    endings.gone(&node(number), now);
                    for (_, due) in model.iter_mut().filter(|((of, _), _)| *of == node(number)) {
                        *due = Some(now);
                    }
                }
            }
            let mut over: Vec<Key> =
                endings.take_due(now, usize::MAX).into_iter().map(|(key, _)| key).collect();
            over.sort();
            let mut expected: Vec<Key> =
                model.extract_if(|_, due| due.is_some_and(|due| due <= now)).map(|(key, _)| key).collect();
            expected.sort();
            prop_assert_eq!(over, expected);
            prop_assert_eq!(endings.len(), model.len());
            prop_assert_eq!(endings.next(), model.values().flatten().min().copied());
            prop_assert_eq!(endings.bytes, model.len() * size(&end("x")));
        }
    }
}
