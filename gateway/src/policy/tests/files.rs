//! Files that are refused, and those that are warned of.

use super::*;

#[test]
fn every_mistake_in_a_file_is_named() {
    let identity = "[identity]\nuser = \"claims.sub\"\n";
    for (text, expect) in [
        ("", "identity: missing"),
        ("[identity]\n", "identity: `user` is missing"),
        ("[identity]\nuser = 1", "identity: `user` must be a text, not 1"),
        (
            "[identity]\nuser = \"claim.sub\"",
            "\"claim\" is not known here; known are claims",
        ),
        ("[identity]\nuser = \"claims.\"", "is not valid CEL"),
        (
            "[identity]\nuser = \"claims.sub\"\nrole = \"x\"",
            "identity: `role` is unknown; known are user, tenant",
        ),
        ("oops", "line 1: not valid TOML"),
        (
            "&[[join]]\nroom = \"a:{user\"",
            "join[1]: `room`: \"a:{user\": an opening brace without a closing one",
        ),
        (
            "&[[join]]\nroom = \"a}\"",
            "a closing brace without an opening one",
        ),
        ("&[[join]]\nroom = \"a:{item}\"", "\"item\" is not known here"),
        ("&[[join]]\nroom = \"a:{claims..x}\"", "has an empty name in it"),
        ("&[[join]]\nroom = \"\"", "an empty template"),
        ("&[[join]]\nwhen = \"true\"", "join[1]: `room` is missing"),
        ("&[join]\nroom = \"a\"", "join: write it as [[join]]"),
        ("&[[join]]\nroom = \"a\"\nif = \"b\"", "join[1]: `if` is unknown"),
        (
            "&[[subscribe]]\nevent = \"s\"\nroom = \"r:{arg}\"",
            "subscribe[1]: `allow` is missing",
        ),
        (
            "&[[subscribe]]\nroom = \"r:{arg}\"\nallow = \"true\"",
            "subscribe[1]: `event` is missing",
        ),
        (
            "&[[subscribe]]\nevent = \"connect\"\nroom = \"r\"\nallow = \"true\"",
            "`event`: ",
        ),
        (
            "&[[subscribe]]\nevent = \"s\"\nleave = \"auth:refresh\"\nroom = \"r\"\nallow = \"true\"",
            "event \"auth:refresh\" belongs to the gateway itself",
        ),
        (
            "&[[reply]]\nevent = \"auth:expiring\"\nack = \"data\"",
            "event \"auth:expiring\" belongs to the gateway itself",
        ),
        (
            "&[[relay]]\nevent = \"a\"\nroom = \"r\"\nemit = \"auth:expiring\"",
            "relay[1]: `emit`: \"auth:expiring\" belongs to the gateway itself",
        ),
        (
            "&[[subscribe]]\nevent = \"s\"\nroom = \"r:{item}\"\nallow = \"now > 1\"",
            "\"now\" is not known here",
        ),
        (
            "&[[reply]]\nevent = \"p\"",
            "reply[1]: needs `emit`, `ack` or both",
        ),
        (
            "&[[reply]]\nevent = \"p\"\nack = \"data\"\ndata = \"arg\"",
            "`data` belongs to `emit`",
        ),
        (
            "&[[reply]]\nevent = \"p\"\nack = { a = \"{x}\" }",
            "\"x\" is not known here",
        ),
        (
            "&[[reply]]\nevent = \"p\"\nack = \"data\"\n[[subscribe]]\nevent = \"p\"\nroom = \"r\"\nallow = \"true\"",
            "event \"p\" is used twice",
        ),
        (
            "&[[subscribe]]\nevent = \"s\"\nroom = \"r\"",
            "subscribe[1]: `allow` is missing",
        ),
        (
            "&[[subscribe]]\nevent = \"s\"\nroom = \"r\"\nask = \"stream\"",
            "subscribe[1]: `ask`: \"stream\" is not \"webhook\"",
        ),
        ("&[[forward]]\nevent = \"t\"", "forward[1]: `to` is missing"),
        (
            "&[[forward]]\nevent = \"t\"\nto = \"queue\"",
            "forward[1]: `to`: \"queue\" is not \"stream\" or \"webhook\"",
        ),
        (
            "&[[forward]]\nevent = \"t\"\nto = \"stream\"\nidempotent = true",
            "forward[1]: `idempotent` is for `to = \"webhook\"`",
        ),
        (
            "&[[forward]]\nevent = \"t\"\nto = \"webhook\"\nanswer = false",
            "forward[1]: `answer` is for `to = \"stream\"`",
        ),
        (
            "&[[forward]]\nevent = \"t\"\nto = \"webhook\"\nidempotent = \"yes\"\nroom = \"r\"\ntimeout = \"2h\"",
            "forward[1]: `idempotent` must be true or false, not \"yes\"",
        ),
        (
            "&[[forward]]\nevent = \"t\"\nto = \"webhook\"\nroom = \"r\"",
            "forward[1]: `room` is unknown; known are event, to, allow, data, timeout, rate, idempotent, answer",
        ),
        (
            "&[[forward]]\nevent = \"t\"\nto = \"stream\"\n[[forward]]\nevent = \"t\"\nto = \"webhook\"",
            "event \"t\" is used twice",
        ),
        (
            "&[rooms]\n",
            "rooms: unknown section; known are identity, join, subscribe, relay, reply, forward, ingest, room",
        ),
    ] {
        let text = text.replace('&', identity);
        let errors: Vec<String> = Policy::parse(&text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            errors.iter().any(|e| e.contains(expect)),
            "{text}\nexpected {expect}\ngot {errors:#?}"
        );
    }
    let errors = Policy::parse("[[join]]\nroom = \"{x}\"\n[[reply]]\n[[relay]]\n").unwrap_err();
    assert!(errors.len() >= 5, "all at once: {errors:#?}");
}

#[test]
fn mistakes_in_relays_ingests_and_rooms_are_named() {
    let relay = "[[relay]]\nevent = \"a\"\nroom = \"r\"\nemit = \"b\"\n";
    let ingest = "[[ingest]]\nroom = \"r\"\nevent = \"e\"\n";
    let cases = [
        (
            "[[relay]]\nevent = \"a\"\nroom = \"r\"".to_owned(),
            "relay[1]: `emit` is missing",
        ),
        (
            format!("{relay}data = \"data\"\non = {{ a = 1 }}"),
            "which must be a table then",
        ),
        (format!("{relay}on = \"x\""), "`on` must be a table, not \"x\""),
        (
            format!("{relay}off = {{ a = 1 }}"),
            "needs `stop`, `timeout` or both",
        ),
        (
            format!("{relay}timeout = \"1d\""),
            "\"1d\" is not a duration from 100ms to 1h",
        ),
        (format!("{relay}timeout = 6"), "`timeout` must be a text, not 6"),
        (
            format!("{relay}rate = \"10\""),
            "\"10\" is not a rate, such as 10/s",
        ),
        (format!("{relay}rate = \"0/s\""), "is not a rate"),
        (format!("{relay}stop = \"a\""), "event \"a\" is used twice"),
        (format!("{relay}query = 1"), "relay[1]: `query` is unknown"),
        (
            relay.replace("\"r\"", "\"{query.x}\""),
            "\"query\" is not known here",
        ),
        (ingest.to_owned(), "ingest[1]: `source` is missing"),
        (
            format!("{ingest}source = \"x\""),
            "write \"channel:\" or \"stream:\" and a name",
        ),
        (
            format!("{ingest}source = \"amqp:\""),
            "a queue has 1 to 240 bytes",
        ),
        (format!("{ingest}source = \"channel:\""), "1 to 256 bytes"),
        (
            format!("{ingest}source = \"channel:c\"\nwhen = \"claims.a\""),
            "\"claims\" is not known here",
        ),
        (
            "[[room]]\nretain = [\"a\"]".to_owned(),
            "room[1]: `pattern` is missing",
        ),
        (
            "[[room]]\npattern = \"a:*\"\nretain = [\"a\"]".to_owned(),
            "room[1]: `retain` is not supported by this version yet",
        ),
        (
            "[[room]]\npattern = \"a:*\"\nhistory = { max = 1 }".to_owned(),
            "`history` is not supported",
        ),
        (
            "[[room]]\npattern = \"a:*\"\nslow = \"never\"".to_owned(),
            "room[1]: `slow`: \"never\" is not \"disconnect\" or \"drop_oldest\" or \"latest\"",
        ),
        ("[[room]]\npattern = \"a*b\"".to_owned(), "\"a*b\" is neither"),
        (
            "[[join]]\nroom = \"a\"\nwhen = \"claims.a.matches(claims.b)\"".to_owned(),
            "must be written here",
        ),
    ];
    for (text, expect) in cases {
        let text = format!("[identity]\nuser = \"claims.sub\"\n{text}");
        let errors = Policy::parse(&text).unwrap_err();
        assert!(
            errors.iter().any(|e| e.0.contains(expect)),
            "{text}\nexpected {expect}\ngot {errors:#?}"
        );
    }
    let fine = "[identity]\nuser = \"claims.sub\"\n[[room]]\npattern = \"a:*\"\n[[room]]\npattern = \"*\"\n";
    assert!(Policy::parse(fine).is_ok());
}

#[test]
fn rooms_that_one_rule_lets_clients_name_for_another_are_warned_of() {
    let warnings = |rules: &[(&str, &str)]| {
        let mut text = "[identity]\nuser = \"claims.sub\"\n[[join]]\nroom = \"chat:lobby\"\n".to_owned();
        for (number, (room, allow)) in rules.iter().enumerate() {
            text +=
                &format!("[[subscribe]]\nevent = \"e{number}\"\nroom = \"{room}\"\nallow = \"{allow}\"\n");
        }
        Policy::parse(&text).unwrap().warnings().to_vec()
    };
    assert_eq!(
        warnings(&[("room:{arg}", "true"), ("staff:{arg}", "true")]).len(),
        0
    );
    assert_eq!(
        warnings(&[("room:{arg}", "true"), ("room:{arg}", "claims.x")]).len(),
        0
    );
    let found = warnings(&[("room:{arg}", "true"), ("room:{arg}:staff", "claims.staff")]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "subscribe[1]: what a client sends for \"room:{arg}\" can name rooms of subscribe[2]"
        )
    );
    assert_eq!(warnings(&[("chat:{arg}", "true")]).len(), 1, "the lobby");
    assert_eq!(
        warnings(&[("{arg}", "true"), ("x:{user}", "true")]).len(),
        2,
        "everything"
    );
    assert_eq!(crm().warnings().len(), 0);
}
