//! Events of clients for other clients, and a second policy.

use super::*;

const CHAT: &str = include_str!("../../../policies/chat.toml");

fn relay<'a>(policy: &'a Policy, event: &str) -> &'a Relay {
    match policy.rule(event) {
        Some(Rule::Relay(relay) | Rule::Stop(relay)) => relay,
        other => panic!("{event} is {other:?}"),
    }
}

fn user(name: &str) -> Identity {
    Identity {
        user: name.into(),
        tenant: None,
    }
}

#[test]
fn relays_are_stamped_by_the_gateway() {
    let (policy, ann) = (crm(), user("ann"));
    let typing = relay(&policy, "typing:start");
    let data =
        json!({"contactId": 7, "whatsappAccountId": "w", "userId": "bob", "timestamp": "never", "more": 1});
    let asking = asking(&Value::Null, &ann, &data);
    let room = typing.room(&asking, &mut Trail::counting()).unwrap();
    assert_eq!(
        (room.as_str(), typing.emit(&asking).unwrap().as_str()),
        ("contact:7", "typing:indicator")
    );
    let expect = |is_typing: bool| {
        Some(Answer::Json(json!({
            "contactId": 7, "whatsappAccountId": "w", "userId": "ann", "timestamp": "2027-01-15T08:00:00.123Z",
            "isTyping": is_typing
        })))
    };
    assert_eq!(
        (typing.begin(&asking), typing.end(&asking)),
        (expect(true), expect(false))
    );
    assert!(typing.has_end());
    assert_eq!(typing.timeout(), Some(Duration::from_secs(6)));
    assert_eq!(typing.ends_at(now()), now() + Duration::from_secs(6));
    assert_eq!(typing.rate_per_minute(), Some(3000));

    let short = json!({"contactId": "7"});
    let begun = typing.begin(&Asking {
        argument: &short,
        ..asking
    });
    let left_out =
        json!({"contactId": "7", "userId": "ann", "timestamp": "2027-01-15T08:00:00.123Z", "isTyping": true});
    assert_eq!(
        begun,
        Some(Answer::Json(left_out)),
        "what was not sent is left out"
    );
    for hostile in [
        json!(null),
        json!("7"),
        json!({}),
        json!({"contactId": null}),
        json!({"contactId": ["7"]}),
        json!({"contactId": {"a": 1}}),
        json!({"contactId": "{7}"}),
        json!({"contactId": "7\n"}),
        json!({"contactId": "x".repeat(10_240)}),
    ] {
        let asking = Asking {
            argument: &hostile,
            ..asking
        };
        let room = typing.room(&asking, &mut Trail::counting());
        assert_eq!(room, Err(Refusal::BadArgument), "{hostile}");
    }
}

#[test]
fn a_second_policy_has_the_same_language() {
    let (policy, ann) = (Policy::parse(CHAT).unwrap(), user("ann"));
    assert_eq!(policy.warnings(), [] as [String; 0]);
    let claims = json!({"sub": "ann", "name": "Ann", "channels": ["staff"]});
    assert_eq!(
        rooms(&policy, claims.clone(), json!({})).unwrap(),
        ["user:ann", "chat:staff"]
    );
    for (argument, expect) in [
        (json!("public-1"), Ok("chat:public-1")),
        (json!("staff"), Ok("chat:staff")),
        (json!("other"), Err(Refusal::NotAllowed)),
        (json!(1), Err(Refusal::NotAllowed)),
    ] {
        assert_eq!(
            enter(&policy, "join", argument, &claims),
            expect.map(str::to_owned)
        );
    }
    let message = relay(&policy, "message");
    assert!(!message.has_end());
    let data = json!({"channel": "staff", "text": "hi", "from": "bob"});
    let asking = asking(&claims, &ann, &data);
    assert!(message.room(&asking, &mut Trail::counting()).is_ok());
    let expect =
        json!({"channel": "staff", "text": "hi", "from": "ann", "name": "Ann", "at": 1_800_000_000_123_u64});
    assert_eq!(message.begin(&asking), Some(Answer::Json(expect)));
    for text in [json!(""), json!("x".repeat(2001)), json!(5), json!(null)] {
        let data = json!({"channel": "staff", "text": text});
        let asking = Asking {
            argument: &data,
            ..asking
        };
        let refused = message.room(&asking, &mut Trail::counting());
        assert_eq!(refused, Err(Refusal::NotAllowed), "{data}");
    }
}

#[test]
fn relays_may_hand_on_what_was_sent_or_nothing() {
    let policy = Policy::parse(
        "[identity]\nuser = \"claims.sub\"\n[[relay]]\nevent = \"a\"\nroom = \"r\"\nemit = \"b\"\ndata = \"data\"\n\
         [[relay]]\nevent = \"c\"\nroom = \"r\"\nemit = \"d\"\n[[relay]]\nevent = \"e\"\nroom = \"r\"\nemit = \"f\"\n\
         timeout = \"1s\"\non = { open = true }\n",
    )
    .unwrap();
    let (nobody, data) = (user("u"), json!({"x": 1}));
    let asking = asking(&Value::Null, &nobody, &data);
    assert_eq!(relay(&policy, "a").begin(&asking), Some(Answer::Echo));
    assert_eq!(relay(&policy, "c").begin(&asking), Some(Answer::Nothing));
    assert_eq!(
        relay(&policy, "e").begin(&asking),
        Some(Answer::Json(json!({"open": true})))
    );
    assert_eq!(relay(&policy, "e").end(&asking), Some(Answer::Nothing));
}

#[test]
fn the_name_of_an_event_that_goes_out_may_be_made() {
    let policy = Policy::parse(
        "[identity]\nuser = \"claims.sub\"\n[[relay]]\nevent = \"a\"\nroom = \"r\"\nemit = \"told:{data.kind}\"\n\
         [[reply]]\nevent = \"b\"\nemit = \"{arg.kind}\"\n",
    )
    .unwrap();
    let nobody = user("u");
    for (data, expect) in [
        (json!({"kind": "x"}), Some(("told:x", "x"))),
        (json!({"kind": 5}), Some(("told:5", "5"))),
        (json!({}), None),
        (json!({"kind": ["x"]}), None),
        (json!({"kind": "x\n"}), None),
    ] {
        let asking = asking(&Value::Null, &nobody, &data);
        let Some(Rule::Reply(reply)) = policy.rule("b") else {
            panic!()
        };
        let names = relay(&policy, "a")
            .emit(&asking)
            .zip(reply.emit(&asking).unwrap());
        let names = names.as_ref().map(|(a, b)| (a.as_str(), b.as_str()));
        assert_eq!(names, expect, "{data}");
        assert!(reply.needs_values());
    }
    let Some(Rule::Reply(reply)) = policy.rule("b") else {
        panic!()
    };
    for reserved in ["connect", "auth:expiring"] {
        let data = json!({"kind": reserved});
        assert_eq!(reply.emit(&asking(&Value::Null, &nobody, &data)), Some(None));
    }
    let broken = "[identity]\nuser = \"claims.sub\"\n[[reply]]\nevent = \"b\"\nemit = \"{query.x}\"\n";
    assert!(
        Policy::parse(broken).unwrap_err()[0]
            .0
            .contains("\"query\" is not known here")
    );
}
