//! Messages of backends' own channels.

use super::*;

#[test]
fn messages_of_other_shapes_become_events() {
    const FEED: &str = "waba.agent-portal.events";
    let policy = crm();
    assert_eq!(policy.channels(), [FEED]);
    for (message, expect) in [
        (
            r#"{"type":"new_message","tenantId":"t","data":{"b":1,"a":12345678901234567890.10}}"#,
            Ok((
                "tenant:t",
                "new_message",
                r#"{"b":1,"a":12345678901234567890.10}"#,
            )),
        ),
        (
            r#" {"tenantId":5,"type":"x","data" : [1, "é"] , "more": null} "#,
            Ok(("tenant:5", "x", r#"[1, "é"]"#)),
        ),
        (
            r#"{"type":"x","tenantId":"t","data":null}"#,
            Ok(("tenant:t", "x", "null")),
        ),
        (r#"{"type":"x","tenantId":"t"}"#, Err(NotIngested::Data)),
        (r#"{"type":"x","data":1}"#, Err(NotIngested::Room)),
        (
            r#"{"type":"x","tenantId":"a{b}","data":1}"#,
            Err(NotIngested::Room),
        ),
        (
            r#"{"type":"connect","tenantId":"t","data":1}"#,
            Err(NotIngested::Event),
        ),
        (r#"{"tenantId":"t","data":1}"#, Err(NotIngested::Event)),
        ("[]", Err(NotIngested::Room)),
        ("{", Err(NotIngested::NotJson)),
        (
            r#"{"type":"x","tenantId":"t","data":{"n":1E+400}}"#,
            Ok(("tenant:t", "x", r#"{"n":1E+400}"#)),
        ),
        (
            r#"{"type":"x","tenantId":1e400,"data":1}"#,
            Err(NotIngested::Room),
        ),
        (
            r#"{"type":"x","tenantId":"t","data":1e400"#,
            Err(NotIngested::NotJson),
        ),
    ] {
        let got = policy.ingest(FEED, message.as_bytes(), now());
        let expect = expect.map(|(room, event, data)| Ingested {
            room: RoomName::new(room).unwrap(),
            event: EventName::new(event).unwrap(),
            data: data.to_owned(),
        });
        assert_eq!(got, [expect], "{message}");
    }
    assert_eq!(policy.ingest(FEED, b"\xff", now()), [Err(NotIngested::NotJson)]);
    assert_eq!(policy.ingest("another", b"{}", now()), []);
}

#[test]
fn several_rules_may_take_one_channel() {
    let policy = Policy::parse(
        "[identity]\nuser = \"claims.sub\"\n\
         [[ingest]]\nsource = \"channel:c\"\nroom = \"a\"\nevent = \"whole\"\n\
         [[ingest]]\nsource = \"channel:c\"\nwhen = \"message.n > 1\"\nroom = \"b\"\nevent = \"e\"\ndata = \"{'n': message.n + 1}\"\n",
    )
    .unwrap();
    let take = |text: &str| {
        let taken = policy.ingest("c", text.as_bytes(), now());
        let shown =
            |result: Result<Ingested, NotIngested>| result.map(|i| i.data).map_err(NotIngested::as_str);
        taken.into_iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(
        take(r#"{"n":2}"#),
        [Ok(r#"{"n":2}"#.to_owned()), Ok(r#"{"n":3}"#.to_owned())]
    );
    assert_eq!(
        take(r#"{"n":1}"#),
        [Ok(r#"{"n":1}"#.to_owned())],
        "the second is not for it"
    );
    assert_eq!(
        take(r#"{"m":1}"#),
        [Ok(r#"{"m":1}"#.to_owned()), Err("condition")]
    );
}
