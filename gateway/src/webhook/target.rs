//! One place to send requests to, with everything that bounds them.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    Request, Response,
    header::{CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    Answer, Call, CallError, Config, Counters, Kind,
    breaker::{Breaker, Heard, Pass},
};
use crate::http_client::{HttpClient, HttpError};

const AGENT: &str = concat!("roomcast/", env!("CARGO_PKG_VERSION"));

/// What sends one request. Tests answer by themselves.
pub(super) trait Exchange: Send + Sync + 'static {
    fn send(&self, request: Request<Full<Bytes>>, patience: Duration, most: usize) -> Exchanged<'_>;
}

/// An answer on its way.
pub(super) type Exchanged<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl Exchange for HttpClient {
    fn send(&self, request: Request<Full<Bytes>>, patience: Duration, most: usize) -> Exchanged<'_> {
        Box::pin(HttpClient::send(self, request, patience, most))
    }
}

/// The place.
pub(super) struct Target {
    config: Config,
    exchange: Arc<dyn Exchange>,
    places: Semaphore,
    waiting: AtomicUsize,
    breaker: Mutex<Breaker>,
}

impl Target {
    pub(super) fn new(config: Config, exchange: Arc<dyn Exchange>) -> Target {
        Target {
            places: Semaphore::new(config.max_concurrency),
            waiting: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(config.breaker_failures, config.breaker_pause)),
            config,
            exchange,
        }
    }

    pub(super) fn exchange(&self) -> Arc<dyn Exchange> {
        self.exchange.clone()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Sends one request, when its turn has come.
    pub(super) async fn ask(
        &self,
        call: &Call,
        until: Instant,
        most: usize,
        counters: &Counters,
    ) -> Result<Answer, CallError> {
        let answered = self.try_ask(call, until, most, counters).await;
        counters.request(call.kind, outcome(&answered));
        answered
    }

    async fn try_ask(
        &self,
        call: &Call,
        until: Instant,
        most: usize,
        counters: &Counters,
    ) -> Result<Answer, CallError> {
        // Nobody waits for a turn that would not come.
        if !self.breaker().would_admit(now()) {
            return Err(CallError::CircuitOpen);
        }
        let _place = self.place(until).await?;
        let mut on_its_way = OnItsWay::begin(self, call.kind, counters).ok_or(CallError::CircuitOpen)?;
        let left = until.saturating_duration_since(Instant::now());
        let patience = if call.is_idempotent {
            left.min(self.config.timeout)
        } else {
            left
        };
        let began = Instant::now();
        let exchanged = self.exchange.send(self.request(call), patience, most).await;
        counters.duration.record(began.elapsed());
        let answered = exchanged.map_err(CallError::from).and_then(answer);
        on_its_way.ends(match &answered {
            Err(CallError::BadStatus(status)) if *status < 500 => Heard::Alive,
            Err(_) => Heard::Failed,
            Ok(_) => Heard::Alive,
        });
        answered
    }

    /// One of the places; who finds none waits, unless too many do.
    async fn place(&self, until: Instant) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waits = Waits::begin(&self.waiting, self.config.queue).ok_or(CallError::Overloaded)?;
        match timeout_at(until, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // In this time there was none. (Nobody closes the places.)
            Ok(Err(_)) | Err(_) => Err(CallError::Overloaded),
        }
    }

    fn request(&self, call: &Call) -> Request<Full<Bytes>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = since.as_secs();
        let signature = self.config.secrets.sign(&call.id, timestamp, &call.body);
        let request = Request::post(self.config.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-id", &call.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(call.body.clone()));
        // The URL was checked when it was read, and the rest is ASCII; a request without them is refused by the backend.
        request.unwrap_or_default()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(response: Response<Bytes>) -> Result<Answer, CallError> {
    let status = response.status().as_u16();
    if response.status().is_success() || response.status().is_client_error() {
        let body = response.into_body();
        Ok(Answer { status, body })
    } else {
        Err(CallError::BadStatus(status))
    }
}

fn outcome(answered: &Result<Answer, CallError>) -> &'static str {
    match answered {
        Ok(answer) if answer.status < 300 => "ok",
        Ok(_) => "refused",
        Err(CallError::NotConfigured | CallError::Overloaded) => "overloaded",
        Err(CallError::CircuitOpen) => "circuit_open",
        Err(CallError::Unreachable(_)) => "unreachable",
        Err(CallError::Timeout) => "timeout",
        Err(CallError::Broken(_)) => "broken",
        Err(CallError::TooLong(_)) => "too_long",
        Err(CallError::BadStatus(_)) => "bad_status",
    }
}

/// A request that the breaker let through. Dropped on the way, it says nothing of the backend.
struct OnItsWay<'a> {
    target: &'a Target,
    kind: Kind,
    counters: &'a Counters,
    pass: Option<Pass>,
}

impl<'a> OnItsWay<'a> {
    fn begin(target: &'a Target, kind: Kind, counters: &'a Counters) -> Option<OnItsWay<'a>> {
        let pass = Some(target.breaker().admit(now())?);
        Some(OnItsWay {
            target,
            kind,
            counters,
            pass,
        })
    }

    fn ends(&mut self, heard: Heard) {
        let Some(pass) = self.pass.take() else { return };
        let mut breaker = self.target.breaker();
        let was_open = breaker.is_open();
        breaker.hear(pass, heard, now());
        let is_open = breaker.is_open();
        drop(breaker);
        if was_open == is_open {
            return;
        }
        self.counters.circuit_open.set(f64::from(u8::from(is_open)));
        if is_open {
            let pause = self.target.config.breaker_pause;
            tracing::warn!(
                ?pause,
                "the backend's webhook fails again and again, and is left alone for a while"
            );
        } else {
            tracing::info!("the backend's webhook answers again");
        }
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        if self.pass.is_some() {
            self.ends(Heard::Nothing);
            self.counters.request(self.kind, "abandoned");
        }
    }
}

/// One that waits for a place.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Waits<'a>> {
        let waits = Waits(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The clock of the runtime, which tests can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
