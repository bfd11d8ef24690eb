//! Explanations as a person reads them.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;
use crate::policy::WHATSAPP_CRM;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

#[test]
fn decisions_are_explained() {
    let policy = Policy::parse(WHATSAPP_CRM).unwrap();
    let claims = Claims::unverified(
        json!({"sub": "42", "tenant_id": "t", "whatsapp_accounts": ["1"], "campaigns": "all"}),
        0,
    );
    let explain = |event: Option<(&str, &Value)>| {
        policy.explain(
            &claims,
            Asked {
                query: &json!({}),
                event,
            },
            now(),
        )
    };
    let allowed = explain(Some(("subscribe:whatsapp", &json!("1"))));
    assert_eq!(allowed.verdict, Verdict::Allowed);
    assert_eq!(
        (allowed.rule.as_deref(), allowed.rooms.as_slice()),
        (Some("subscribe[1]"), ["whatsapp:1".to_owned()].as_slice())
    );
    assert_eq!(
        allowed.to_string(),
        "subscribe:whatsapp: allowed, enters the room\n\
         \x20 user    42\n\
         \x20 tenant  t\n\
         \x20 room    whatsapp:1\n\
         \x20 rule    subscribe[1]\n\
         subscribe[1]\n\
         \x20 room    whatsapp:{arg}\n\
         \x20         -> \"whatsapp:1\"\n\
         \x20            arg is \"1\"\n\
         \x20 allow   arg in claims.whatsapp_accounts || '*' in claims.whatsapp_accounts\n\
         \x20         -> true\n\
         \x20            arg is \"1\"\n\
         \x20            claims.whatsapp_accounts is [\"1\"]\n"
    );
    for (event, argument, parts) in [
        (
            "subscribe:contact",
            json!("1"),
            [
                "refused (not_allowed), `allow` of subscribe[3]: \"contacts\" is missing\n",
                "claims.contacts has no value\n",
            ],
        ),
        (
            "subscribe:campaign",
            json!("1"),
            ["-> no: the types do not fit\n", "claims.campaigns is \"all\"\n"],
        ),
        (
            "subscribe:whatsapp",
            json!("2"),
            [
                "refused (not_allowed), `allow` of subscribe[1] is false\n",
                "-> false\n",
            ],
        ),
        (
            "subscribe:contact",
            json!(["1"]),
            [
                "refused (bad_argument), `room` of subscribe[3]: a placeholder has no value that can be part of a name\n",
                "arg is [\"1\"]\n",
            ],
        ),
        (
            "nobody",
            json!(1),
            [
                "nobody: refused (unknown_event), the policy has no rule for this event\n",
                "user    42\n",
            ],
        ),
        (
            "typing:stop",
            json!({"contactId": "7"}),
            [
                "allowed, ends what the client began in the room, if it did\n",
                "\"isTyping\":false}\n",
            ],
        ),
        (
            "unsubscribe:contact",
            json!("7"),
            ["allowed, leaves the room\n", "room    contact:7\n"],
        ),
        (
            "ping",
            Value::Null,
            [
                "allowed, answered by the gateway itself\n",
                "emit    pong {\"timestamp\":1800000000123}\n  ack     {\"timestamp\":1800000000123}\n",
            ],
        ),
    ] {
        let text = explain(Some((event, &argument))).to_string();
        for part in parts {
            assert!(text.contains(part), "{part}\nin\n{text}");
        }
    }
    let typing = explain(Some(("typing:start", &json!({"contactId": "7"}))));
    assert_eq!(
        (typing.verdict, typing.rooms, typing.emit.unwrap().data),
        (
            Verdict::Allowed,
            vec!["contact:7".to_owned()],
            Some(json!({
                "contactId": "7", "userId": "42", "timestamp": "2027-01-15T08:00:00.123Z", "isTyping": true
            }))
        )
    );

    let connect = explain(None);
    assert_eq!(connect.rooms, ["system", "user:42", "tenant:t"]);
    let text = connect.to_string();
    assert!(text.starts_with("connect: allowed, in 3 rooms\n"), "{text}");
    assert!(
        text.contains(
            "join[3]\n  room    user:{claims.account_id}\n          -> no: a placeholder has no value"
        ),
        "{text}"
    );
    let nobody = Claims::unverified(json!({}), 0);
    let refused = policy.explain(
        &nobody,
        Asked {
            query: &json!({}),
            event: None,
        },
        now(),
    );
    assert_eq!(
        (refused.verdict, refused.code),
        (Verdict::Refused, Some("claim_missing"))
    );
    assert_eq!(refused.message, "`user` of identity: claims.sub has no value");
}

#[test]
fn what_cannot_be_computed_is_explained() {
    let policy = Policy::parse(
        "[identity]\nuser = \"claims.sub\"\n\
         [[relay]]\nevent = \"r\"\nroom = \"r\"\nemit = \"e\"\ndata = { a = \"{claims.name}\", b = \"{data.b}\" }\n\
         [[reply]]\nevent = \"p\"\nack = \"data.a + 1\"\n\
         [[join]]\nroom = \"j\"\nwhen = \"claims.sub\"\n\
         [[join]]\nroom = \"j:{item}\"\neach = \"claims.sub\"\n",
    )
    .unwrap();
    let explain = |event: Option<(&str, &Value)>, claims: Value| {
        let query = &json!({});
        policy.explain(&Claims::unverified(claims, 0), Asked { query, event }, now())
    };
    let message = |event: &str, claims| explain(Some((event, &json!({}))), claims).outcome();
    let named = json!({"sub": "u", "name": "n"});
    assert_eq!(
        message("r", json!({"sub": "u"})),
        "refused (bad_data), `data` of relay[1]: {claims.name} has no value"
    );
    assert!(message("r", named.clone()).starts_with("allowed"));
    assert_eq!(
        message("p", named.clone()),
        "refused (bad_data), `ack` of reply[1]: \"a\" is missing"
    );
    assert_eq!(
        message("p", json!({"sub": ["u"]})),
        "refused (claim_missing), `user` of identity is [\"u\"], which is no id"
    );
    let connect = explain(None, named).to_string();
    for part in [
        "connect: allowed, in no room\n",
        "-> no: it gives something else than true or false\n",
        "-> no: it gives something else than a list\n",
    ] {
        assert!(connect.contains(part), "{part}\nin\n{connect}");
    }
}
