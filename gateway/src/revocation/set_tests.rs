use proptest::prelude::*;

use super::*;

fn jti(jti: &str) -> Tokens {
    Tokens::Jti { jti: jti.to_owned() }
}

fn user(user: &str, issued_before: u64) -> Tokens {
    Tokens::User {
        user: user.to_owned(),
        issued_before,
    }
}

fn token(id: Option<&str>, issued_at: Option<u64>) -> Credential {
    Credential {
        id: id.map(Into::into),
        issued_at,
        expires_at: u64::MAX,
    }
}

fn set(entries: &[(Tokens, u64)], now_ms: u64) -> Set {
    let mut set = Set::default();
    for (tokens, until_ms) in entries {
        set.merge(tokens, *until_ms, now_ms, || true);
    }
    set
}

fn refuses(set: &Set, user: &str, token: &Credential, now_ms: u64) -> bool {
    set.has_id(token, now_ms) || set.has_user(user, token, now_ms)
}

#[test]
fn who_is_refused() {
    let set = set(&[(jti("a"), 1_000), (user("ann", 50), 2_000)], 0);
    for (name, id, issued_at, now_ms, refused) in [
        ("bob", Some("a"), Some(99), 0, true),
        ("bob", Some("a"), None, 999, true),
        ("bob", Some("a"), None, 1_000, false),
        ("bob", Some("A"), None, 0, false),
        ("bob", None, None, 0, false),
        ("ann", None, Some(49), 0, true),
        ("ann", Some("b"), Some(0), 1_999, true),
        ("ann", None, Some(50), 0, false),
        ("ann", None, Some(49), 2_000, false),
        // It does not say when it was issued.
        ("ann", Some("b"), None, 0, true),
        ("ann", Some("a"), Some(50), 0, true),
        ("Ann", None, Some(0), 0, false),
        // A user is no id, and an id is no user.
        ("a", Some("ann"), Some(0), 0, false),
    ] {
        let token = token(id, issued_at);
        assert_eq!(
            refuses(&set, name, &token, now_ms),
            refused,
            "{name} {token:?} at {now_ms}"
        );
    }
}

#[test]
fn who_is_meant() {
    for (tokens, name, id, issued_at, among) in [
        (jti("a"), "ann", Some("a"), None, true),
        (jti("a"), "a", None, None, false),
        (user("ann", 50), "ann", None, Some(49), true),
        (user("ann", 50), "ann", None, Some(50), false),
        (user("ann", 50), "ann", None, None, true),
        (user("ann", 50), "bob", Some("ann"), Some(0), false),
    ] {
        assert_eq!(
            is_among(&tokens, name, &token(id, issued_at)),
            among,
            "{tokens:?} {name}"
        );
    }
}

#[test]
fn the_later_end_and_the_later_time_count() {
    let mut set = Set::default();
    let mut merge = |tokens: &Tokens, until_ms, now_ms| set.merge(tokens, until_ms, now_ms, || true);
    for (tokens, until_ms, now_ms, merged) in [
        (user("ann", 50), 1_000, 0, Merged::News),
        (user("ann", 50), 1_000, 0, Merged::Known),
        (user("ann", 40), 900, 0, Merged::Known),
        (user("ann", 40), 1_100, 0, Merged::News),
        (user("ann", 60), 900, 0, Merged::News),
        (user("ann", 60), 1_100, 0, Merged::Known),
        (user("ann", 99), 500, 500, Merged::Known),
        (jti("a"), 1_000, 0, Merged::News),
        (jti("a"), 999, 0, Merged::Known),
        (jti("a"), 1_001, 0, Merged::News),
    ] {
        assert_eq!(
            merge(&tokens, until_ms, now_ms),
            merged,
            "{tokens:?} until {until_ms}"
        );
    }
    let old = token(None, Some(59));
    assert!(set.has_user("ann", &old, 1_099) && !set.has_user("ann", &old, 1_100));
    assert_eq!(set.len(), 2);
    // One that is over has no say in the next one's time.
    assert_eq!(set.merge(&user("ann", 10), 3_000, 2_000, || false), Merged::News);
    assert!(!set.has_user("ann", &old, 2_000));
}

#[test]
fn without_a_place_nothing_new_is_taken() {
    let mut set = set(&[(jti("a"), 1_000)], 0);
    assert_eq!(set.merge(&jti("b"), 1_000, 0, || false), Merged::Full);
    assert_eq!(set.merge(&jti("a"), 2_000, 0, || false), Merged::News);
    assert_eq!(
        (set.len(), set.expire(1_000), set.expire(2_000), set.len()),
        (1, 0, 1, 0)
    );
}

#[test]
fn what_the_shared_set_lacks_is_known() {
    let mut set = set(
        &[(jti("a"), 1_000), (jti("b"), 1_000), (user("ann", 50), 1_000)],
        0,
    );
    assert!(set.seen(&jti("a"), 1_000, 1));
    assert!(!set.seen(&jti("b"), 999, 1), "it would end too early there");
    assert!(!set.seen(&user("ann", 49), 2_000, 1) && !set.seen(&jti("c"), 1, 1));
    let mut unseen = set.unseen(1, 0);
    unseen.sort_by_key(|(tokens, _)| format!("{tokens:?}"));
    assert_eq!(unseen, [(jti("b"), 1_000), (user("ann", 50), 1_000)]);
    assert!(set.unseen(1, 1_000).is_empty(), "what is over is not lacking");
    assert!(set.seen(&user("ann", 50), 1_000, 2));
    assert_eq!(set.unseen(2, 0).len(), 2, "each look is one of its own");
    set.merge(&user("ann", 60), 1_000, 0, || true);
    assert_eq!(
        set.unseen(2, 0).len(),
        3,
        "what changed here is not what was seen"
    );
}

fn any_tokens() -> impl Strategy<Value = Tokens> {
    prop_oneof![
        "[ab]".prop_map(|name| jti(&name)),
        ("[ab]", 0..6_u64).prop_map(|(name, time)| user(&name, time)),
    ]
}

fn any_entries() -> impl Strategy<Value = Vec<(Tokens, u64)>> {
    proptest::collection::vec((any_tokens(), 0..6_u64), 0..8)
}

/// All that can be asked of a set about the names that the strategies make.
fn behaviour(set: &Set) -> Vec<bool> {
    let mut answers = Vec::new();
    for now_ms in 0..7 {
        for name in ["a", "b"] {
            for id in [None, Some("a"), Some("b")] {
                for issued_at in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)] {
                    answers.push(refuses(set, name, &token(id, issued_at), now_ms));
                }
            }
        }
    }
    answers
}

proptest! {
    /// In any order, grouping and repetition, the same is refused.
    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        entries in any_entries(), order in any::<u64>(), now_ms in 0..3_u64
    ) {
        let expected = behaviour(&set(&entries, now_ms));
        let mut mixed = entries.clone();
        mixed.extend_from_slice(&entries);
        // A shuffle that shrinks well.
        for at in (1..mixed.len()).rev() {
            mixed.swap(at, (order.rotate_left(at as u32) % (at as u64 + 1)) as usize);
        }
        prop_assert_eq!(&behaviour(&set(&mixed, now_ms)), &expected);
        // What one set tells another is all there is to know.
        let told = set(&entries, now_ms).unseen(1, now_ms);
        prop_assert_eq!(behaviour(&set(&told, now_ms)), expected);
    }

    /// Whatever comes, what was revoked is refused until its end.
    #[test]
    fn what_was_revoked_stays_refused(
        before in any_entries(), revoked in any_tokens(), until_ms in 1..6_u64, after in any_entries(), expiry in 0..6_u64
    ) {
        let mut set = set(&before, 0);
        set.merge(&revoked, until_ms, 0, || true);
        for (tokens, end) in &after {
            set.merge(tokens, *end, 0, || true);
        }
        set.expire(expiry);
        for now_ms in expiry..until_ms {
            for name in ["a", "b"] {
                for issued_at in [None, Some(0), Some(4)] {
                    for id in [None, Some("a"), Some("b")] {
                        let token = token(id, issued_at);
                        prop_assert!(!is_among(&revoked, name, &token) || refuses(&set, name, &token, now_ms));
                    }
                }
            }
        }
    }

    /// Nobody is refused whom no revocation is about, and nobody after the latest end.
    #[test]
    fn nobody_else_is_refused(entries in any_entries(), issued_at in 0..6_u64) {
        let set = set(&entries, 0);
        let token = token(Some("a"), Some(issued_at));
        let meant: Vec<_> = entries.iter().filter(|(tokens, _)| is_among(tokens, "a", &token)).collect();
        let refused = refuses(&set, "a", &token, 0);
        prop_assert_eq!(refused, meant.iter().any(|(_, until_ms)| *until_ms > 0));
        let latest = entries.iter().map(|(_, until_ms)| *until_ms).max().unwrap_or_default();
        prop_assert!(!refuses(&set, "a", &token, latest));
    }
}
