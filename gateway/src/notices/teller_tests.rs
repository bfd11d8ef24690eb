//! What a backend is told that is slow, wrong or away: by the clock of the runtime, which is stopped.

use adapter_redis::NoticeKind;
use tokio::time::{advance, sleep};

use super::*;

const PATIENCE: Duration = Duration::from_hours(1);

/// Does with each notice what is said of its id, and otherwise takes it; remembers what it was asked.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: HashMap<String, Result<u16, CallError>>,
    all: Option<CallError>,
    asked: Vec<String>,
    slow: Duration,
}

impl Fake {
    fn does(&self, id: &str, answer: Result<u16, CallError>) {
        self.state().answers.insert(id.to_owned(), answer);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Backend for Fake {
    fn call(&self, call: Call) -> Calling<'_> {
        let mut state = self.state();
        state.asked.push(call.id.clone());
        let answer = state
            .all
            .clone()
            .map_or_else(|| state.answers.get(&call.id).cloned().unwrap_or(Ok(200)), Err);
        let slow = state.slow;
        Box::pin(async move {
            sleep(slow).await;
            answer.map(|status| Answer {
                status,
                body: bytes::Bytes::new(),
            })
        })
    }
}

/// `a1` is the first notice of session `a`.
fn notices(names: &[&str]) -> Vec<Arc<Told>> {
    let told = |name: &&str| {
        Arc::new(Told {
            id: (*name).to_owned(),
            session: name.chars().take(1).collect(),
            kind: NoticeKind::Connect,
            body: bytes::Bytes::from_static(b"{}"),
            since_ms: 1_000,
        })
    };
    names.iter().map(told).collect()
}

fn teller(fake: &Fake) -> Teller {
    Teller::new(Box::new(fake.clone()), NoticeMetrics::noop(), PATIENCE)
}

/// `.` done, `-` not now, or the reason of a refusal.
async fn tell(teller: &Teller, names: &[&str]) -> Vec<String> {
    tell_at(teller, names, 2_000).await
}

async fn tell_at(teller: &Teller, names: &[&str], now_ms: u64) -> Vec<String> {
    let verdicts = teller.tell(&notices(names), now_ms).await;
    let text = |verdict| match verdict {
        Verdict::Done => ".".to_owned(),
        Verdict::NotNow => "-".to_owned(),
        Verdict::Refused(refused) => refused.reason.into_owned(),
    };
    verdicts.into_iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_for_its_own_and_for_nobody_else() {
    let fake = Fake::default();
    let teller = teller(&fake);
    fake.does("a1", Err(CallError::BadStatus(500)));
    fake.does("b1", Ok(400));
    let names = ["a1", "b1", "a2", "b2", "c1"];
    assert_eq!(tell(&teller, &names).await, ["-", "status_400", "-", ".", "."]);
    assert_eq!(fake.asked(), ["a1", "b1", "b2", "c1"], "a2 not before a1");
    // Not again at once, and others meanwhile.
    assert_eq!(tell(&teller, &["a1", "a2", "d1"]).await, ["-", "-", "."]);
    assert_eq!(fake.asked(), ["d1"]);
    fake.does("a1", Ok(204));
    advance(Duration::from_millis(501)).await;
    assert_eq!(tell(&teller, &["a1", "a2"]).await, [".", "."]);
    assert_eq!(fake.asked(), ["a1", "a2"]);
    assert!(teller.failing().notices.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_away_is_left_alone_with_all_notices() {
    let fake = Fake::default();
    let teller = teller(&fake);
    fake.state().all = Some(CallError::CircuitOpen);
    let mut asked = Vec::new();
    for _ in 0..200 {
        assert_eq!(tell(&teller, &["a1", "b1"]).await, ["-", "-"]);
        asked.push(fake.asked().len());
        advance(Duration::from_millis(100)).await;
    }
    let rounds = asked.iter().filter(|asked| **asked > 0).count();
    assert!((5..12).contains(&rounds), "{rounds} attempts in 20 s: {asked:?}");
    fake.state().all = None;
    advance(Duration::from_secs(5)).await;
    assert_eq!(tell(&teller, &["a1", "b1"]).await, [".", "."]);
    assert_eq!(tell(&teller, &["c1"]).await, ["."], "and at once from then on");
}

#[tokio::test(start_paused = true)]
async fn what_is_never_taken_is_put_aside_when_it_is_too_old() {
    let fake = Fake::default();
    let teller = teller(&fake);
    let late = 1_000 + u64::try_from(PATIENCE.as_millis()).unwrap();
    for error in [CallError::Timeout, CallError::CircuitOpen] {
        fake.does("a1", Err(error));
        assert_eq!(tell_at(&teller, &["a1"], late).await, ["-"]);
        advance(Duration::from_mins(1)).await;
        assert_eq!(tell_at(&teller, &["a1"], late + 1).await, ["too_late"]);
        advance(Duration::from_mins(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_asked_by_many_at_once_but_not_by_all() {
    let fake = Fake::default();
    let teller = teller(&fake);
    fake.state().slow = Duration::from_secs(1);
    let names: Vec<String> = (0..64_u8).map(|n| char::from(b'0' + n).to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let began = Instant::now();
    assert!(tell(&teller, &names).await.iter().all(|verdict| verdict == "."));
    assert_eq!(began.elapsed().as_secs(), 2, "{AT_ONCE} at a time");
}
