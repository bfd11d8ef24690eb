//! Too fast, too large, too many rooms.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_comes_too_fast_is_not_looked_at() {
    let house = House::open();
    house.limits.set(Limits {
        events_per_second: 2,
        ..Limits::default()
    });
    for number in 1..=4 {
        house.send("subscribe:contact", &number.to_string());
    }
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    assert_eq!(house.rooms(), ["contact:1", "contact:2"]);
    assert_eq!(house.limited("events_per_second"), 2);
    assert_eq!(house.dropped("socket_gone"), 1, "told once, not twice");
    tokio::time::advance(Duration::from_millis(500)).await;
    house.send("unsubscribe:contact", "1");
    assert_eq!(house.rooms(), ["contact:2"], "half a second is one event");
    house.limits.set(Limits::default());
    house.send("unsubscribe:contact", "2");
    assert_eq!(house.rooms(), Vec::<String>::new(), "off at once");
}

#[tokio::test]
async fn no_more_rooms_than_so_many() {
    let house = House::open();
    house.limits.set(Limits {
        max_rooms_per_socket: 1,
        ..Limits::default()
    });
    house.send("subscribe:contact", "1");
    // Behind it, and looked at in its turn.
    house.send("subscribe:contact", "2");
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    assert!(
        house.bell.is_silent(),
        "the bus is not asked for a room that is refused"
    );
    assert_eq!(
        (house.rooms(), house.limited("max_rooms_per_socket")),
        (vec!["contact:1".to_owned()], 1)
    );
    house.send("subscribe:contact", "1");
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    house.send("unsubscribe:contact", "1");
    house.send("subscribe:contact", "2");
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    assert_eq!(
        (house.rooms(), house.limited("max_rooms_per_socket")),
        (vec!["contact:2".to_owned()], 1)
    );
}

#[tokio::test]
async fn a_long_event_is_not_looked_at() {
    let house = House::open();
    house.limits.set(Limits {
        max_event_bytes: 29,
        ..Limits::default()
    });
    house.send("subscribe:contact", "12345678901");
    assert_eq!(house.limited("max_event_bytes"), 1);
    assert!(house.bell.is_silent());
    house.send("subscribe:contact", "1234567890");
    assert_eq!(
        house.bell.asked().await.0,
        "contact:1234567890",
        "17 and 12 bytes"
    );
}

#[test]
fn a_name_is_repeated_as_long_as_names_are() {
    let long = "ü".repeat(200);
    for (name, expected) in [("e", "e"), ("", ""), (long.as_str(), &long[..256])] {
        assert_eq!(shortened(name), expected);
    }
    assert_eq!(shortened(&format!("e{long}")).len(), 255);
}
