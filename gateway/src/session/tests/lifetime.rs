//! When a client is warned and sent away. The wall clock goes with the runtime's, which is stopped.

use std::collections::HashMap;

use tokio::time::{advance, sleep};

use super::*;
use crate::auth::Claims;

const NOWHERE: &str = "socket_gone";

impl House {
    /// A session whose token ends after so many seconds, and the task that looks after it.
    fn lasting(seconds: i64) -> House {
        let (mut house, joins) = House::new();
        house.tasks.spawn(joins.run());
        house.tasks.spawn(house.watching());
        house.shows(seconds, LEEWAY);
        house
    }

    fn watching(&self) -> impl Future<Output = ()> + use<> {
        let expiry = self.session.common.expiry.clone();
        async move { drop(expiry.run().await) }
    }

    /// Goes by a token that ends after so many seconds from the beginning of the test.
    fn shows(&self, seconds: i64, leeway: Duration) {
        let claims = Claims::unverified(json!({"sub": "42"}), BEGIN.strict_add_signed(seconds));
        self.session.set_standing(&claims);
        self.session.begin(leeway);
    }

    /// How often it was warned: there is no connection, so that each warning is lost.
    fn warned(&self) -> usize {
        self.dropped(NOWHERE)
    }

    fn is_sent_away(&self) -> bool {
        self.session.state().ending == Some(crate::metrics::TOKEN_EXPIRED)
    }
}

/// Lets everything happen that is due until then.
async fn until(house: &House, seconds: f64) {
    let at = house.wall.began + Duration::from_secs_f64(seconds);
    tokio::time::sleep_until(at).await;
    // A timer that is due at the same time may come later than this one.
    sleep(Duration::from_millis(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_warning_then_the_end_and_neither_before_its_time() {
    // Seconds of life; seconds until the warning and the end.
    for (life, warning, end) in [
        (86_400, 86_340.0, 86_405.0),
        (60, 45.0, 65.0),
        (2, 1.5, 7.0),
        (-2, 0.0, 3.0),
    ] {
        let house = House::lasting(life);
        if warning > 0.0 {
            until(&house, warning - 0.01).await;
            assert_eq!(house.warned(), 0, "{life}");
        }
        until(&house, warning).await;
        assert_eq!(house.warned(), 1, "{life}");
        until(&house, end - 0.01).await;
        assert_eq!((house.warned(), house.is_sent_away()), (1, false), "{life}");
        until(&house, end).await;
        assert_eq!((house.warned(), house.is_sent_away()), (1, true), "{life}");
        house.session.gone(CloseReason::ServerDisconnect);
        assert_eq!(house.session.common.expiry.len(), 0);
        let counted = |reason| house.counted(&format!("roomcast_disconnects_total{{reason=\"{reason}\"}} "));
        assert_eq!(
            (counted("token_expired"), counted("server_namespace_disconnect")),
            (1, 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_sent_away_for_another_reason_is_counted_as_that() {
    for reason in [CloseReason::ServerDisconnect, CloseReason::TransportClose] {
        let house = House::lasting(60);
        house.session.gone(reason);
        let start = format!("roomcast_disconnects_total{{reason=\"{}\"}} ", reason.as_str());
        assert_eq!(house.counted(&start), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn another_token_moves_both_times() {
    let house = House::lasting(100);
    until(&house, 80.0).await;
    assert_eq!(house.warned(), 1);
    house.shows(280, LEEWAY);
    until(&house, 229.9).await;
    assert_eq!((house.warned(), house.is_sent_away()), (1, false));
    until(&house, 230.0).await;
    assert_eq!(house.warned(), 2, "a quarter of 200 s before its end");
    // One that ends sooner counts as well, with the leeway that holds now.
    house.shows(240, Duration::ZERO);
    until(&house, 237.5).await;
    assert_eq!((house.warned(), house.is_sent_away()), (3, false));
    until(&house, 240.0).await;
    assert!(house.is_sent_away());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_is_seen_within_half_a_minute() {
    let house = House::lasting(7200);
    until(&house, 40.0).await;
    house.wall.set(7100);
    until(&house, 60.0).await;
    assert_eq!((house.warned(), house.is_sent_away()), (1, false));
    house.wall.set(100);
    until(&house, 90.0).await;
    assert!(house.is_sent_away());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_ends_nobody_before_the_new_time_says_so() {
    let house = House::lasting(100);
    until(&house, 50.0).await;
    house.wall.set(-1000);
    until(&house, 1074.0).await;
    assert_eq!((house.warned(), house.is_sent_away()), (0, false));
    until(&house, 1075.0).await;
    assert_eq!((house.warned(), house.is_sent_away()), (1, false));
    until(&house, 1104.9).await;
    assert!(!house.is_sent_away());
    until(&house, 1105.0).await;
    assert!(house.is_sent_away());
}

#[tokio::test(start_paused = true)]
async fn one_that_never_ends_is_left_alone() {
    let house = House::lasting(60);
    house
        .session
        .set_standing(&Claims::unverified(json!({}), u64::MAX));
    house.session.begin(Duration::from_secs(u64::MAX));
    until(&house, 1e6).await;
    assert_eq!((house.warned(), house.is_sent_away()), (0, false));
    assert_eq!(house.session.common.expiry.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_just_being_let_in_is_asked_again() {
    let house = House::lasting(-4);
    let other: SocketId = "socket-0000000000002".parse().unwrap();
    let late = another(&house, other, BEGIN + 1);
    sleep(Duration::from_secs(8)).await;
    assert!(late.state().ending.is_none(), "the engine does not know it yet");
    house.sockets.add(other);
    sleep(Duration::from_secs(1)).await;
    assert!(late.state().ending.is_some());
}

/// One more session of the same node.
fn another(house: &House, socket: SocketId, expires_at: u64) -> Arc<Session> {
    let common = house.session.common.clone();
    let identity = Identity {
        user: "42".into(),
        tenant: None,
    };
    let admission = common.population.admit(socket, identity, SystemTime::now());
    let claims = Claims::unverified(json!({"sub": "42"}), expires_at);
    let session = Session::new(socket, &claims, &json!({}), common, admission, vec![], vec![]);
    let session = Arc::new(session);
    session.begin(LEEWAY);
    session
}

fn crowd(house: &House, count: u64, expires_at: impl Fn(u64) -> u64) -> Vec<Arc<Session>> {
    let one = |number: u64| {
        let socket: SocketId = format!("crowd-{number:014}").parse().unwrap();
        house.sockets.add(socket);
        another(house, socket, expires_at(number))
    };
    (0..count).map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn thousands_end_in_the_same_second_and_others_have_their_turn() {
    let mut house = House::lasting(86_400);
    let all = crowd(&house, 10_000, |_| BEGIN + 600);
    until(&house, 540.0).await;
    assert_eq!(house.warned(), all.len());
    until(&house, 604.9).await;
    assert!(all.iter().all(|s| s.state().ending.is_none()));
    // Somebody else's task: how many had been sent away each time it had its turn.
    let (seen, watched) = (Arc::new(Mutex::new(vec![])), all.clone());
    let turns = seen.clone();
    house.tasks.spawn(async move {
        loop {
            let ended = watched.iter().filter(|s| s.state().ending.is_some()).count();
            turns.lock().unwrap().push(ended);
            if ended == watched.len() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    advance(Duration::from_millis(200)).await;
    house
        .until(|_| seen.lock().unwrap().last() == Some(&all.len()))
        .await;
    let seen = seen.lock().unwrap().clone();
    let most = seen.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(most.is_some_and(|most| most <= 128), "{most:?} at once");
    assert!(!house.is_sent_away());
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_of_those_that_went() {
    let house = House::lasting(86_400);
    for _ in 0..3 {
        let all = crowd(&house, 10_000, |number| BEGIN + 86_400 + number);
        assert_eq!(house.session.common.expiry.len(), 10_001);
        for session in &all {
            session.gone(CloseReason::TransportClose);
        }
        assert_eq!(house.session.common.expiry.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_when_it_is_due_stays_gone() {
    let house = House::lasting(-1);
    let ticket = house.session.state().lifetime.as_ref().unwrap().ticket;
    house.session.gone(CloseReason::TransportClose);
    house.session.due(ticket, u64::MAX).await;
    assert_eq!((house.warned(), house.is_sent_away()), (0, false));
    advance(Duration::from_secs(100)).await;
    assert_eq!(house.session.common.expiry.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_end_each_at_its_own_time() {
    let house = House::lasting(86_400);
    let all = crowd(&house, 500, |number| BEGIN + 100 + number % 20);
    for second in [105_u64, 106, 117, 124] {
        until(&house, second as f64).await;
        let mut ended: HashMap<bool, Vec<u64>> = HashMap::new();
        for (number, session) in all.iter().enumerate() {
            let end = 105 + number as u64 % 20;
            ended
                .entry(session.state().ending.is_some())
                .or_default()
                .push(end);
        }
        let latest = ended.get(&true).and_then(|ends| ends.iter().max());
        let soonest = ended.get(&false).and_then(|ends| ends.iter().min());
        assert_eq!(latest, Some(&second));
        assert!(soonest.is_none_or(|soonest| *soonest > second));
    }
}
