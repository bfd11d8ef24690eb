use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn token(id: &str, issued_at: u64) -> Credential {
    Credential {
        id: Some(id.into()),
        issued_at: Some(issued_at),
        expires_at: u64::MAX,
    }
}

fn jti(number: u32) -> Tokens {
    Tokens::Jti {
        jti: number.to_string(),
    }
}

const LATER: u64 = u64::MAX >> 12;

#[test]
fn what_is_revoked_is_refused_until_its_end() {
    let revocations = Revocations::default();
    let now = SystemTime::now();
    let check = |user: &str, id: &str, now| revocations.check(user, &token(id, 100), now);
    assert_eq!(check("ann", "7", now), Ok(()));
    let until_ms = unix_ms(now) + 60_000;
    let user = Tokens::User {
        user: "bob".to_owned(),
        issued_before: 101,
    };
    assert_eq!(revocations.merge(&jti(7), until_ms), Merged::News);
    assert_eq!(revocations.merge(&user, until_ms), Merged::News);
    assert_eq!(check("ann", "7", now), Err(Refusal::TokenRevoked));
    assert_eq!(check("bob", "8", now), Err(Refusal::TokenRevoked));
    assert_eq!(check("ann", "8", now), Ok(()));
    let over = UNIX_EPOCH + Duration::from_millis(until_ms);
    assert_eq!(check("ann", "7", over), Ok(()));
    assert_eq!(check("bob", "8", over), Ok(()));
    revocations.expire(until_ms);
    assert_eq!(revocations.len(), 0);
}

#[test]
fn one_too_many_is_refused_and_what_is_over_makes_place() {
    let revocations = Revocations::new(
        Config {
            max: 100,
            ..Config::default()
        },
        Counts::noop(),
    );
    let soon = unix_ms(SystemTime::now()) + 200;
    for number in 0..100 {
        let until_ms = if number == 0 { soon } else { LATER };
        assert_eq!(revocations.merge(&jti(number), until_ms), Merged::News);
    }
    while unix_ms(SystemTime::now()) < soon {
        assert_eq!(
            revocations.merge(&jti(1), LATER),
            Merged::Known,
            "no place is needed"
        );
        let merged = revocations.merge(&jti(100), LATER);
        // The end may come in between.
        assert!(merged == Merged::Full || unix_ms(SystemTime::now()) >= soon);
    }
    revocations.merge(&jti(100), LATER);
    assert!(
        revocations
            .check("ann", &token("100", 0), SystemTime::now())
            .is_err()
    );
    assert_eq!(
        (revocations.merge(&jti(101), LATER), revocations.len()),
        (Merged::Full, 100)
    );
    revocations.set_config(Config::default());
    assert_eq!(revocations.merge(&jti(101), LATER), Merged::News);
}

#[test]
fn names_that_no_api_would_take_are_not_kept() {
    let revocations = Revocations::default();
    for jti in [String::new(), "x".repeat(257)] {
        assert_eq!(revocations.merge(&Tokens::Jti { jti }, LATER), Merged::Known);
    }
    assert_eq!(revocations.len(), 0);
}

#[test]
fn many_threads_count_right() {
    let revocations = Revocations::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..500 {
                    revocations.merge(&jti(number), LATER);
                }
            });
        }
    });
    assert_eq!((revocations.len(), revocations.unseen(1).len()), (500, 500));
}
