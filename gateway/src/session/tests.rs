use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

use super::{waiting::MAX_EVENTS, *};
use crate::{
    joining::{self, Joins, bell::Bell},
    limits::Limits,
    population::Population,
};

struct House {
    session: Arc<Session>,
    bell: Bell,
    sockets: Sockets,
    metrics: Metrics,
    limits: CurrentLimits,
    tasks: JoinSet<()>,
}

impl House {
    fn new() -> (House, Joins) {
        let (joining, joins) = joining::channel();
        let limits = CurrentLimits::default();
        let (bell, sockets, metrics) = (Bell::default(), Sockets::default(), Metrics::new().unwrap());
        let socket: SocketId = "socket-000000001".parse().unwrap();
        sockets.add(socket);
        let common = Common {
            policy: Arc::new(Policy::parse(crate::policy::WHATSAPP_CRM).unwrap()),
            sockets: sockets.clone(),
            doors: Box::new(bell.clone()),
            joining,
            metrics: metrics.clone(),
            limits: limits.clone(),
        };
        let identity = Identity {
            user: "42".into(),
            tenant: None,
        };
        let admission = Arc::new(Population::default()).admit(socket, identity, SystemTime::now());
        let claims = json!({"sub": "42", "contacts": ["*"]});
        let house = House {
            session: Arc::new(Session::new(socket, &claims, Arc::new(common), admission)),
            bell,
            sockets,
            metrics,
            limits,
            tasks: JoinSet::new(),
        };
        (house, joins)
    }

    fn open() -> House {
        let (mut house, joins) = House::new();
        house.tasks.spawn(joins.run());
        house
    }

    fn send(&self, name: &str, argument: &str) {
        let text = json!([name, argument]).to_string();
        self.session.event(Event::parse(&text, vec![]).unwrap(), None);
    }

    fn limited(&self, limit: &str) -> usize {
        self.counted(&format!("roomcast_limited_total{{limit=\"{limit}\"}} "))
    }

    fn rooms(&self) -> Vec<String> {
        let rooms = self.sockets.rooms_of(self.session.socket);
        rooms.iter().map(ToString::to_string).collect()
    }

    async fn until(&self, condition: impl Fn(&House) -> bool) {
        let met = async {
            while !condition(self) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), met).await.expect("in time");
    }

    fn is_waiting(&self) -> bool {
        self.session.state().waiting.is_some()
    }

    fn dropped(&self, reason: &str) -> usize {
        self.counted(&format!("roomcast_dropped_total{{reason=\"{reason}\"}} "))
    }

    fn counted(&self, start: &str) -> usize {
        let text = self.metrics.render();
        let line = text.lines().find_map(|l| l.strip_prefix(start));
        line.unwrap().parse().unwrap()
    }
}

fn keep() -> Result<Keep, Refused> {
    Ok(Box::new(()))
}

#[tokio::test]
async fn events_behind_a_room_keep_their_order() {
    let house = House::open();
    house.send("subscribe:contact", "1");
    house.send("subscribe:contact", "2");
    house.send("unsubscribe:contact", "1");
    house.send("subscribe:contact", "3");
    let (room, first) = house.bell.asked().await;
    assert_eq!(room, "contact:1");
    assert!(house.bell.is_silent(), "the others wait behind it");
    first.send(keep()).ok().unwrap();
    let (room, second) = house.bell.asked().await;
    assert_eq!(
        (room.as_str(), house.rooms()),
        ("contact:2", vec!["contact:1".to_owned()])
    );
    house.send("unsubscribe:contact", "3");
    second.send(keep()).ok().unwrap();
    let (room, third) = house.bell.asked().await;
    assert_eq!(
        (room.as_str(), house.rooms()),
        ("contact:3", vec!["contact:2".to_owned()])
    );
    third.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    assert_eq!(house.rooms(), ["contact:2"]);
    house.send("unsubscribe:contact", "2");
    assert_eq!(house.rooms(), Vec::<String>::new(), "nothing waits any more");
}

#[tokio::test]
async fn a_refused_room_is_not_entered_and_holds_nothing_up() {
    let house = House::open();
    house.send("subscribe:contact", "1");
    house.send("subscribe:contact", "2");
    house.bell.asked().await.1.send(Err(Refused)).ok().unwrap();
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    assert_eq!(house.rooms(), ["contact:2"]);
}

#[tokio::test]
async fn who_goes_meanwhile_joins_nothing() {
    let house = House::open();
    house.send("subscribe:contact", "1");
    house.send("subscribe:contact", "2");
    let (_, mut confirm) = house.bell.asked().await;
    house.session.gone(CloseReason::TransportClose);
    timeout(Duration::from_secs(10), confirm.closed())
        .await
        .expect("nobody waits for the room any more");
    assert!(house.bell.is_silent() && house.rooms().is_empty() && !house.is_waiting());
    assert_eq!(house.dropped("socket_gone"), 1, "the event that waited");
    house.send("subscribe:contact", "3");
    let (_, mut confirm) = house.bell.asked().await;
    timeout(Duration::from_secs(10), confirm.closed()).await.unwrap();
    assert!(!house.is_waiting());
}

#[tokio::test]
async fn too_many_events_are_turned_away_and_counted() {
    let house = House::open();
    house.send("subscribe:contact", "1");
    for number in 0..MAX_EVENTS + 3 {
        house.send("unsubscribe:contact", &number.to_string());
    }
    house.send("nobody:knows", "");
    assert_eq!(house.dropped("event_queue_full"), 4);
    assert_eq!(
        house.dropped("socket_gone"),
        3,
        "an error for each that is about rooms"
    );
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    assert_eq!(
        house.rooms(),
        Vec::<String>::new(),
        "the queue was handled: 1 was left"
    );
}

#[tokio::test]
async fn nobody_waits_for_a_task_that_is_gone() {
    let (house, joins) = House::new();
    drop(joins);
    house.send("subscribe:contact", "1");
    let (_, confirm) = house.bell.asked().await;
    assert!(confirm.is_closed() && !house.is_waiting());
    assert_eq!(house.dropped("joining_queue_full"), 1);
}

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
