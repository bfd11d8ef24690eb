//! The bundled policy with a hostile argument, query and token: nobody gets a room outside of its rule, and nobody
//! gets one without permission.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::auth::Claims;
use gateway::policy::{Answer, Asking, Identity, Policy, Rule, Trail, WHATSAPP_CRM};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const NOW_MS: u64 = 1_800_000_000_123;
/// The lists of the policy's `[[subscribe]]` rules, in their order.
const LISTS: [&str; 3] = ["whatsapp_accounts", "campaigns", "contacts"];

static POLICY: LazyLock<Policy> = LazyLock::new(|| match Policy::parse(WHATSAPP_CRM) {
    Ok(policy) => policy,
    Err(errors) => panic!("the bundled policy: {errors:?}"),
});

fuzz_target!(|text: &str| {
    // What is not JSON is an argument all the same: a text.
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    subscriptions(&value);
    query(&value);
    claims(&value);
    replies(&value);
    relays(&value);
    ingests(text);
});

fn subscriptions(argument: &Value) {
    let identity = Identity {
        user: "42".into(),
        tenant: None,
    };
    for ((event, _, template), list) in POLICY.subscriptions().zip(LISTS) {
        let Some(Rule::Subscribe(rule)) = POLICY.rule(event) else {
            panic!("{event} has no rule");
        };
        let Some(prefix) = template.strip_suffix("{arg}") else {
            panic!("{template} has another shape; mend this target");
        };
        let enter = |claims: &Value| {
            let asking = asking(claims, &identity, argument);
            rule.enter(&asking, &mut Trail::counting()).ok()
        };
        let everything = enter(&json!({ list: ["*"] }));
        if let Some(room) = &everything {
            let expected = name(argument).map(|name| format!("{prefix}{name}"));
            assert_eq!(Some(room.as_str()), expected.as_deref());
        }
        let left = rule
            .leave(&asking(&Value::Null, &identity, argument), &mut Trail::counting())
            .ok();
        assert_eq!(
            left, everything,
            "what can be entered can be left, and nothing else"
        );
        if let Some(room) = enter(&json!({ list: ["1"] })) {
            assert_eq!(room.as_str(), format!("{prefix}1"));
        }
        for claims in [json!({ list: [] }), json!({ list: "*" }), json!({}), Value::Null] {
            assert_eq!(enter(&claims), None, "{claims} allows {argument}");
        }
        // A token that holds anything at all opens this one rule's rooms, whatever it says.
        let one = json!("1");
        if let Ok(room) = rule.enter(&asking(argument, &identity, &one), &mut Trail::counting()) {
            assert_eq!(room.as_str(), format!("{prefix}1"));
        }
    }
}

/// What the URL says adds the one room that the token lists.
fn query(query: &Value) {
    let rooms = |bots: Value| {
        let claims = Claims::unverified(json!({"sub": "42", "bots": bots}), 0);
        match POLICY.admit(&claims, query, now(), &mut Trail::counting()) {
            Ok(grants) => grants.rooms,
            Err(refusal) => panic!("{refusal:?}: a query must not keep anybody out"),
        }
    };
    for room in rooms(json!(["b1"])) {
        assert!(
            ["system", "user:42", "user:42:bot:b1"].contains(&room.as_str()),
            "{room}"
        );
    }
    let asked = query
        .get("botId")
        .and_then(name)
        .map(|bot| format!("user:42:bot:{bot}"));
    for room in rooms(json!(["*"])) {
        let room = room.as_str();
        assert!(
            ["system", "user:42"].contains(&room) || Some(room) == asked.as_deref(),
            "{room}"
        );
    }
}

/// What a token says becomes names of users and tenants, and never a pattern of another kind.
fn claims(claims: &Value) {
    let claims = Claims::unverified(claims.clone(), 0);
    let Ok(grants) = POLICY.admit(&claims, &Value::Null, now(), &mut Trail::counting()) else {
        return;
    };
    let values = claims.values();
    assert_eq!(
        values.get("sub").and_then(name).as_deref(),
        Some(&*grants.identity.user)
    );
    let claimed = |claim: &str| values.get(claim).and_then(name);
    for (index, room) in grants.rooms.iter().enumerate() {
        let room = room.as_str();
        assert!(
            room == "system"
                || room.strip_prefix("user:").is_some_and(|user| {
                    [claimed("sub"), claimed("account_id")].contains(&Some(user.to_owned()))
                })
                || room
                    .strip_prefix("tenant:")
                    .is_some_and(|tenant| claimed("tenant_id").as_deref() == Some(tenant)),
            "{room}"
        );
        assert!(
            grants
                .rooms
                .iter()
                .skip(index + 1)
                .all(|other| other.as_str() != room),
            "{room} twice"
        );
    }
}

/// The bundled answers do not depend on what was sent.
fn replies(argument: &Value) {
    let identity = Identity {
        user: "42".into(),
        tenant: None,
    };
    let Some(Rule::Reply(ping)) = POLICY.rule("ping") else {
        panic!("ping has no rule");
    };
    let expected = Some(Answer::Json(json!({"timestamp": NOW_MS})));
    assert_eq!(ping.data(&asking(argument, &identity, argument)), expected);
    assert_eq!(ping.ack(&asking(argument, &identity, argument)), expected);
}

/// A relay goes to the room that was named, and says who sent it, whatever was sent.
fn relays(argument: &Value) {
    let identity = Identity {
        user: "42".into(),
        tenant: None,
    };
    let (Some(Rule::Relay(typing)), Some(Rule::Stop(_))) =
        (POLICY.rule("typing:start"), POLICY.rule("typing:stop"))
    else {
        panic!("typing has no rule");
    };
    let asking = asking(argument, &identity, argument);
    let named = argument.get("contactId").and_then(name);
    if let Ok(room) = typing.room(&asking, &mut Trail::counting()) {
        assert_eq!(
            Some(room.as_str()),
            named.map(|name| format!("contact:{name}")).as_deref()
        );
    }
    for (answer, is_typing) in [(typing.begin(&asking), true), (typing.end(&asking), false)] {
        if let Some(Answer::Json(data)) = answer {
            assert_eq!(
                (&data["userId"], &data["isTyping"]),
                (&json!("42"), &json!(is_typing))
            );
        }
    }
}

/// What becomes of a message of a backend's channel is for its tenant, and its data is a part of the text.
fn ingests(text: &str) {
    for source in POLICY.ingest_sources() {
        for ingested in POLICY
            .ingest(&source, text.as_bytes(), now())
            .into_iter()
            .filter_map(|(_, result)| result.ok())
        {
            assert!(ingested.room.as_str().starts_with("tenant:"), "{ingested:?}");
            assert!(text.contains(&ingested.data), "{ingested:?}");
        }
    }
}

/// What may be a part of a name: written down here once more, so that a change of it is noticed.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn asking<'a>(claims: &'a Value, identity: &'a Identity, argument: &'a Value) -> Asking<'a> {
    Asking {
        claims,
        identity,
        argument,
        now: now(),
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(NOW_MS)
}
