//! What a call does with a backend that is slow, wrong or away: by the clock of the runtime, which is stopped.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{join, time::timeout};

use super::{target::Exchanged, *};

/// What the backend does with one request.
#[derive(Clone)]
enum Does {
    /// Answers with this status, after so many milliseconds.
    Answers(u16, u64),
    /// Never answers.
    Stalls,
    IsAway,
}
use Does::{Answers, IsAway, Stalls};

/// A backend that does one thing after the other, and the last for ever.
struct Backend {
    script: Mutex<VecDeque<Does>>,
    asked: Mutex<Vec<(Instant, Request<Full<Bytes>>)>>,
}

impl Backend {
    fn new(script: &[Does]) -> Arc<Backend> {
        Arc::new(Backend {
            script: Mutex::new(script.iter().cloned().collect()),
            asked: Mutex::default(),
        })
    }

    fn does(&self, script: &[Does]) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script.iter().cloned().collect();
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Exchange for Backend {
    fn send(&self, request: Request<Full<Bytes>>, patience: Duration, _: usize) -> Exchanged<'_> {
        self.asked.lock().unwrap().push((Instant::now(), request));
        let mut script = self.script.lock().unwrap();
        let does = if script.len() > 1 {
            script.pop_front()
        } else {
            script.front().cloned()
        };
        Box::pin(async move {
            let answer = async {
                match does.unwrap() {
                    Answers(status, after) => {
                        sleep(Duration::from_millis(after)).await;
                        let body = Bytes::from_static(b"{}");
                        Ok(Response::builder().status(status).body(body).unwrap())
                    }
                    Stalls => std::future::pending().await,
                    IsAway => Err(HttpError::Unreachable("refused".to_owned())),
                }
            };
            timeout(patience, answer).await.unwrap_or(Err(HttpError::Timeout))
        })
    }
}

fn config() -> Config {
    Config {
        url: "http://backend.example/hook?key=1".parse().unwrap(),
        secrets: Secrets::new(["0123456789abcdef"]).unwrap(),
        timeout: Duration::from_secs(5),
        max_concurrency: 2,
        queue: 2,
        breaker_failures: 3,
        breaker_pause: Duration::from_secs(10),
    }
}

fn webhook(backend: &Arc<Backend>) -> (Webhook, crate::metrics::Metrics) {
    let metrics = crate::metrics::Metrics::new().unwrap();
    let webhook = Webhook::new(None, 0, metrics.webhook.clone()).unwrap();
    webhook.put(config(), backend.clone());
    (webhook, metrics)
}

fn call(is_idempotent: bool) -> Call {
    Call {
        kind: Kind::Event,
        id: "msg_1".to_owned(),
        body: Bytes::from_static(b"{\"type\":\"event\"}"),
        patience: None,
        is_idempotent,
    }
}

fn counted(metrics: &crate::metrics::Metrics, outcome: &str) -> u64 {
    let name = format!("roomcast_webhook_requests_total{{kind=\"event\",outcome=\"{outcome}\"}} ");
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

fn is_open(metrics: &crate::metrics::Metrics) -> bool {
    metrics.render().contains("\nroomcast_webhook_circuit_open 1\n")
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_an_answer_and_everything_else_says_why_there_is_none() {
    for (does, expect) in [
        (Answers(200, 0), Ok(200)),
        (Answers(204, 4900), Ok(204)),
        (Answers(404, 0), Ok(404)),
        (Answers(500, 0), Err(CallError::BadStatus(500))),
        (Answers(302, 0), Err(CallError::BadStatus(302))),
        (Stalls, Err(CallError::Timeout)),
        (IsAway, Err(CallError::Unreachable("refused".to_owned()))),
    ] {
        let backend = Backend::new(&[does]);
        let (webhook, _) = webhook(&backend);
        let began = Instant::now();
        let answered = webhook.call(call(false)).await;
        assert_eq!(answered.map(|answer| answer.status), expect);
        assert!(began.elapsed() <= Duration::from_secs(5));
        assert_eq!(backend.count(), 1, "asked once, whatever comes");
    }
    let metrics = crate::metrics::Metrics::new().unwrap();
    let nowhere = Webhook::new(None, 0, metrics.webhook).unwrap();
    assert_eq!(nowhere.call(call(true)).await, Err(CallError::NotConfigured));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_signed_and_says_who_asks() {
    let backend = Backend::new(&[Answers(200, 0)]);
    let (webhook, _) = webhook(&backend);
    webhook.call(call(false)).await.unwrap();
    let (_, request) = backend.asked.lock().unwrap().pop().unwrap();
    let (head, body) = request.into_parts();
    assert_eq!(head.method, "POST");
    assert_eq!(head.uri, "http://backend.example/hook?key=1");
    let header = |name: &str| head.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-id"), "msg_1");
    let timestamp = header("webhook-timestamp").parse().unwrap();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(
        header("webhook-signature"),
        config().secrets.sign("msg_1", timestamp, &body)
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_repeated_with_its_id_and_in_its_time() {
    let backend = Backend::new(&[IsAway, Answers(503, 0), Answers(200, 0)]);
    let (webhook, metrics) = webhook(&backend);
    assert_eq!(webhook.call(call(true)).await.unwrap().status, 200);
    {
        let asked = backend.asked.lock().unwrap();
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|(_, r)| r.headers()["webhook-id"] == "msg_1"));
        assert!(asked.windows(2).all(|two| two[0].0 < two[1].0), "not at once");
    }
    assert_eq!(counted(&metrics, "ok"), 1);
    assert_eq!(counted(&metrics, "unreachable"), 1);
    assert_eq!(counted(&metrics, "bad_status"), 1);

    // For longer than an answer to one request is waited for.
    backend.does(&[Stalls, Answers(200, 0)]);
    let patient = Call {
        patience: Some(Duration::from_secs(20)),
        ..call(true)
    };
    let began = Instant::now();
    assert_eq!(webhook.call(patient).await.unwrap().status, 200);
    assert!(began.elapsed() < Duration::from_secs(6));

    backend.does(&[Answers(503, 400)]);
    let began = Instant::now();
    let short = Call {
        patience: Some(Duration::from_secs(1)),
        ..call(true)
    };
    // How often it is asked is left to chance, and so is whether the last answer comes in time.
    assert!(webhook.call(short).await.is_err());
    assert!(began.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn so_many_at_once_so_many_that_wait_and_one_more_is_refused() {
    let backend = Backend::new(&[Answers(200, 1000)]);
    let (webhook, metrics) = webhook(&backend);
    let began = Instant::now();
    let (one, two, three, four, five) = join!(
        webhook.call(call(false)),
        webhook.call(call(false)),
        webhook.call(call(false)),
        webhook.call(call(false)),
        webhook.call(call(false)),
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok() && four.is_ok());
    assert_eq!(five, Err(CallError::Overloaded));
    assert_eq!(began.elapsed().as_secs(), 2, "two at a time");
    assert_eq!(backend.count(), 4);
    assert_eq!(counted(&metrics, "overloaded"), 1);

    // A turn that does not come in time is no turn.
    backend.does(&[Answers(200, 4000)]);
    let hurried = Call {
        patience: Some(Duration::from_secs(1)),
        ..call(false)
    };
    let (one, two, three) = join!(
        webhook.call(call(false)),
        webhook.call(call(false)),
        webhook.call(hurried)
    );
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(three, Err(CallError::Overloaded));
    // Everything is as before.
    assert!(webhook.call(call(false)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_is_left_alone_until_it_answers_again() {
    let backend = Backend::new(&[Answers(500, 0)]);
    let (webhook, metrics) = webhook(&backend);
    for _ in 0..3 {
        assert_eq!(webhook.call(call(false)).await, Err(CallError::BadStatus(500)));
    }
    assert!(is_open(&metrics));
    for _ in 0..50 {
        assert_eq!(webhook.call(call(true)).await, Err(CallError::CircuitOpen));
    }
    assert_eq!(backend.count(), 3, "nothing is sent meanwhile");
    sleep(Duration::from_secs(10)).await;
    let _ = webhook.call(call(false)).await;
    assert_eq!(backend.count(), 4, "one tries");
    assert_eq!(webhook.call(call(false)).await, Err(CallError::CircuitOpen));

    sleep(Duration::from_secs(10)).await;
    backend.does(&[Stalls]);
    // Who tries gives up: the next one may try at once.
    let given_up = timeout(Duration::from_millis(1), webhook.call(call(false))).await;
    assert!(given_up.is_err());
    assert_eq!(counted(&metrics, "abandoned"), 1);
    backend.does(&[Answers(404, 0)]);
    assert_eq!(webhook.call(call(false)).await.unwrap().status, 404);
    assert!(!is_open(&metrics), "a backend that refuses is there");
}

#[tokio::test(start_paused = true)]
async fn another_configuration_begins_anew() {
    let backend = Backend::new(&[IsAway]);
    let (webhook, metrics) = webhook(&backend);
    let clone = webhook.clone();
    for _ in 0..3 {
        let _ = webhook.call(call(false)).await;
    }
    assert!(is_open(&metrics));
    webhook.set(Some(config())).unwrap();
    assert!(!is_open(&metrics));
    backend.does(&[Answers(200, 0)]);
    assert!(clone.call(call(false)).await.is_ok());
    webhook.set(None).unwrap();
    assert_eq!(clone.call(call(false)).await, Err(CallError::NotConfigured));
}
