//! Messages of backends' own channels.

use super::*;

#[test]
fn messages_of_other_shapes_become_events() {
    const FEED: &str = "waba.agent-portal.events";
    let policy = crm();
    let feed = IngestSource::Channel(FEED.to_owned());
    assert_eq!(policy.channels(), [FEED]);
    assert_eq!(policy.ingest_sources(), std::slice::from_ref(&feed));
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
        let got = policy.ingest(&feed, message.as_bytes(), now());
        let expect = expect.map(|(room, event, data)| Ingested {
            room: RoomName::new(room).unwrap(),
            event: EventName::new(event).unwrap(),
            data: data.to_owned(),
            id: None,
        });
        assert_eq!(got, [(1, expect)], "{message}");
    }
    let not_json = [(1, Err(NotIngested::NotJson))];
    assert_eq!(policy.ingest(&feed, b"\xff", now()), not_json);
    for other in [
        IngestSource::Channel("another".into()),
        IngestSource::Stream(FEED.into()),
    ] {
        assert_eq!(policy.ingest(&other, b"{}", now()), []);
        assert_eq!(policy.ingest(&other, b"\xff", now()), []);
    }
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
        let taken = policy.ingest(&IngestSource::Channel("c".into()), text.as_bytes(), now());
        let shown = |(_, result): (usize, Result<Ingested, NotIngested>)| {
            result.map(|i| i.data).map_err(NotIngested::as_str)
        };
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

fn with_rules(rules: &str) -> Result<Policy, Vec<PolicyError>> {
    Policy::parse(&format!("[identity]\nuser = \"claims.sub\"\n{rules}"))
}

#[test]
fn one_rule_may_have_several_sources_and_a_key() {
    let policy = with_rules(
        "[[ingest]]\nsource = \"channel:other\"\nroom = \"r\"\nevent = \"e\"\n\
         [[ingest]]\nsource = [\"amqp:q\", \"stream:s\", \"channel:c\"]\nroom = \"r\"\nevent = \"e\"\nid = \"crm-{message.id}\"\n",
    )
    .unwrap();
    let sources = policy.ingest_sources();
    let named = |source: &IngestSource| source.to_string();
    assert_eq!(
        sources.iter().map(named).collect::<Vec<_>>(),
        ["channel:c", "channel:other", "stream:s", "amqp:q"]
    );
    assert_eq!(policy.channels(), ["c", "other"]);
    for source in [
        IngestSource::Channel("c".into()),
        IngestSource::Stream("s".into()),
        IngestSource::Queue("q".into()),
    ] {
        let id = |message: &str| {
            let taken = policy.ingest(&source, message.as_bytes(), now());
            let [(2, Ok(ingested))] = taken.as_slice() else {
                panic!("{taken:?}");
            };
            ingested.id.clone()
        };
        assert_eq!(id(r#"{"id":7}"#).as_deref(), Some("crm-7"));
        assert_eq!(id(r#"{"id":{}}"#), None, "the message has another key then");
    }
}

#[test]
fn mistakes_in_sources_are_all_named() {
    for (fields, expect) in [
        ("source = []", "`source` must be a text or a list of texts"),
        ("source = [1]", "`source` must be a text or a list of texts"),
        ("source = 1", "`source` must be a text"),
        ("", "`source` is missing"),
        ("source = [\"stream:a\", \"stream:a\"]", "is there twice"),
        ("source = \"kafka:a\"", "is unknown"),
        (
            "source = \"channel:a\"\nid = \"{message.id}\"",
            "`id`: what comes by a channel",
        ),
        ("source = \"stream:a\"\nid = \"{claims.sub}\"", "`id`: "),
    ] {
        let errors = with_rules(&format!("[[ingest]]\nroom = \"r\"\nevent = \"e\"\n{fields}")).unwrap_err();
        let [PolicyError(error)] = errors.as_slice() else {
            panic!("{errors:?}");
        };
        assert!(
            error.starts_with("ingest[1]: ") && error.contains(expect),
            "{error}"
        );
    }
}
