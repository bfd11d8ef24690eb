//! Requests to the backend's webhook, signed as Standard Webhooks says, so that backends verify them with a library.
//!
//! A backend that is slow, wrong or away costs what is bounded here and no more: so many requests at once, so many that
//! wait for their turn, so long each of them; and when it fails again and again it is left alone for a while
//! (`breaker.rs`).

mod breaker;
mod config;
mod metrics;
mod retry;
mod signature;
mod target;
mod words;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

pub(crate) use self::words::Words;
pub use self::{
    config::{Config, KEYS, LIVE, URL},
    metrics::{Counters, Kind},
    signature::{SecretError, Secrets},
};
use self::{
    retry::pause,
    target::{Exchange, Target},
};
use crate::http_client::{HttpClient, HttpError};

/// The backend's webhook, if there is one. Clones are the same, also after [`Webhook::set`].
#[derive(Clone)]
pub struct Webhook {
    current: Arc<ArcSwapOption<Target>>,
    /// The most bytes of an answer.
    most: usize,
    counters: Counters,
}

/// One thing to tell or to ask the backend.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it is about, for the metrics.
    pub kind: Kind,
    /// The header `webhook-id`, by which the backend finds repetitions: ASCII, and different for each call.
    pub id: String,
    /// JSON.
    pub body: Bytes,
    /// How long the answer is waited for altogether; `None` = as long as `webhook.timeout` says.
    pub patience: Option<Duration>,
    /// Whether the same may be asked twice. Only then is a request repeated, with the same id, while there is time.
    pub is_idempotent: bool,
}

/// What the backend answered: 2xx, or 4xx for what it will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whatever it is; complete, and no longer than it may be.
    pub body: Bytes,
}

/// Why there is no answer. Of what was sent, the backend may have done it or not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No `webhook.url` is configured. Nothing was sent.
    #[error("no webhook is configured")]
    NotConfigured,
    /// Too many requests are on their way or wait. Nothing was sent.
    #[error("too many requests are on their way already")]
    Overloaded,
    /// It failed too often lately, and is left alone for a while. Nothing was sent.
    #[error("the backend failed too often and is left alone for a while")]
    CircuitOpen,
    /// There is no connection. Nothing was sent.
    #[error("the backend cannot be reached: {0}")]
    Unreachable(String),
    /// No complete answer in time.
    #[error("the backend did not answer in time")]
    Timeout,
    /// The connection broke before the answer was complete.
    #[error("the connection to the backend broke: {0}")]
    Broken(String),
    /// The answer is longer than it may be.
    #[error("the backend answered more than {0} bytes")]
    TooLong(usize),
    /// The status is neither 2xx nor 4xx.
    #[error("the backend answered with status {0}")]
    BadStatus(u16),
}

impl Webhook {
    /// The webhook of this configuration. An answer may have `most` bytes; 0 = 1 MiB.
    ///
    /// # Errors
    /// When there is a webhook and TLS cannot be set up at all.
    pub fn new(config: Option<Config>, most: usize, counters: Counters) -> Result<Webhook, rustls::Error> {
        let webhook = Webhook {
            current: Arc::default(),
            most: if most == 0 { 1 << 20 } else { most },
            counters,
        };
        webhook.set(config)?;
        Ok(webhook)
    }

    /// From now on it is this one. Calls that have begun end as they began.
    ///
    /// # Errors
    /// As for [`Webhook::new`]; nothing has changed then.
    pub fn set(&self, config: Option<Config>) -> Result<(), rustls::Error> {
        let Some(config) = config else {
            self.current.store(None);
            self.counters.circuit_open.set(0.0);
            return Ok(());
        };
        let exchange = match self.current.load().as_deref() {
            Some(target) => target.exchange(),
            None => Arc::new(HttpClient::new()?),
        };
        self.put(config, exchange);
        Ok(())
    }

    /// How long an answer is waited for where nothing else says so; `None` = there is no webhook.
    pub fn timeout(&self) -> Option<Duration> {
        self.current.load().as_deref().map(Target::timeout)
    }

    /// Asks the backend, and waits for its answer.
    ///
    /// A call that waits for its turn has no more time than any other. Dropping the future closes the connection; what
    /// was sent stays sent.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let Some(target) = self.current.load_full() else {
            return Err(CallError::NotConfigured);
        };
        let patience = call.patience.unwrap_or(target.timeout());
        let until = Instant::now() + patience;
        let mut answered = target.ask(&call, until, self.most, &self.counters).await;
        for tries in 0.. {
            if !call.is_idempotent || !is_worth_another(&answered) {
                break;
            }
            let pause = pause(tries, chance());
            if Instant::now() + pause >= until {
                break;
            }
            sleep(pause).await;
            match target.ask(&call, until, self.most, &self.counters).await {
                // The first reason says more than that it is not asked again.
                Err(CallError::CircuitOpen | CallError::Overloaded) => break,
                next => answered = next,
            }
        }
        if let Err(error) = &answered {
            tracing::debug!(webhook.id = call.id, kind = call.kind.as_str(), %error, "the webhook gave no answer");
        }
        answered
    }

    fn put(&self, config: Config, exchange: Arc<dyn Exchange>) {
        self.counters.circuit_open.set(0.0);
        self.current.store(Some(Arc::new(Target::new(config, exchange))));
    }
}

impl CallError {
    /// Whether nothing was sent, so that the backend has certainly not done it.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            CallError::NotConfigured
                | CallError::Overloaded
                | CallError::CircuitOpen
                | CallError::Unreachable(_)
        )
    }
}

impl From<HttpError> for CallError {
    fn from(error: HttpError) -> CallError {
        match error {
            HttpError::Unreachable(why) => CallError::Unreachable(why),
            HttpError::Broken(why) => CallError::Broken(why),
            HttpError::Timeout => CallError::Timeout,
            HttpError::TooLong(most) => CallError::TooLong(most),
        }
    }
}

/// Whether the same may have another answer in a moment.
fn is_worth_another(answered: &Result<Answer, CallError>) -> bool {
    match answered {
        Ok(answer) => answer.status == 429,
        Err(CallError::Unreachable(_) | CallError::Timeout | CallError::Broken(_)) => true,
        Err(CallError::BadStatus(status)) => *status >= 500,
        Err(_) => false,
    }
}

/// A random number. Without randomness the pauses are only less random.
fn chance() -> u32 {
    let mut chance = [0; 4];
    let _ = getrandom::fill(&mut chance);
    u32::from_le_bytes(chance)
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook")
    }
}

#[cfg(test)]
#[path = "webhook/tests.rs"]
mod tests;
