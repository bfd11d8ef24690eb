//! Another token on the same connection.

use adapter_redis::Tokens;
use serde_json::Map;

use super::*;
use crate::{auth::Claims, revocation::Ending};

const POLICY: &str = r#"
[identity]
user = "claims.sub"
tenant = "claims.tenant_id"
[[join]]
room = "team:{item}"
each = "claims.teams"
[[subscribe]]
event = "enter"
leave = "leave"
room = "file:{arg}"
allow = "arg in claims.files"
"#;

impl House {
    /// One that was let in with these claims, and is in its rooms.
    fn admitted(doors: impl Into<Option<Box<dyn Doors>>>, claims: &serde_json::Value) -> House {
        let (mut house, joins) = House::built(POLICY, claims, doors);
        house.tasks.spawn(joins.run());
        let session = &house.session;
        let claims = Claims::unverified(claims.clone(), BEGIN + 600);
        let grants = session.common.rules.admit(&claims, &json!({}), SystemTime::now());
        let rooms = grants.unwrap().rooms;
        for room in &rooms {
            session.join(room, keep().unwrap());
        }
        session.state().given = Given::new(rooms);
        session.set_standing(&claims);
        session.begin(LEEWAY);
        house
    }

    fn shows_token(&self, claims: &serde_json::Value) {
        self.say("auth:refresh", &json!({"token": token(claims, BEGIN + 1200)}));
    }

    fn refreshed(&self, outcome: &str) -> usize {
        self.counted(&format!(
            "roomcast_auth_refreshes_total{{outcome=\"{outcome}\"}} "
        ))
    }

    async fn until_refreshed(&self, outcome: &str) {
        self.until(|h| h.refreshed(outcome) == 1 && !h.is_waiting()).await;
    }

    fn sorted_rooms(&self) -> Vec<String> {
        let mut rooms = self.rooms();
        rooms.sort();
        rooms
    }
}

fn token(claims: &serde_json::Value, expires_at: u64) -> String {
    signed(SECRET, claims, expires_at)
}

fn signed(secret: &str, claims: &serde_json::Value, expires_at: u64) -> String {
    let keys = Keys::new(Some(secret), None, &[]).unwrap();
    let mut claims: Map<String, serde_json::Value> = claims.as_object().unwrap().clone();
    claims.insert("exp".to_owned(), expires_at.into());
    auth::sign(&keys, claims, Duration::ZERO, SystemTime::now()).unwrap()
}

fn ann(teams: &[&str], files: &[&str]) -> serde_json::Value {
    json!({"sub": "42", "teams": teams, "files": files})
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_changes_nothing() {
    let good = ann(&["a"], &[]);
    let later = BEGIN + 1200;
    for (sent, outcome) in [
        (json!({"token": token(&good, BEGIN - 5)}), "token_expired"),
        (
            json!({"token": signed("another-secret-of-more-than-32-bytes-xx", &good, later)}),
            "token_signature",
        ),
        (json!({"token": "garbage"}), "token_malformed"),
        (json!({"token": ""}), "token_malformed"),
        (
            json!({"token": token(&json!({"sub": "43"}), later)}),
            "identity_changed",
        ),
        (
            json!({"token": token(&json!({"sub": "42", "tenant_id": "t"}), later)}),
            "identity_changed",
        ),
        (json!({"token": token(&json!({}), later)}), "claim_missing"),
        (json!({"token": 7}), "bad_data"),
        (json!({"token": null}), "bad_data"),
        (json!({}), "bad_data"),
        (json!(token(&good, later)), "bad_data"),
        (json!([token(&good, later)]), "bad_data"),
        (json!(null), "bad_data"),
    ] {
        let house = House::admitted(None, &good);
        let before = house.session.credential();
        house.say("auth:refresh", &sent);
        house.until_refreshed(outcome).await;
        assert_eq!(house.session.credential(), before, "{outcome}");
        assert_eq!(
            (house.rooms(), house.session.common.expiry.len()),
            (vec!["team:a".to_owned()], 1)
        );
        assert!(house.bell.is_silent(), "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rooms_follow_the_claims_before_anything_else_is_handled() {
    let house = House::admitted(None, &ann(&["a", "b", "taken"], &["1", "2"]));
    for name in ["1", "2"] {
        house.send("enter", name);
        let (_, confirm) = house.bell.asked().await;
        confirm.send(keep()).ok().unwrap();
        house.until(|h| !h.is_waiting()).await;
    }
    // What backends did stays.
    house.enter("backend");
    house.session.leave(&room("team:taken"));
    house.shows_token(&ann(&["b", "c", "taken"], &["2", "3"]));
    house.send("enter", "1");
    house.send("enter", "3");
    let (name, confirm) = house.bell.asked().await;
    assert_eq!(name, "team:c");
    assert_eq!(house.refreshed("refreshed"), 0);
    assert_eq!(
        house.sorted_rooms(),
        ["backend", "file:1", "file:2", "team:a", "team:b"]
    );
    confirm.send(keep()).ok().unwrap();
    let (name, confirm) = house.bell.asked().await;
    assert_eq!(name, "file:3", "1 was refused by the new claims");
    assert_eq!(house.sorted_rooms(), ["backend", "file:2", "team:b", "team:c"]);
    assert_eq!(house.session.credential().expires_at, BEGIN + 1200);
    confirm.send(keep()).ok().unwrap();
    house.until_refreshed("refreshed").await;
    assert_eq!(
        house.sorted_rooms(),
        ["backend", "file:2", "file:3", "team:b", "team:c"]
    );
    assert_eq!(followed(&house), (0, vec![]), "the policy says nothing else");
}

#[tokio::test(start_paused = true)]
async fn the_end_moves_with_the_token() {
    let mut house = House::admitted(None, &ann(&[], &[]));
    let expiry = house.session.common.expiry.clone();
    house.tasks.spawn(async move { drop(expiry.run().await) });
    house.shows_token(&ann(&[], &[]));
    house.until_refreshed("refreshed").await;
    let answers = house.dropped("socket_gone");
    tokio::time::sleep(Duration::from_secs(1100)).await;
    assert_eq!(
        house.dropped("socket_gone"),
        answers,
        "no warning of the first one"
    );
    assert!(house.session.state().ending.is_none());
    tokio::time::sleep(Duration::from_secs(110)).await;
    assert_eq!(house.dropped("socket_gone"), answers + 1);
    assert!(house.session.state().ending.is_some());
    // Now it is too late for another one.
    house.shows_token(&ann(&["a"], &[]));
    house.until(|h| !h.is_waiting()).await;
    assert_eq!((house.refreshed("refreshed"), house.rooms()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_refused_refuses_the_token() {
    let house = House::admitted(None, &ann(&["a"], &[]));
    house.shows_token(&ann(&["b", "c"], &[]));
    let (_, first) = house.bell.asked().await;
    let (_, second) = house.bell.asked().await;
    first.send(keep()).ok().unwrap();
    second.send(Err(Refused)).ok().unwrap();
    house.until_refreshed("unavailable").await;
    assert_eq!(house.rooms(), ["team:a"]);
    assert_eq!(house.session.credential().expires_at, BEGIN + 600);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_comes_meanwhile_decides() {
    for follows in [false, true] {
        let house = House::admitted(None, &ann(&["a"], &[]));
        house.shows_token(&ann(&["b"], &[]));
        let (_, first) = house.bell.asked().await;
        let other = POLICY.replace("team:{item}", "crew:{item}");
        house.session.common.rules.set(InForce {
            policy: Arc::new(Policy::parse(&other).unwrap()),
            shadow: None,
        });
        let owed = follows.then(|| house.session.follow());
        first.send(keep()).ok().unwrap();
        let (name, confirm) = house.bell.asked().await;
        assert_eq!((name.as_str(), house.refreshed("refreshed")), ("crew:b", 0));
        confirm.send(keep()).ok().unwrap();
        house.until_refreshed("refreshed").await;
        assert_eq!(house.rooms(), ["crew:b"]);
        // What the policy gave with the claims before comes too late.
        if let Some(Follow::Rooms {
            enter, generation, ..
        }) = owed
        {
            assert_eq!(enter, [room("crew:a")]);
            assert!(
                !house
                    .session
                    .enter_given(generation, room("crew:a"), keep().unwrap())
            );
        }
        assert_eq!(followed(&house), (0, vec![]));
        assert_eq!(house.rooms(), ["crew:b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_policy_followed_meanwhile_changes_nothing() {
    let house = House::admitted(None, &ann(&["a"], &[]));
    house.shows_token(&ann(&["b"], &[]));
    let (_, first) = house.bell.asked().await;
    assert_eq!(followed(&house), (0, vec![]));
    first.send(keep()).ok().unwrap();
    // It looks again, and opens the room again.
    let (_, second) = house.bell.asked().await;
    second.send(keep()).ok().unwrap();
    house.until_refreshed("refreshed").await;
    assert_eq!(house.rooms(), ["team:b"]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_meanwhile_enters_nothing_and_leaves_nothing_behind() {
    let house = House::admitted(None, &ann(&["a"], &[]));
    house.shows_token(&ann(&["b"], &[]));
    let (_, mut confirm) = house.bell.asked().await;
    house.session.gone(CloseReason::TransportClose);
    timeout(Duration::from_secs(10), confirm.closed()).await.unwrap();
    assert_eq!(
        (house.session.common.expiry.len(), house.refreshed("refreshed")),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn too_many_are_not_looked_at() {
    let house = House::admitted(None, &ann(&["a"], &[]));
    for _ in 0..8 {
        house.shows_token(&json!({"sub": "43"}));
    }
    house
        .until(|h| h.refreshed("identity_changed") == 5 && h.refreshed("rate_limited") == 3)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    house.shows_token(&ann(&["a"], &[]));
    house.until_refreshed("refreshed").await;
}

#[tokio::test(start_paused = true)]
async fn without_the_task_it_is_refused() {
    let (house, joins) = House::built(POLICY, &ann(&[], &[]), None);
    drop(joins);
    house.shows_token(&ann(&[], &[]));
    assert_eq!(
        (
            house.refreshed("unavailable"),
            house.dropped("joining_queue_full")
        ),
        (1, 1)
    );
    assert!(!house.is_waiting());
}

mod any_order {
    use proptest::prelude::*;

    use super::*;
    use crate::joining::Entry;

    /// Open the second time that it is asked, so that something comes between.
    #[derive(Clone)]
    struct Slow;

    impl Doors for Slow {
        fn enter(&self, _: &RoomName) -> Entry {
            Entry::Later(Box::pin(async {
                tokio::task::yield_now().await;
                keep()
            }))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Another policy comes into force: rooms begin with this.
        Policy(char),
        /// Its rooms follow, as far as that goes at once.
        Follow,
        /// What it was owed is open.
        Owed,
        Token(Vec<char>),
        Pause,
    }

    fn step() -> impl Strategy<Value = Step> {
        let teams = prop::collection::vec(prop::sample::select(vec!['a', 'b', 'c']), 0..3);
        prop_oneof![
            prop::sample::select(vec!['x', 'y']).prop_map(Step::Policy),
            Just(Step::Follow),
            Just(Step::Owed),
            teams.prop_map(Step::Token),
            Just(Step::Pause),
        ]
    }

    fn policy(prefix: char) -> Arc<Policy> {
        // Of `a` both give the same room.
        let both = "room = \"both:{item}\"\nwhen = \"item == 'a'\"\neach = \"claims.teams\"\n[[join]]\n";
        let rule = format!("{both}room = \"{prefix}:{{item}}\"\nwhen = \"item != 'a'\"");
        let text = POLICY.replace("room = \"team:{item}\"", &rule);
        Arc::new(Policy::parse(&text).unwrap_or_else(|e| panic!("{e:?}")))
    }

    fn follow(house: &House) {
        loop {
            let Follow::Rooms {
                enter, generation, ..
            } = house.session.follow()
            else {
                panic!("it is the same user")
            };
            if enter.is_empty() {
                return;
            }
            for room in enter {
                house.session.enter_given(generation, room, keep().unwrap());
            }
        }
    }

    async fn run(steps: Vec<Step>) -> (Vec<String>, Vec<String>) {
        let house = House::admitted(Box::new(Slow) as Box<dyn Doors>, &ann(&["a"], &[]));
        let rules = &house.session.common.rules;
        let set = |prefix| {
            rules.set(InForce {
                policy: policy(prefix),
                shadow: None,
            });
        };
        set('x');
        follow(&house);
        let mut owed = None;
        for step in steps {
            match step {
                Step::Policy(prefix) => set(prefix),
                Step::Follow => owed = Some(house.session.follow()),
                Step::Owed => {
                    if let Some(Follow::Rooms {
                        enter, generation, ..
                    }) = owed.take()
                    {
                        for room in enter {
                            house.session.enter_given(generation, room, keep().unwrap());
                        }
                    }
                }
                Step::Token(teams) => {
                    let teams: Vec<String> = teams.iter().map(char::to_string).collect();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    house.shows_token(&ann(&teams.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
                }
                Step::Pause => tokio::task::yield_now().await,
            }
        }
        house.until(|h| !h.is_waiting()).await;
        follow(&house);
        let claims = Claims::unverified(house.session.claims(), 0);
        let grants = rules.admit(&claims, &json!({}), SystemTime::now()).unwrap();
        let mut granted: Vec<String> = grants.rooms.iter().map(ToString::to_string).collect();
        granted.sort();
        (house.sorted_rooms(), granted)
    }

    proptest! {
        /// However policies and tokens come one after the other: in the end it is in the rooms that the last of both give.
        #[test]
        fn policies_and_tokens_end_in_the_same_rooms(steps in prop::collection::vec(step(), 0..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let (rooms, granted) = runtime.block_on(run(steps));
            prop_assert_eq!(rooms, granted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_before_or_meanwhile_is_refused() {
    let mut next = ann(&["b"], &[]);
    next["jti"] = json!("next");
    for before in [true, false] {
        let house = House::admitted(None, &ann(&["a"], &[]));
        let common = &house.session.common;
        let ending = Ending {
            revocations: common.revocations.clone(),
            roster: common.roster.clone(),
            population: common.population.clone(),
            sockets: common.sockets.clone(),
        };
        let tokens = Tokens::Jti {
            jti: "next".to_owned(),
        };
        let revoke = || ending.revoke(&tokens, u64::MAX >> 12);
        if before {
            revoke().await;
        }
        house.shows_token(&next);
        let (_, confirm) = house.bell.asked().await;
        if !before {
            revoke().await;
        }
        confirm.send(keep()).ok().unwrap();
        house.until_refreshed("token_revoked").await;
        assert_eq!(house.rooms(), ["team:a"]);
        assert_eq!(house.session.credential().expires_at, BEGIN + 600);
    }
}
