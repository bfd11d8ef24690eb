use adapter_redis::RoomName;

use super::*;

fn read(text: &str) -> Filter {
    Filter::read(text).unwrap().0
}

fn nobody(_: Whom<'_>, _: &Audience<'_>) -> bool {
    false
}

#[test]
fn what_is_asked_for_and_nothing_else() {
    let sight = Sight {
        rooms: vec!["user:42", "system"],
        event: Some("typing:start"),
        emit: Some("typing:indicator"),
        user: Some("42"),
        session: Some("socket-0000000000001".parse().unwrap()),
        ..Sight::default()
    };
    for (filter, expect) in [
        ("", true),
        ("room=user:42", true),
        ("room=user:4", false),
        ("room=user:*", true),
        ("room=contact:*&room=sys*", true),
        ("room=contact:*", false),
        ("room=*", true),
        ("event=typing:start", true),
        ("event=typing:indicator", true),
        ("event=typing:*", true),
        ("event=typing", false),
        ("user=42", true),
        ("user=4*", false),
        ("user=421", false),
        ("session=socket-0000000000001", true),
        ("session=socket-0000000000002", false),
        ("session=no+id", false),
        ("room=user:42&event=typing:*&user=42", true),
        ("room=user:42&event=typing:*&user=43", false),
        ("room=user:42&event=news&user=42", false),
        ("room=tenant:*&event=typing:*", false),
    ] {
        assert_eq!(read(filter).passes(&sight, &nobody), expect, "{filter}");
    }
}

#[test]
fn what_has_no_room_event_or_user_is_in_no_filter_for_them() {
    let sight = Sight::default();
    for (filter, expect) in [
        ("", true),
        ("room=*", false),
        ("event=*", false),
        ("user=42", false),
        ("session=socket-0000000000001", false),
    ] {
        assert_eq!(read(filter).passes(&sight, &nobody), expect, "{filter}");
    }
    let everywhere = Sight {
        is_everywhere: true,
        ..Sight::default()
    };
    assert!(read("room=user:42").passes(&everywhere, &nobody));
    assert!(!read("event=news").passes(&everywhere, &nobody));
}

#[test]
fn a_publication_concerns_whom_it_reaches() {
    let rooms = [RoomName::new("user:42").unwrap()];
    let sight = Sight {
        rooms: vec!["user:42"],
        audience: Some(Audience {
            rooms: &rooms,
            except: &[],
        }),
        ..Sight::default()
    };
    let reaches = |whom: Whom<'_>, audience: &Audience<'_>| {
        assert_eq!(audience.rooms.len(), 1);
        whom == Whom::User("42") || whom == Whom::Session("s")
    };
    for (filter, expect) in [
        ("user=42", true),
        ("user=43", false),
        ("session=s", true),
        ("session=t", false),
        ("user=42&session=t", false),
        ("user=42&room=user:42", true),
        ("user=42&room=user:43", false),
    ] {
        assert_eq!(read(filter).passes(&sight, &reaches), expect, "{filter}");
    }
}

#[test]
fn payloads_are_asked_for_or_not() {
    for (text, expect) in [("", false), ("data=false", false), ("room=a&data=true", true)] {
        assert_eq!(Filter::read(text).unwrap().1, expect);
    }
}

#[test]
fn what_is_wrong_is_said() {
    let long = format!("user={}", "x".repeat(257));
    let many = ["room=a"; 17].join("&");
    for (text, expect) in [
        ("rooms=a", "`rooms` is none of"),
        ("room=", "`room`: \"\" is neither a name"),
        ("room=a*b", "`room`: \"a*b\" is neither a name"),
        ("event=**", "`event`: \"**\" is neither a name"),
        ("event=a&event=b", "`event` is there more than once"),
        ("user=1&user=2", "`user` is there more than once"),
        ("user=", "`user` is empty"),
        ("data=1", "`data` is neither"),
        ("data=true&data=true", "`data` is there more than once"),
        (&long, "`user` has 257 bytes"),
        (&many, "17 patterns of rooms"),
    ] {
        let error = Filter::read(text).unwrap_err();
        assert!(error.starts_with(expect), "{text}: {error}");
    }
}
