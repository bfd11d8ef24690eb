//! What waits: tables, and a plain list that does the same.

use proptest::prelude::*;

use super::*;

const KEPT: Slow = Slow::Disconnect;
const OLD: Slow = Slow::DropOldest;

fn terms(slow: Slow, is_blocked: bool, max: usize) -> Terms {
    Terms {
        slow,
        is_blocked,
        max,
    }
}

fn push(backlog: &mut Backlog, text: &str, terms: Terms) -> (Added, usize, usize) {
    let mut lost = Lost::default();
    let added = backlog.push(&Bytes::from(text.to_owned()), terms, &mut lost);
    (added, lost.dropped, lost.superseded)
}

fn backlog(pieces: &[&str]) -> Backlog {
    marked(&pieces.iter().map(|text| (*text, KEPT)).collect::<Vec<_>>())
}

fn marked(pieces: &[(&str, Slow)]) -> Backlog {
    let mut backlog = Backlog::default();
    for (text, slow) in pieces {
        let added = push(&mut backlog, text, terms(*slow, false, usize::MAX));
        assert_eq!(added, (Added::In, 0, 0));
    }
    backlog
}

fn take_bytes(backlog: &mut Backlog, count: usize) {
    let mut left = count;
    let written = backlog.write(|slices| match left.min(slices.iter().map(|s| s.len()).sum()) {
        0 => Err(ErrorKind::WouldBlock.into()),
        taken => {
            left -= taken;
            Ok(taken)
        }
    });
    assert!(
        matches!(written, Written::Blocked(_) | Written::All),
        "{written:?}"
    );
}

fn rest(mut backlog: Backlog) -> String {
    let waiting = backlog.bytes();
    let rest = backlog.take(usize::MAX);
    assert_eq!(waiting, rest.iter().map(Bytes::len).sum::<usize>());
    assert_eq!((backlog.bytes(), backlog.droppable()), (0, 0));
    assert!(backlog.more.is_none(), "who waits for nothing keeps no list");
    String::from_utf8(rest.join(&b"|"[..])).unwrap()
}

#[test]
fn what_is_too_much_is_refused_but_never_the_first() {
    let mut backlog = Backlog::default();
    let mut put = |text, max| push(&mut backlog, text, terms(KEPT, true, max));
    assert_eq!(put("123456", 5), (Added::In, 0, 0), "it can always be sent");
    assert_eq!(put("7", 6), (Added::Refused, 0, 0));
    assert_eq!(put("7", 7), (Added::In, 0, 0));
    assert_eq!(backlog.bytes(), 7);
}

#[test]
fn the_oldest_that_may_be_lost_go_first() {
    for (waiting, new, slow, expect, left) in [
        // What fits, fits.
        (
            &[("aa", OLD), ("bb", OLD)][..],
            "cc",
            OLD,
            (Added::In, 0, 0),
            "aa|bb|cc",
        ),
        // One by one, in their order, and no more than necessary.
        (
            &[("aa", OLD), ("bb", OLD)],
            "ccc",
            OLD,
            (Added::In, 1, 0),
            "bb|ccc",
        ),
        (
            &[("aa", OLD), ("bb", OLD)],
            "ccccc",
            OLD,
            (Added::In, 2, 0),
            "ccccc",
        ),
        (
            &[("a", KEPT), ("bb", OLD), ("c", KEPT), ("d", OLD)],
            "eee",
            OLD,
            (Added::In, 1, 0),
            "a|c|d|eee",
        ),
        (
            &[("a", KEPT), ("b", Slow::Latest(7)), ("c", KEPT), ("d", OLD)],
            "eeee",
            OLD,
            (Added::In, 2, 0),
            "a|c|eeee",
        ),
        // Nothing goes in vain.
        (
            &[("aaaa", KEPT), ("b", OLD)],
            "ccc",
            OLD,
            (Added::Lost, 0, 0),
            "aaaa|b",
        ),
        (
            &[("aaaa", KEPT), ("b", OLD)],
            "ccc",
            Slow::Latest(7),
            (Added::Lost, 0, 0),
            "aaaa|b",
        ),
        (
            &[("aaaa", KEPT), ("b", OLD)],
            "ccc",
            KEPT,
            (Added::Refused, 0, 0),
            "aaaa|b",
        ),
        (&[("a", OLD)], "1234567", OLD, (Added::Lost, 0, 0), "a"),
        // What may not be lost drives out what may.
        (
            &[("aaaa", KEPT), ("bb", OLD)],
            "cc",
            KEPT,
            (Added::In, 1, 0),
            "aaaa|cc",
        ),
    ] {
        let mut backlog = marked(waiting);
        let added = push(&mut backlog, new, terms(slow, true, 6));
        assert_eq!((added, &*rest(backlog)), (expect, left), "{waiting:?} {new}");
    }
}

#[test]
fn the_latest_takes_the_place_of_the_others_while_nothing_is_taken() {
    let (a, b) = (Slow::Latest(7), Slow::Latest(8));
    let waiting = [
        ("x", KEPT),
        ("a1", a),
        ("b1", b),
        ("y", OLD),
        ("a2", a),
        ("z", KEPT),
    ];
    for (is_blocked, slow, expect, left) in [
        (true, a, (Added::In, 0, 2), "x|b1|y|z|new"),
        (true, b, (Added::In, 0, 2), "x|y|a2|z|new"),
        (true, Slow::Latest(9), (Added::In, 0, 1), "x|b1|y|a2|z|new"),
        (true, OLD, (Added::In, 0, 0), "x|a1|b1|y|a2|z|new"),
        (true, KEPT, (Added::In, 0, 0), "x|a1|b1|y|a2|z|new"),
        (false, a, (Added::In, 0, 0), "x|a1|b1|y|a2|z|new"),
    ] {
        let mut backlog = marked(&waiting);
        let added = push(&mut backlog, "new", terms(slow, is_blocked, usize::MAX));
        assert_eq!((added, &*rest(backlog)), (expect, left), "{slow:?}");
    }
    // In front it is as anywhere else.
    let mut backlog = marked(&[("a1", a), ("b1", b), ("a2", a)]);
    assert_eq!(push(&mut backlog, "a3", terms(a, true, 9)), (Added::In, 0, 2));
    assert_eq!(push(&mut backlog, "b2", terms(b, true, 9)), (Added::In, 0, 1));
    assert_eq!(rest(backlog), "a3|b2");
    let mut backlog = marked(&[("a1", a)]);
    assert_eq!(push(&mut backlog, "a2", terms(a, true, 2)), (Added::In, 0, 1));
    assert_eq!(rest(backlog), "a2");
    // Beyond the bound the oldest goes, whatever its kind.
    let mut backlog = marked(&[("x", KEPT), ("b1", b), ("y1", OLD), ("a1", a)]);
    assert_eq!(push(&mut backlog, "a234", terms(a, true, 7)), (Added::In, 1, 1));
    assert_eq!(rest(backlog), "x|y1|a234");
}

#[test]
fn what_is_begun_is_finished() {
    for slow in [OLD, Slow::Latest(7)] {
        let mut backlog = marked(&[("1234", slow), ("56", slow)]);
        take_bytes(&mut backlog, 1);
        assert_eq!(push(&mut backlog, "789", terms(OLD, true, 6)).0, Added::In);
        assert_eq!(push(&mut backlog, "0", terms(slow, true, 6)).0, Added::In);
        assert!(rest(backlog).starts_with("234|"));
        let mut backlog = marked(&[("1234", slow)]);
        take_bytes(&mut backlog, 3);
        assert_eq!(push(&mut backlog, "56", terms(slow, true, 2)).0, Added::Lost);
        assert_eq!(rest(backlog), "4");
    }
}

#[test]
fn a_state_that_changes_for_ever_takes_no_more_room() {
    let mut backlog = marked(&[("x", KEPT)]);
    for number in 0..10_000_u64 {
        push(
            &mut backlog,
            "state",
            terms(Slow::Latest(2 + number % 3), true, 50),
        );
        push(&mut backlog, "other", terms(Slow::Latest(9 + number), true, 50));
    }
    let length = backlog.more.as_ref().map_or(0, |line| line.length());
    assert!(length < 200, "{length}");
    assert!(backlog.bytes() <= 50);
}

#[test]
fn very_short_pieces_take_no_more_memory_than_long_ones() {
    let mut backlog = Backlog::default();
    let mut waiting = |slow, max| {
        while push(&mut backlog, "xx", terms(slow, true, max)) == (Added::In, 0, 0) {}
        backlog.pieces()
    };
    assert_eq!(waiting(KEPT, 10_000), 1024);
    assert_eq!(waiting(KEPT, 1 << 20), 1 << 14);
    assert_eq!(waiting(OLD, 1 << 20), 1 << 14, "it is lost itself");
    assert_eq!(backlog.take(2), ["xx"]);
    for (expect, slow) in [
        ((Added::In, 0, 0), OLD),
        ((Added::In, 1, 0), OLD),
        ((Added::In, 1, 0), KEPT),
        ((Added::Refused, 0, 0), KEPT),
    ] {
        assert_eq!(push(&mut backlog, "xx", terms(slow, true, 1 << 20)), expect);
    }
}

#[test]
fn a_poll_takes_what_fits() {
    let mut backlog = backlog(&["1234", "56", "7", "8901"]);
    assert_eq!(backlog.take(8), ["1234", "56"]);
    assert_eq!(backlog.take(1), ["7"]);
    assert_eq!(
        (backlog.bytes(), backlog.take(100), backlog.bytes()),
        (4, vec![Bytes::from("8901")], 0)
    );
    assert!(backlog.is_empty() && backlog.take(9).is_empty());
}

#[test]
fn a_broken_connection_is_no_blocked_one() {
    let broken = backlog(&["a"]).write(|_| Err(ErrorKind::BrokenPipe.into()));
    assert!(matches!(broken, Written::Broken(e) if e.kind() == ErrorKind::BrokenPipe));
    assert!(matches!(backlog(&["a"]).write(|_| Ok(0)), Written::Broken(_)));
    let blocked = backlog(&["a"]).write(|_| Err(ErrorKind::WouldBlock.into()));
    assert!(matches!(blocked, Written::Blocked(false)));
}

proptest! {
    #[test]
    fn everything_is_written_once_and_in_order(
        pieces in prop::collection::vec("[a-z]{1,9}", 0..80),
        sizes in prop::collection::vec(0..40_usize, 1..9),
    ) {
        let mut backlog = Backlog::default();
        for piece in &pieces {
            push(&mut backlog, piece, terms(KEPT, false, usize::MAX));
        }
        let (mut seen, mut sizes) = (Vec::new(), sizes.iter().cycle());
        let mut blocked = 0;
        loop {
            let written = backlog.write(|slices| {
                let size = *sizes.next().unwrap();
                if size == 0 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).take(size).collect();
                seen.extend(&all);
                Ok(all.len())
            });
            match written {
                Written::All => break,
                Written::Blocked(_) => blocked += 1,
                Written::Broken(error) => panic!("{error}"),
            }
            if blocked > 1000 {
                return Ok(()); // it takes nothing at all
            }
            prop_assert_eq!(backlog.bytes() + seen.len(), pieces.concat().len());
        }
        prop_assert_eq!(String::from_utf8(seen).unwrap(), pieces.concat());
        prop_assert!(backlog.is_empty() && backlog.bytes() == 0);
    }

    /// The same done slowly: a list of what waits, from which things are taken out.
    #[test]
    fn it_does_what_a_plain_list_does(
        steps in prop::collection::vec((1..9_usize, 0..5_u64, any::<bool>(), 0..12_usize), 1..200),
        max in 8..60_usize,
    ) {
        let (mut backlog, mut list) = (Backlog::default(), Vec::<(String, Slow)>::new());
        let mut is_known = false;
        for (number, (length, kind, is_blocked, taken)) in steps.into_iter().enumerate() {
            let text = format!("{number:0length$}");
            let slow = [KEPT, OLD].get(kind as usize).copied().unwrap_or(Slow::Latest(kind));
            let (added, dropped, superseded) = push(&mut backlog, &text, terms(slow, is_blocked, max));
            let size = |list: &[(String, Slow)]| list.iter().map(|(text, _)| text.len()).sum::<usize>();
            let keeps = list.iter().filter(|(_, slow)| *slow == KEPT).cloned().collect::<Vec<_>>();
            let before = list.len();
            if !list.is_empty() && size(&list) + text.len() > max && size(&keeps) + text.len() > max {
                prop_assert_eq!(added, if slow == KEPT { Added::Refused } else { Added::Lost });
                prop_assert_eq!((dropped, superseded), (0, 0));
            } else {
                // Once the peer has taken nothing, only the newest of each waits until everything was taken; in front
                // it may stay when the peer takes again, so that steps without a block do not ask for it.
                prop_assert_eq!(added, Added::In);
                list.push((text, slow));
                if is_blocked && matches!(slow, Slow::Latest(_)) {
                    is_known = true;
                    let newest: Vec<_> = list.iter().map(|(_, slow)| *slow).collect();
                    let mut at = 0;
                    list.retain(|(_, slow)| {
                        at += 1;
                        !matches!(slow, Slow::Latest(_)) || !newest[at..].contains(slow)
                    });
                    prop_assert_eq!(before + 1 - list.len(), superseded);
                }
                if !is_known {
                    prop_assert_eq!(superseded, 0);
                }
                if is_known && !is_blocked && superseded > 0 {
                    let older = list[..list.len() - 1].iter().rposition(|(_, other)| *other == slow);
                    list.remove(older.unwrap());
                }
                for _ in 0..dropped {
                    prop_assert!(size(&list) > max);
                    let oldest = list.iter().position(|(_, slow)| *slow != KEPT);
                    list.remove(oldest.unwrap());
                }
                prop_assert!(size(&list) <= max || list.len() == 1);
            }
            prop_assert_eq!(backlog.bytes(), size(&list));
            take_bytes(&mut backlog, taken);
            let mut left = taken;
            while left > 0 && !list.is_empty() {
                let length = list[0].0.len().min(left);
                left -= length;
                list[0].0.drain(..length);
                list[0].1 = KEPT;
                if list[0].0.is_empty() {
                    list.remove(0);
                }
            }
            is_known &= !list.is_empty();
            prop_assert_eq!(backlog.bytes(), size(&list));
        }
        let left: Vec<_> = list.into_iter().map(|(text, _)| text).collect();
        prop_assert_eq!(rest(backlog), left.join("|"));
    }
}

#[test]
fn what_is_volatile_waits_behind_nothing_that_is_not_taken() {
    let mut backlog = Backlog::default();
    let mut push = |text: &'static str, is_blocked| {
        let bytes = Bytes::from_static(text.as_bytes());
        backlog.push(
            &bytes,
            terms(Slow::Volatile, is_blocked, 100),
            &mut Lost::default(),
        )
    };
    assert_eq!(push("1", true), Added::In, "nothing waits");
    assert_eq!(push("2", true), Added::Lost);
    assert_eq!(push("3", false), Added::In, "it is taken in a moment");
    assert_eq!(backlog.take(100), ["1", "3"]);
}
