//! A policy beside another one.

use serde_json::json;

use super::*;
use crate::policy::Identity;

const HEAD: &str = "[identity]\nuser = \"claims.sub\"\n";

fn policy(rules: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(&format!("{HEAD}{rules}")).unwrap())
}

fn count(metrics: &Metrics, line: &str) -> u64 {
    let text = metrics.render();
    let found = text.lines().find_map(|l| l.strip_prefix(line));
    found
        .unwrap_or_else(|| panic!("{line} in\n{text}"))
        .trim()
        .parse()
        .unwrap()
}

fn shadow(metrics: &Metrics, decision: &str, outcome: &str) -> u64 {
    let line = format!("roomcast_policy_shadow_total{{decision=\"{decision}\",outcome=\"{outcome}\"}}");
    count(metrics, &line)
}

#[test]
fn a_shadow_is_asked_and_decides_nothing() {
    let metrics = Metrics::new().unwrap();
    let live = policy(
        "[[join]]\nroom = \"a\"\n[[subscribe]]\nevent = \"s\"\nroom = \"r:{arg}\"\nallow = \"arg in claims.list\"\n\
         [[relay]]\nevent = \"t\"\nroom = \"r:{arg}\"\nemit = \"x\"\n",
    );
    let stricter = policy(
        "[[join]]\nroom = \"a\"\nwhen = \"claims.admin\"\n[[subscribe]]\nevent = \"s\"\nroom = \"r:{arg}\"\nallow = \"arg == '1'\"\n\
         [[relay]]\nevent = \"t\"\nroom = \"r:{arg}\"\nemit = \"x\"\nallow = \"false\"\n[[reply]]\nevent = \"p\"\nack = \"data\"\n",
    );
    let loaded = InForce {
        policy: live.clone(),
        shadow: Some(stricter),
    };
    let rules = Rules::new(loaded, metrics.clone());
    let claims = Claims::unverified(json!({"sub": "u", "list": ["1", "2"]}), 0);
    let now = SystemTime::UNIX_EPOCH;

    let grants = rules.admit(&claims, &json!({}), now).unwrap();
    assert_eq!(grants.rooms.len(), 1, "the policy in force decides");
    assert_eq!(shadow(&metrics, "connect", "differs"), 1);

    let identity = Identity {
        user: "u".into(),
        tenant: None,
    };
    let at = rules.now();
    for (argument, same) in [("1", true), ("2", false), ("3", true)] {
        let argument = json!(argument);
        let asking = Asking {
            claims: claims.values(),
            identity: &identity,
            argument: &argument,
            now,
        };
        let Some(Rule::Subscribe(rule)) = at.rule("s") else {
            panic!()
        };
        let before = shadow(&metrics, "subscribe", "differs");
        assert_eq!(at.enter("s", rule, &asking).is_ok(), argument != "3");
        assert_eq!(
            shadow(&metrics, "subscribe", "differs") == before,
            same,
            "{argument}"
        );
        let Some(Rule::Relay(rule)) = at.rule("t") else {
            panic!()
        };
        assert!(at.relay_room("t", rule, &asking).is_ok());
    }
    assert_eq!(shadow(&metrics, "subscribe", "same"), 2);
    assert_eq!(shadow(&metrics, "relay", "differs"), 3);
    assert!(
        at.rule("p").is_none(),
        "what only the shadow knows does not exist"
    );
    assert_eq!(shadow(&metrics, "event", "differs"), 1);

    rules.set(InForce {
        policy: live,
        shadow: None,
    });
    rules.admit(&claims, &json!({}), now).unwrap();
    assert_eq!(
        shadow(&metrics, "connect", "differs"),
        1,
        "no shadow, nothing to compare"
    );
}

#[test]
fn conditions_that_fail_are_counted_and_mean_no() {
    let metrics = Metrics::new().unwrap();
    let loaded = InForce {
        policy: policy(
            "[[join]]\nroom = \"a\"\nwhen = \"claims.missing == 1\"\n[[join]]\nroom = \"b\"\nwhen = \"'text'\"\n",
        ),
        shadow: None,
    };
    let rules = Rules::new(loaded, metrics.clone());
    let claims = Claims::unverified(json!({"sub": "u"}), 0);
    let grants = rules.admit(&claims, &json!({}), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(grants.rooms, []);
    assert_eq!(count(&metrics, "roomcast_policy_condition_failures_total"), 2);
}
