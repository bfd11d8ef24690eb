//! The policy as tables: who gets which rooms, which events mean what, which files are refused.

mod files;
mod ingests;
mod relays;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn asking<'a>(claims: &'a Value, identity: &'a Identity, argument: &'a Value) -> Asking<'a> {
    Asking {
        claims,
        identity,
        argument,
        now: now(),
    }
}

fn crm() -> Policy {
    Policy::parse(WHATSAPP_CRM).unwrap()
}

fn rooms(policy: &Policy, claims: Value, query: Value) -> Result<Vec<String>, Refusal> {
    let grants = policy.admit(
        &Claims::unverified(claims, 0),
        &query,
        now(),
        &mut Trail::counting(),
    )?;
    Ok(grants.rooms.iter().map(|r| r.as_str().to_owned()).collect())
}

fn enter(policy: &Policy, event: &str, argument: Value, claims: &Value) -> Result<String, Refusal> {
    let identity = Identity {
        user: "42".into(),
        tenant: None,
    };
    match policy.rule(event) {
        Some(Rule::Subscribe(rule)) => rule
            .enter(&asking(claims, &identity, &argument), &mut Trail::counting())
            .map(|r| r.as_str().to_owned()),
        other => panic!("{event} is {other:?}"),
    }
}

#[test]
fn rooms_on_connect() {
    let bots = json!({"sub": "42", "bots": ["b1"]});
    for (claims, query, expect) in [
        (json!({"sub": "42"}), json!({}), Ok(vec!["system", "user:42"])),
        (json!({"sub": 42}), json!({}), Ok(vec!["system", "user:42"])),
        (
            json!({"sub": "42", "tenant_id": "t", "account_id": "a"}),
            json!({}),
            Ok(vec!["system", "user:42", "user:a", "tenant:t"]),
        ),
        (
            json!({"sub": "42", "account_id": "42"}),
            json!({}),
            Ok(vec!["system", "user:42"]),
        ),
        (
            json!({"sub": "42", "account_id": null}),
            json!({}),
            Ok(vec!["system", "user:42"]),
        ),
        (
            json!({"sub": "42", "tenant_id": null}),
            json!({}),
            Ok(vec!["system", "user:42"]),
        ),
        (
            bots.clone(),
            json!({"botId": "b1"}),
            Ok(vec!["system", "user:42", "user:42:bot:b1"]),
        ),
        (
            bots.clone(),
            json!({"botId": "b2"}),
            Ok(vec!["system", "user:42"]),
        ),
        (bots.clone(), json!({"botId": "*"}), Ok(vec!["system", "user:42"])),
        (bots, json!({}), Ok(vec!["system", "user:42"])),
        (
            json!({"sub": "42"}),
            json!({"botId": "b1"}),
            Ok(vec!["system", "user:42"]),
        ),
        (
            json!({"sub": "1", "bots": ["*"]}),
            json!({"botId": "b"}),
            Ok(vec!["system", "user:1", "user:1:bot:b"]),
        ),
        (
            json!({"sub": "1", "bots": ["*"]}),
            json!({"botId": "{x}"}),
            Ok(vec!["system", "user:1"]),
        ),
        (json!({}), json!({}), Err(Refusal::ClaimMissing)),
        (json!({"sub": ""}), json!({}), Err(Refusal::ClaimMissing)),
        (json!({"sub": ["42"]}), json!({}), Err(Refusal::ClaimMissing)),
        (json!({"sub": 1.5}), json!({}), Err(Refusal::ClaimMissing)),
        (
            json!({"sub": "42", "tenant_id": {"a": 1}}),
            json!({}),
            Err(Refusal::ClaimMissing),
        ),
    ] {
        let expect = expect.map(|r| r.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            rooms(&crm(), claims.clone(), query.clone()),
            expect,
            "{claims} {query}"
        );
    }
}

#[test]
fn rooms_for_each_item_of_a_list() {
    let policy = Policy::parse(
        r#"
        [identity]
        user = "claims.sub"
        [[join]]
        each = "claims.teams"
        room = "team:{item.id}"
        when = "item.active && claims.teams.exists(t, t.id == item.id)"
        "#,
    )
    .unwrap();
    for (teams, expect) in [
        (
            json!([{"id": "a", "active": true}, {"id": "b", "active": false}]),
            vec!["team:a"],
        ),
        (
            json!([{"id": 7, "active": true}, {"id": 7, "active": true}]),
            vec!["team:7"],
        ),
        (json!([{"active": true}, "x", null]), vec![]),
        (json!("a"), vec![]),
        (json!(null), vec![]),
    ] {
        let claims = json!({"sub": "u", "teams": teams});
        assert_eq!(rooms(&policy, claims, json!({})).unwrap(), expect, "{teams}");
    }
    assert_eq!(
        rooms(&policy, json!({"sub": "u"}), json!({})).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_long_list_gives_its_rooms_and_a_condition_that_goes_through_it_each_time_does_not() {
    let policy = |when: &str| {
        let text =
            "[identity]\nuser = \"claims.sub\"\n[[join]]\neach = \"claims.teams\"\nroom = \"team:{item}\"\n";
        Policy::parse(&format!("{text}when = \"{when}\"\n")).unwrap()
    };
    let teams: Vec<u32> = (0..5_000).chain(0..5_000).collect();
    let claims = Claims::unverified(json!({"sub": "u", "teams": teams}), 0);
    let (simple, dear) = (policy("item >= 0"), policy("claims.teams.exists(t, t == item)"));
    let mut trail = Trail::counting();
    let simple = simple.admit(&claims, &json!({}), now(), &mut trail).unwrap();
    assert_eq!((simple.rooms.len(), trail.failures()), (5_000, 0));
    let mut trail = Trail::counting();
    let dear = dear.admit(&claims, &json!({}), now(), &mut trail).unwrap();
    assert!(
        dear.rooms.len() < 100 && trail.failures() > 9_000,
        "{} rooms",
        dear.rooms.len()
    );
}

#[test]
fn functions_are_those_that_there_are() {
    let policy = |when: &str| {
        let text = "[identity]\nuser = \"claims.sub\"\n[[join]]\nroom = \"r\"\nwhen = ";
        Policy::parse(&format!("{text}{}", json!(when)))
    };
    for when in [
        "size(claims.sub) == 1 && claims.sub.size() == 1",
        "claims.sub.contains('u') && claims.sub.startsWith('u') && claims.sub.endsWith('u')",
        "claims.sub.matches('^u$')",
        "string(1) == '1' && int('1') == 1 && uint('1') == 1u && double('1') == 1.0 && bool('true') && dyn(1) == 1",
        "has(claims.sub) && [1, 2].exists_one(x, x == 1) && [1].all(x, x == 1) && [1].map(x, x + 1) == [2]",
    ] {
        let rooms = rooms(&policy(when).unwrap(), json!({"sub": "u"}), json!({})).unwrap();
        assert_eq!(rooms, ["r"], "{when}");
    }
    for when in [
        "max(1, 2) == 2",
        "claims.sub.lower() == 'u'",
        "contain(claims.sub, 'u')",
        "now() > 1",
    ] {
        let error = policy(when).unwrap_err()[0].to_string();
        assert!(
            error.contains("there is no function ") && error.contains("there are size, "),
            "{error}"
        );
    }
}

#[test]
fn rooms_on_request() {
    use Refusal::{BadArgument, NotAllowed};
    let listed = json!({"whatsapp_accounts": ["1", "x,whatsapp:y", 5], "campaigns": []});
    let all = json!({"whatsapp_accounts": ["*"]});
    for (claims, argument, expect) in [
        (&listed, json!("1"), Ok("whatsapp:1")),
        (&listed, json!("2"), Err(NotAllowed)),
        (&listed, json!(5), Ok("whatsapp:5")),
        (&listed, json!("5"), Err(NotAllowed)),
        (&listed, json!("*"), Err(NotAllowed)),
        (&listed, json!("x,whatsapp:y"), Ok("whatsapp:x,whatsapp:y")),
        (&all, json!("anything"), Ok("whatsapp:anything")),
        (&all, json!(""), Err(BadArgument)),
        (&all, json!(null), Err(BadArgument)),
        (&all, json!(["1"]), Err(BadArgument)),
        (&all, json!({"id": "1"}), Err(BadArgument)),
        (&all, json!(true), Err(BadArgument)),
        (&all, json!(1.5), Err(BadArgument)),
        (&all, json!("{1}"), Err(BadArgument)),
        (&all, json!("a\u{0}b"), Err(BadArgument)),
        (&all, json!("a\nb"), Err(BadArgument)),
        (&all, json!("x".repeat(10_240)), Err(BadArgument)),
        (&json!({}), json!("1"), Err(NotAllowed)),
        (&json!({"whatsapp_accounts": "1"}), json!("1"), Err(NotAllowed)),
        (&json!({"whatsapp_accounts": null}), json!("1"), Err(NotAllowed)),
        (&json!({"whatsapp_accounts": true}), json!("1"), Err(NotAllowed)),
    ] {
        let got = enter(&crm(), "subscribe:whatsapp", argument.clone(), claims);
        assert_eq!(got, expect.map(str::to_owned), "{argument} with {claims}");
    }
    assert_eq!(
        enter(&crm(), "subscribe:campaign", json!("1"), &listed),
        Err(NotAllowed)
    );
    assert!(crm().rule("subscribe:everything").is_none());
}

proptest! {
    /// Whatever a client sends: it enters only rooms of the rule's own pattern, and only those that it may.
    #[test]
    fn no_argument_escapes_its_rule(argument in any_json(), allowed in "[a-z0-9]{1,4}") {
        let claims = json!({"whatsapp_accounts": [&allowed]});
        if let Ok(room) = enter(&crm(), "subscribe:whatsapp", argument, &claims) {
            prop_assert_eq!(room, format!("whatsapp:{allowed}"));
        }
        if let Ok(room) = enter(&crm(), "subscribe:whatsapp", json!(allowed), &json!({"whatsapp_accounts": ["*"]})) {
            prop_assert!(room.starts_with("whatsapp:"));
        }
    }

    #[test]
    fn no_policy_text_panics(text in "\\PC{0,200}") {
        let _ = Policy::parse(&text);
        let _ = Policy::parse(&format!("[identity]\nuser = {}", Value::from(text.as_str())));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[a-z0-9*]{1,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

#[test]
fn numbers_compare_as_people_write_them() {
    for (condition, expect) in [
        ("claims.level == 3", true),
        ("claims.level >= 2 && claims.level + 1 == 4", true),
        ("claims.ratio > 0.5", true),
        ("claims.level in [1, 2, 3]", true),
        ("claims.huge > 0u", true),
        ("claims.level == '3'", false),
        ("claims.missing == 3 || claims.level == 3", true),
        ("has(claims.missing)", false),
        ("claims.name.matches('^a.c$')", true),
    ] {
        let text = format!(
            "[identity]\nuser = \"claims.sub\"\n[[join]]\nroom = \"r\"\nwhen = {}",
            json!(condition)
        );
        let claims = json!({"sub": "u", "level": 3, "ratio": 0.75, "huge": u64::MAX, "name": "abc"});
        let got = rooms(&Policy::parse(&text).unwrap(), claims, json!({})).unwrap();
        assert_eq!(!got.is_empty(), expect, "{condition}");
    }
}

#[test]
fn answers() {
    let policy = Policy::parse(
        r#"
        [identity]
        user = "claims.sub"
        [[reply]]
        event = "ping"
        emit = "pong"
        data = { at = "{now}", at_ms = "{now_ms}", who = "user {user}", n = 1, list = ["{data.x}"] }
        ack = "data"
        [[reply]]
        event = "sum"
        ack = "data.a + data.b"
        "#,
    )
    .unwrap();
    let identity = Identity {
        user: "42".into(),
        tenant: None,
    };
    let reply = |event: &str| match policy.rule(event) {
        Some(Rule::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    };
    let ping = reply("ping");
    assert!(ping.needs_values());
    let expect = json!({
        "at": "2027-01-15T08:00:00.123Z", "at_ms": 1_800_000_000_123_u64, "who": "user 42", "n": 1, "list": [{"y": 2}]
    });
    let argument = json!({"x": {"y": 2}});
    assert_eq!(
        ping.data(&asking(&Value::Null, &identity, &argument)),
        Some(Answer::Json(expect))
    );
    assert_eq!(ping.data(&asking(&Value::Null, &identity, &Value::Null)), None);
    assert_eq!(
        ping.ack(&asking(&Value::Null, &identity, &argument)),
        Some(Answer::Echo)
    );
    let sum = reply("sum");
    let add = |argument: Value| sum.ack(&asking(&Value::Null, &identity, &argument));
    assert_eq!(add(json!({"a": 1, "b": 2})), Some(Answer::Json(json!(3))));
    assert_eq!(add(json!({"a": 1, "b": "2"})), None);
    assert_eq!(
        add(json!({"a": i64::MAX, "b": 1})),
        None,
        "an overflow is no answer, and no panic"
    );
}
