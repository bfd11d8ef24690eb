//! One client, with a bus that takes its time.

mod lifetime;
mod limits;
mod refresh;
mod relays;
mod rooms;

use std::time::{Duration, SystemTime};

use adapter_redis::{Phase, Refused, Relay, Relayed, RoomName};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant as Runtime, timeout},
};

use super::{answers::shortened, waiting::MAX_EVENTS, *};
use crate::{
    auth::{self, Keys},
    engine::Keep,
    joining::{self, Joins, bell::Bell},
    limits::Limits,
    policy::Policy,
    population::Population,
    rules::InForce,
};

/// Remembers what was relayed.
#[derive(Clone, Default)]
struct Others(Arc<Mutex<Vec<(Relay, Phase)>>>);

impl Relaying for Others {
    fn relay(&self, relay: Relay, phase: Phase) -> Relayed {
        self.0.lock().unwrap().push((relay, phase));
        Relayed {
            sockets: 0,
            queued: true,
            at_ms: 0,
        }
    }
}

impl Others {
    /// The arguments' texts of what was relayed since the last call, with the phases.
    fn take(&self) -> Vec<(String, Phase)> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap());
        let shown =
            |(relay, phase): (Relay, Phase)| (String::from_utf8(relay.args.json().to_vec()).unwrap(), phase);
        taken.into_iter().map(shown).collect()
    }
}

struct House {
    others: Others,
    session: Arc<Session>,
    bell: Bell,
    sockets: Sockets,
    metrics: Metrics,
    limits: CurrentLimits,
    wall: Wall,
    tasks: JoinSet<()>,
}

impl House {
    fn new() -> (House, Joins) {
        House::with(crate::policy::WHATSAPP_CRM)
    }

    fn with(policy: &str) -> (House, Joins) {
        House::built(policy, &json!({"sub": "42", "contacts": ["*"]}), None)
    }

    /// With doors of its own in place of the bell.
    fn built(
        policy: &str,
        claims: &serde_json::Value,
        doors: impl Into<Option<Box<dyn Doors>>>,
    ) -> (House, Joins) {
        let others = Others::default();
        let (joining, joins) = joining::channel();
        let limits = CurrentLimits::default();
        let (bell, sockets, metrics) = (Bell::default(), Sockets::default(), Metrics::new().unwrap());
        let socket: SocketId = "socket-0000000000001".parse().unwrap();
        sockets.add(socket);
        let wall = Wall::default();
        let common = Common {
            verifier: ArcSwap::from_pointee(verifier(LEEWAY)),
            expiry: wall.expiry(),
            rules: rules(policy, &metrics),
            sockets: sockets.clone(),
            doors: doors.into().unwrap_or_else(|| Box::new(bell.clone())),
            joining,
            relaying: Box::new(others.clone()),
            forwarding: crate::forwarding::Forwarding::nowhere(&metrics),
            hooks: crate::hooks::Hooks::none(&metrics),
            metrics: metrics.clone(),
            tails: crate::tail::Tails::default(),
            limits: limits.clone(),
            population: Arc::default(),
            roster: Arc::default(),
            revocations: crate::revocation::Revocations::default(),
        };
        let identity = Identity {
            user: "42".into(),
            tenant: None,
        };
        let admission = Arc::new(Population::default()).admit(socket, identity, SystemTime::now());
        let house = House {
            others,
            session: Arc::new(Session::new(
                socket,
                &Claims::unverified(claims.clone(), u64::MAX),
                &json!({}),
                Arc::new(common),
                admission,
                Vec::new(),
                Vec::new(),
            )),
            bell,
            sockets,
            metrics,
            limits,
            wall,
            tasks: JoinSet::new(),
        };
        (house, joins)
    }

    fn open() -> House {
        let (mut house, joins) = House::new();
        house.tasks.spawn(joins.run());
        house
    }

    fn say(&self, name: &str, data: &serde_json::Value) {
        let text = json!([name, data]).to_string();
        self.session.event(Event::parse(&text, vec![]).unwrap(), None);
    }

    fn enter(&self, room: &str) {
        let keep = keep().unwrap();
        self.session.join(&RoomName::new(room).unwrap(), keep);
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

fn rules(policy: &str, metrics: &Metrics) -> Rules {
    let loaded = InForce {
        policy: Arc::new(Policy::parse(policy).unwrap()),
        shadow: None,
    };
    Rules::new(loaded, metrics.clone())
}

const SECRET: &str = "a-secret-of-more-than-32-bytes-for-tests";
const LEEWAY: Duration = Duration::from_secs(5);
/// When all tests begin, in seconds since 1970.
const BEGIN: u64 = 1_800_000_000;

fn verifier(leeway: Duration) -> Verifier {
    Verifier::new(auth::Config {
        keys: Keys::new(Some(SECRET), None, &[]).unwrap(),
        issuers: vec![],
        audiences: vec![],
        leeway,
        query_token: false,
    })
}

/// A wall clock that goes with the runtime's, and that can be set.
#[derive(Clone)]
struct Wall {
    began: Runtime,
    set_by: Arc<Mutex<i64>>,
}

impl Default for Wall {
    fn default() -> Self {
        Wall {
            began: Runtime::now(),
            set_by: Arc::default(),
        }
    }
}

impl Wall {
    fn expiry(&self) -> Expiry {
        let wall = self.clone();
        Expiry::new(move || {
            let milliseconds = u64::try_from(wall.began.elapsed().as_millis()).unwrap() + BEGIN * 1000;
            let set_by = *wall.set_by.lock().unwrap();
            SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.strict_add_signed(set_by))
        })
    }

    /// Sets it by so many seconds.
    fn set(&self, seconds: i64) {
        *self.set_by.lock().unwrap() += seconds * 1000;
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

/// Another policy, with the identity of these tests.
fn loaded(rules: &str) -> InForce {
    let text = format!("[identity]\nuser = \"claims.sub\"\n{rules}");
    InForce {
        policy: Arc::new(Policy::parse(&text).unwrap()),
        shadow: None,
    }
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

/// Follows: how many rooms it left, and those that it may enter.
fn followed(house: &House) -> (usize, Vec<RoomName>) {
    match house.session.follow() {
        Follow::Rooms { left, enter, .. } => (left, enter),
        Follow::Reconnect => panic!("it is the same user"),
    }
}

#[tokio::test]
async fn a_room_that_another_policy_refuses_while_it_is_opened_is_not_entered() {
    for (rules, expect) in [
        ("", vec![]),
        (
            "[[subscribe]]\nevent = \"subscribe:contact\"\nroom = \"contact:{arg}\"\nallow = \"arg == '2'\"\n",
            vec![],
        ),
        (
            "[[subscribe]]\nevent = \"subscribe:contact\"\nroom = \"contact:{arg}\"\nallow = \"arg == '1'\"\n",
            vec!["contact:1"],
        ),
    ] {
        let house = House::open();
        house.send("subscribe:contact", "1");
        let (_, confirm) = house.bell.asked().await;
        house.session.common.rules.set(loaded(rules));
        assert_eq!(followed(&house), (0, vec![]), "it is in no room yet");
        confirm.send(keep()).ok().unwrap();
        house.until(|h| !h.is_waiting()).await;
        assert_eq!(house.rooms(), expect, "{rules}");
    }
}

#[tokio::test]
async fn following_a_policy_twice_changes_nothing_more() {
    let house = House::open();
    house.send("subscribe:contact", "1");
    house.bell.asked().await.1.send(keep()).ok().unwrap();
    house.until(|h| !h.is_waiting()).await;
    house
        .session
        .common
        .rules
        .set(loaded("[[join]]\nroom = \"new\"\n"));
    let (left, generation) = match house.session.follow() {
        Follow::Rooms {
            left,
            enter,
            generation,
        } => {
            assert_eq!(enter, [room("new")]);
            (left, generation)
        }
        Follow::Reconnect => panic!("it is the same user"),
    };
    assert_eq!(left, 1);
    assert!(
        house
            .session
            .enter_given(generation, room("new"), keep().unwrap())
    );
    assert_eq!(followed(&house), (0, vec![]));
    assert_eq!(house.rooms(), ["new"]);
}
