//! Events of a client for others, and what they begin.

use super::*;

fn key(phase: &Phase) -> u64 {
    match phase {
        Phase::Begins(ending) => ending.key,
        Phase::Ends { key } => *key,
        Phase::Once => panic!("it neither begins nor ends"),
    }
}

fn is_typing(args: &str) -> bool {
    let data: serde_json::Value = serde_json::from_str(args).unwrap();
    assert_eq!((&data["contactId"], &data["userId"]), (&json!("1"), &json!("42")));
    data["isTyping"].as_bool().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_is_in_the_room_begins_prolongs_and_ends() {
    let house = House::new().0;
    let data = json!({"contactId": "1", "userId": "another"});
    house.say("typing:start", &data);
    assert_eq!(house.others.take(), [], "not in the room");
    assert_eq!(house.dropped("relay_refused"), 1);

    house.enter("contact:1");
    house.say("typing:start", &data);
    house.say("typing:start", &data);
    house.say("typing:stop", &data);
    house.say("typing:stop", &data);
    let sent = house.others.take();
    let typing: Vec<bool> = sent.iter().map(|(args, _)| is_typing(args)).collect();
    assert_eq!(typing, [true, true, false, false]);
    let keys: Vec<u64> = sent.iter().map(|(_, phase)| key(phase)).collect();
    assert!(keys[0] == keys[1] && keys[1] == keys[2], "the same thing");
    assert_ne!(keys[2], keys[3], "a stop without a start");
    let Phase::Begins(ending) = &sent[0].1 else {
        panic!()
    };
    assert_eq!(ending.after, Some(Duration::from_secs(6)));
    assert!(!is_typing(std::str::from_utf8(ending.args.json()).unwrap()));
    assert!(matches!(sent[3].1, Phase::Ends { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_ends_with_the_room_and_with_the_client() {
    let house = House::new().0;
    house.enter("contact:1");
    house.enter("contact:2");
    house.say("typing:start", &json!({"contactId": "1"}));
    house.say("typing:start", &json!({"contactId": "2"}));
    let begun = house.others.take();
    house.send("unsubscribe:contact", "1");
    let ended = house.others.take();
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (key(&ended[0].1), is_typing(&ended[0].0)),
        (key(&begun[0].1), false)
    );
    house.session.gone(CloseReason::TransportClose);
    let ended = house.others.take();
    assert_eq!((ended.len(), key(&ended[0].1)), (1, key(&begun[1].1)));
    house.say("typing:start", &json!({"contactId": "2"}));
    assert_eq!(house.others.take(), [], "who is gone begins nothing");
}

#[tokio::test(start_paused = true)]
async fn what_ended_by_itself_does_not_end_again() {
    let house = House::new().0;
    house.enter("contact:1");
    house.say("typing:start", &json!({"contactId": "1"}));
    house.others.take();
    tokio::time::advance(Duration::from_secs(7)).await;
    house.session.gone(CloseReason::TransportClose);
    assert_eq!(house.others.take(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_and_was_not_said_to_be_is_prolonged_or_ended_and_does_not_end_what_follows() {
    let house = House::new().0;
    house.enter("contact:1");
    let data = json!({"contactId": "1"});
    house.say("typing:start", &data);
    tokio::time::advance(Duration::from_millis(6001)).await;
    house.say("typing:start", &data);
    tokio::time::advance(Duration::from_millis(6001)).await;
    house.say("typing:stop", &data);
    let keys: Vec<u64> = house.others.take().iter().map(|(_, phase)| key(phase)).collect();
    assert!(
        keys.len() == 3 && keys.iter().all(|one| *one == keys[0]),
        "{keys:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn relays_are_bounded() {
    let house = House::new().0;
    house.enter("contact:1");
    for _ in 0..60 {
        house.say("typing:start", &json!({"contactId": "1"}));
    }
    assert_eq!(house.others.take().len(), 50, "the rate of the rule");
    tokio::time::advance(Duration::from_secs(1)).await;
    let long = json!({"contactId": "1", "whatsappAccountId": "x".repeat(5_000)});
    house.say("typing:start", &long);
    assert_eq!(house.others.take(), [], "too long to be remembered");

    for number in 2..100 {
        house.enter(&format!("contact:{number}"));
    }
    for number in 1..100 {
        house.say("typing:start", &json!({"contactId": number.to_string()}));
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert_eq!(house.others.take().len(), 64, "so many at a time");
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_on_is_what_was_sent() {
    let policy = "[identity]\nuser = \"claims.sub\"\n[[relay]]\nevent = \"say\"\nroom = \"r\"\nemit = \"said\"\ndata = \"data\"\n";
    let house = House::with(policy).0;
    house.enter("r");
    let say = |text: &str, attachments: Vec<bytes::Bytes>| {
        house
            .session
            .event(Event::parse(text, attachments).unwrap(), None);
        house
            .others
            .take()
            .into_iter()
            .map(|(args, _)| args)
            .collect::<Vec<_>>()
    };
    let big = r#"{"n": 123456789012345678901.50,"a":"\u00e9"}"#;
    assert_eq!(say(r#"["say",{"n":1e400}]"#, vec![]), [r#"{"n":1e400}"#]);
    assert_eq!(say(&format!(r#"["say",{big}]"#), vec![]).len(), 1);
    assert_eq!(say(r#"["say"]"#, vec![]), [""]);
    let bytes = vec![bytes::Bytes::from_static(&[1, 2])];
    let placed = r#"["say",{"x":{"_placeholder":true,"num":0}}]"#;
    assert_eq!(say(placed, bytes), [r#"{"x":{"$binary":"AQI="}}"#]);
    for hostile in [
        placed,
        r#"["say",{"$binary":"AA=="}]"#,
        r#"["say",{"\u0024binary":"AA=="}]"#,
    ] {
        assert_eq!(say(hostile, vec![]), [] as [String; 0], "{hostile}");
    }
}
