#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod model;

use super::ledger::{About, Batch, Ended, Ledger, NODE_LOST, Notice, What};

fn about(session: &str) -> About {
    About {
        session: session.into(),
        user: "ann".into(),
        tenant: None,
        connected_at: 5,
    }
}

/// `+s:1` is a connect of session `s` under number 1, `++s:1` one that comes again, `-s:1 why` an end.
fn text(notice: &Notice) -> String {
    let name = format!("{}:{}", notice.about.session, notice.number);
    match notice.what {
        What::Connected { again: false } => format!("+{name}"),
        What::Connected { again: true } => format!("++{name}"),
        What::Ended { reason, .. } => format!("-{name} {reason}"),
    }
}

fn texts(batch: Option<Batch>) -> Vec<String> {
    batch.map_or_else(Vec::new, |batch| batch.notices.iter().map(text).collect())
}

fn next(ledger: &mut Ledger) -> Vec<String> {
    texts(ledger.batch(100))
}

fn held(names: &[(&str, u64)]) -> Vec<(String, u64)> {
    names
        .iter()
        .map(|(session, number)| ((*session).to_owned(), *number))
        .collect()
}

#[test]
fn a_session_gets_its_two_notices_in_their_order() {
    let mut ledger = Ledger::default();
    let a = ledger.begin(about("a"));
    let b = ledger.begin(about("b"));
    assert_eq!(ledger.end(b, "gone", 9), Ended::Noted);
    assert_eq!(ledger.end(b, "again", 10), Ended::Before, "the first word counts");
    assert_eq!(next(&mut ledger), ["+a:1", "+b:2", "-b:2 gone"]);
    assert_eq!(next(&mut ledger), [""; 0], "one batch at a time");
    // It ends while its connect is on its way.
    assert_eq!(ledger.end(a, "gone", 9), Ended::Noted);
    assert_eq!(next(&mut ledger), [""; 0]);
    ledger.settle();
    assert_eq!(next(&mut ledger), ["-a:1 gone"]);
    ledger.settle();
    assert_eq!((ledger.waiting(), ledger.written()), (0, 2));
    assert_eq!(ledger.end(a, "gone", 9), Ended::Before);
}

#[test]
fn batches_are_bounded_and_keep_the_order() {
    let mut ledger = Ledger::default();
    let keys: Vec<u64> = (0..5).map(|n| ledger.begin(about(&n.to_string()))).collect();
    ledger.end(keys[0], "gone", 9);
    assert_eq!(texts(ledger.batch(2)), ["+0:1", "-0:1 gone"]);
    ledger.settle();
    assert_eq!(texts(ledger.batch(3)), ["+1:2", "+2:3", "+3:4"]);
    assert!(ledger.recall(1), "it was not written");
    assert_eq!(texts(ledger.batch(2)), ["+1:2", "+2:3"]);
    assert!(ledger.recall(2), "it was written, and only the answer was lost");
    assert_eq!(next(&mut ledger), ["+3:4", "+4:5"]);
}

#[test]
fn who_was_taken_for_dead_is_somebody_else() {
    let mut ledger = Ledger::default();
    let keys = ["lives", "ended", "sent"].map(|name| (name, ledger.begin(about(name))));
    next(&mut ledger);
    ledger.settle();
    ledger.end(keys[1].1, "gone", 9);
    let late = ledger.begin(about("late"));
    ledger.end(late, "gone", 9);
    // The burial came before this batch.
    assert_eq!(next(&mut ledger).len(), 3);
    ledger.buried(1, 9);
    let batch = next(&mut ledger);
    assert_eq!(batch.len(), 4, "{batch:?}");
    assert!(batch.iter().any(|text| text.starts_with("++lives:")), "{batch:?}");
    assert!(batch.iter().any(|text| text.starts_with("++sent:")), "{batch:?}");
    assert!(!batch.contains(&"++lives:1".to_owned()), "under another name");
    let late: Vec<_> = batch.iter().filter(|text| text.contains("late")).collect();
    assert!(
        late[0].starts_with("+late") && late[1].starts_with("-late"),
        "{batch:?}"
    );
}

#[test]
fn what_redis_lost_is_written_again_under_the_same_names() {
    let mut ledger = Ledger::default();
    let keys = ["a", "b", "c", "d"].map(|name| ledger.begin(about(name)));
    next(&mut ledger);
    ledger.settle();
    ledger.end(keys[1], "gone", 9);
    next(&mut ledger);
    ledger.settle();
    ledger.end(keys[2], "gone", 9);
    assert!(!ledger.recall(1) && !ledger.recall(0) && !ledger.recall(7));
    // It went back to where b was connected and d was not, and holds somebody else.
    ledger.lost(&held(&[("a", 1), ("b", 2), ("x", 99)]), 77);
    let mut batch = next(&mut ledger);
    batch.sort();
    let again = ["++c:3", "++d:4", "-b:2 node_lost", "-c:3 gone", "-x:99 node_lost"];
    assert_eq!(batch, again);
    ledger.settle();
    assert_eq!(next(&mut ledger), [""; 0]);
    // Emptied, with a batch on its way of which nothing is known.
    let _e = ledger.begin(about("e"));
    assert_eq!(next(&mut ledger).len(), 1);
    ledger.lost(&[], 78);
    let mut batch = next(&mut ledger);
    batch.sort();
    assert_eq!(batch.len(), 3);
    assert!(batch.iter().all(|text| text.starts_with("++")), "{batch:?}");
}

#[test]
fn too_many_short_sessions_drop_both_notices_or_none() {
    let mut ledger = Ledger::default();
    let lives = ledger.begin(about("lives"));
    for number in 0..100_000 {
        let key = ledger.begin(about(&number.to_string()));
        assert_eq!(ledger.end(key, "gone", 9), Ended::Noted);
    }
    for _ in 0..1_000 {
        let key = ledger.begin(about("more"));
        assert_eq!(ledger.end(key, "gone", 9), Ended::Dropped);
        assert_eq!(ledger.end(key, "gone", 9), Ended::Before);
    }
    assert_eq!(ledger.waiting(), 100_001, "what is dropped leaves nothing behind");
    let (mut connects, mut ends) = (0, 0);
    ledger.end(lives, "gone", 9);
    while let Some(batch) = ledger.batch(256) {
        for notice in &batch.notices {
            match notice.what {
                What::Connected { .. } => connects += 1,
                What::Ended { .. } => ends += 1,
            }
        }
        ledger.settle();
    }
    assert_eq!(
        (connects, ends),
        (100_000, 100_000),
        "the one that lived is one too many"
    );
    let key = ledger.begin(about("more"));
    assert_eq!(ledger.end(key, "gone", 9), Ended::Noted, "there is room again");
}

#[test]
fn the_reason_of_a_lost_node_is_the_one_of_the_script() {
    assert!(include_str!("../bus/redis/notices.lua").contains(&format!("'{NODE_LOST}'")));
}
