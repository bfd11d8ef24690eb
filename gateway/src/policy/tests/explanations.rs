//! Decisions in words.

use super::*;

#[test]
fn decisions_are_explained() {
    let policy = crm();
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
    let text = allowed.to_string();
    for part in [
        "subscribe:whatsapp: allowed, enters the room\n",
        "  user 42, tenant t\n",
        "  room whatsapp:1\n",
        "  decided by subscribe[1]\n",
        "subscribe[1] allow = arg in claims.whatsapp_accounts || '*' in claims.whatsapp_accounts  ->  true\n",
        "      arg is \"1\"\n",
        "      claims.whatsapp_accounts is [\"1\"]\n",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    let refused = explain(Some(("subscribe:contact", &json!("1")))).to_string();
    for part in [
        "refused (not_allowed)",
        "no: \"contacts\" is missing",
        "claims.contacts has no value",
    ] {
        assert!(refused.contains(part), "{part}\nin\n{refused}");
    }
    let wrong = explain(Some(("subscribe:campaign", &json!("1")))).to_string();
    assert!(
        wrong.contains("no: the types do not fit") && wrong.contains("claims.campaigns is \"all\""),
        "{wrong}"
    );
    let bad = explain(Some(("subscribe:contact", &json!(["1"])))).to_string();
    assert!(
        bad.contains("refused (bad_argument)") && bad.contains("arg is [\"1\"]"),
        "{bad}"
    );
    assert!(
        explain(Some(("nobody", &json!(1))))
            .to_string()
            .starts_with("nobody: refused (unknown_event)")
    );
    let typing = explain(Some(("typing:start", &json!({"contactId": "7"}))));
    assert_eq!(
        (typing.verdict, typing.rooms),
        (Verdict::Allowed, vec!["contact:7".to_owned()])
    );

    let connect = explain(None);
    assert_eq!(connect.rooms, ["system", "user:42", "tenant:t"]);
    let text = connect.to_string();
    assert!(
        text.starts_with("connect: allowed, connected, in 3 rooms\n"),
        "{text}"
    );
    assert!(
        text.contains("join[3] room = user:{claims.account_id}  ->  no: a placeholder has no value"),
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
}
