//! Fetches key sets in the background, for as long as a verifier needs them. No handshake ever fetches anything itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{
    jwks::KeySet,
    provider::{FetchOutcome, Loaded, Provider},
    refresh::Timing,
    web::{Fetched, Missed, Source, Web},
};
use crate::metrics::{Dropped, Metrics};

/// The key sets that are wanted. Clones are the same.
///
/// A set belongs to its URL: whoever wants it is given what is there already, and it is fetched for as long as somebody
/// has it. What is wanted while no [`KeyFetcher`] runs is never there.
#[derive(Debug, Clone, Default)]
pub struct KeySets(Arc<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    providers: Mutex<Vec<Weak<Provider>>>,
    wake: Arc<Notify>,
    metrics: Option<Metrics>,
}

/// Fetches what is wanted of [`KeySets`], when it is due or asked for.
#[derive(Debug)]
pub struct KeyFetcher {
    wanted: Arc<Wanted>,
    metrics: Metrics,
    source: Web,
}

/// Key sets that nobody wants yet, and what will fetch them.
pub fn key_sets(metrics: &Metrics) -> (KeySets, KeyFetcher) {
    let wanted = Arc::new(Wanted {
        metrics: Some(metrics.clone()),
        ..Wanted::default()
    });
    let fetcher = KeyFetcher {
        wanted: wanted.clone(),
        metrics: metrics.clone(),
        source: Web::default(),
    };
    (KeySets(wanted), fetcher)
}

impl KeySets {
    /// The identity provider with that key set. Another timing than before is that of all who have it.
    pub(super) fn at(&self, url: &Uri, timing: Timing) -> Arc<Provider> {
        let mut providers = self.0.lock();
        let known = providers
            .iter()
            .filter_map(Weak::upgrade)
            .find(|p| p.url() == url);
        let provider = match known {
            Some(known) => {
                known.state().refresh.retime(timing);
                known
            }
            None => {
                let new = Arc::new(Provider::new(url.clone(), timing, self.0.wake.clone()));
                providers.push(Arc::downgrade(&new));
                new
            }
        };
        self.0.wake.notify_one();
        provider
    }

    /// Counts somebody who could not wait for a key.
    pub(super) fn crowded(&self) {
        if let Some(metrics) = &self.0.metrics {
            metrics.dropped(Dropped::KeyQueueFull, 1);
        }
    }
}

impl Wanted {
    /// Those that somebody has; the others are forgotten.
    fn living(&self) -> Vec<Arc<Provider>> {
        let mut living = Vec::new();
        self.lock().retain(|provider| {
            let provider = provider.upgrade();
            living.extend(provider.clone());
            provider.is_some()
        });
        living
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Provider>>> {
        self.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyFetcher {
    /// Fetches for as long as the node lives. Never ends by itself.
    pub async fn run(self) -> String {
        fetch_all(&self.wanted, &self.source, &self.metrics).await
    }
}

/// One fetch for a provider at a time, and as many at a time as there are providers.
async fn fetch_all(wanted: &Wanted, source: &impl Source, metrics: &Metrics) -> String {
    let mut flights = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for provider in wanted.living() {
            let due = provider.state().refresh.due().map(Instant::from_std);
            if due.is_some_and(|due| due <= now) {
                provider.state().refresh.begin();
                flights.push(fetch(provider, source, metrics));
            } else if let Some(due) = due {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        measure(wanted, metrics);
        tokio::select! {
            () = wanted.wake.notified() => {}
            Some(()) = flights.next() => {}
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

async fn fetch(provider: Arc<Provider>, source: &impl Source, metrics: &Metrics) {
    let patience = provider.state().refresh.timing().timeout;
    let answer = timeout(patience, source.fetch(provider.url(), patience)).await;
    let late = || Missed(FetchOutcome::Timeout, "did not answer in time".to_owned());
    let read = answer.unwrap_or_else(|_| Err(late()));
    let read = read.and_then(|Fetched { text, max_age }| match KeySet::parse(&text) {
        Ok(keys) => Ok((keys, max_age)),
        Err(error) => Err(Missed(FetchOutcome::NotAKeySet, error.to_string())),
    });
    let now = Instant::now();
    match read {
        Ok((keys, max_age)) => {
            metrics.fetched(FetchOutcome::Ok);
            let before = provider.loaded();
            let is_other = before
                .as_ref()
                .is_none_or(|b| b.keys.fingerprint() != keys.fingerprint());
            log_success(&provider, &keys, is_other);
            provider.replace(Loaded {
                keys,
                at: now,
                clock: SystemTime::now(),
            });
            provider.finish(|refresh| refresh.succeeded(now.into_std(), max_age));
        }
        Err(Missed(outcome, why)) => {
            metrics.fetched(outcome);
            log_failure(&provider, outcome, &why);
            let mut chance = [0];
            let _ = getrandom::fill(&mut chance);
            let [chance] = chance;
            provider.finish(|refresh| refresh.failed(now.into_std(), chance));
        }
    }
}

/// One line when there is something new to say.
fn log_success(provider: &Provider, keys: &KeySet, is_other: bool) {
    let before = provider.state().logged.replace(FetchOutcome::Ok);
    let is_back = before.is_some_and(|before| before != FetchOutcome::Ok);
    if !is_other && !is_back {
        return;
    }
    let (url, count) = (provider.shown(), keys.count());
    tracing::info!(
        jwks.url = url,
        jwks.keys = count,
        jwks.changed = is_other,
        "the key set was fetched"
    );
    if keys.secrets() > 0 {
        tracing::warn!(
            jwks.url = url,
            count = keys.secrets(),
            "the key set holds secret or private keys, which everybody can read there; they are not used"
        );
    }
}

fn log_failure(provider: &Provider, outcome: FetchOutcome, why: &str) {
    if provider.state().logged.replace(outcome) == Some(outcome) {
        return;
    }
    let keys = provider.loaded().as_ref().map_or(0, |loaded| loaded.keys.count());
    tracing::warn!(
        jwks.url = provider.shown(),
        jwks.keys = keys,
        outcome = outcome.as_str(),
        error = why,
        "the key set cannot be fetched; the keys that are here stay in force, and it is tried again"
    );
}

/// All keys that were fetched, and when the set that is oldest was.
fn measure(wanted: &Wanted, metrics: &Metrics) {
    let sets: Vec<_> = wanted.living().iter().map(|provider| provider.loaded()).collect();
    let keys = sets
        .iter()
        .flat_map(|set| set.as_ref())
        .map(|set| set.keys.count())
        .sum();
    let oldest = sets
        .iter()
        .map(|set| set.as_ref().map(|set| set.clock))
        .min()
        .flatten();
    metrics.set_key_sets(keys, oldest);
}

#[cfg(test)]
#[path = "fetcher_sharing_tests.rs"]
mod sharing_tests;
#[cfg(test)]
#[path = "fetcher_stage.rs"]
mod stage;
#[cfg(test)]
#[path = "fetcher_tests.rs"]
mod tests;
