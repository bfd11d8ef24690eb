//! One identity provider: the key set that was fetched from it last, and who waits for another.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use arc_swap::{ArcSwapOption, Guard};
use http::Uri;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::{
    jwks::KeySet,
    refresh::{Asked, Refresh, Timing},
};

/// What came of fetching a key set: the label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchOutcome {
    /// There is a set.
    Ok,
    /// Nobody is there.
    Unreachable,
    /// No complete answer in time.
    Timeout,
    /// An answer with another status than 200, that is too long, or that broke off.
    BadAnswer,
    /// An answer that holds no key.
    NotAKeySet,
}

impl FetchOutcome {
    /// All of them.
    pub const ALL: [FetchOutcome; 5] = [
        FetchOutcome::Ok,
        FetchOutcome::Unreachable,
        FetchOutcome::Timeout,
        FetchOutcome::BadAnswer,
        FetchOutcome::NotAKeySet,
    ];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            FetchOutcome::Ok => "ok",
            FetchOutcome::Unreachable => "unreachable",
            FetchOutcome::Timeout => "timeout",
            FetchOutcome::BadAnswer => "bad_answer",
            FetchOutcome::NotAKeySet => "not_a_key_set",
        }
    }
}

/// A key set, and when it was fetched.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: KeySet,
    pub(super) at: Instant,
    pub(super) clock: SystemTime,
}

/// An identity provider. Whoever holds one has its keys; only the fetcher brings others.
#[derive(Debug)]
pub(super) struct Provider {
    url: Uri,
    loaded: ArcSwapOption<Loaded>,
    state: Mutex<State>,
    /// Told after each fetch.
    finished: watch::Sender<()>,
    /// Tells the fetcher that something is due.
    wake: Arc<Notify>,
}

/// How the wait for a key set went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// A fetch was made, and is over; or one was made a moment ago.
    ForTheNewest,
    /// The fetch is not over yet, and was waited for long enough.
    TooLong,
    /// Not at all: too many wait.
    Crowded,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) refresh: Refresh,
    /// What the log said last.
    pub(super) logged: Option<FetchOutcome>,
}

impl Provider {
    /// Nothing was fetched yet.
    pub(super) fn new(url: Uri, timing: Timing, wake: Arc<Notify>) -> Provider {
        let refresh = Refresh::new(timing, Instant::now().into_std());
        Provider {
            url,
            loaded: ArcSwapOption::empty(),
            state: Mutex::new(State {
                refresh,
                logged: None,
            }),
            finished: watch::Sender::new(()),
            wake,
        }
    }

    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// What stands in logs: the query may hold a secret.
    pub(super) fn shown(&self) -> String {
        let (scheme, authority) = (self.url.scheme_str(), self.url.authority());
        let authority = authority.map_or("", |a| a.as_str());
        format!("{}://{authority}{}", scheme.unwrap_or_default(), self.url.path())
    }

    /// The set that was fetched last.
    pub(super) fn loaded(&self) -> Guard<Option<Arc<Loaded>>> {
        self.loaded.load()
    }

    /// Waits for the fetch that is on its way, or has one made; at most as long as a fetch may take, and not at all where
    /// one was made a moment ago or too many wait.
    pub(super) async fn ask(&self) -> Waited {
        let (mut finished, patience) = {
            let mut state = self.state();
            match state.refresh.ask(Instant::now().into_std()) {
                Asked::Waits => (self.finished.subscribe(), state.refresh.timing().timeout),
                Asked::CoolingDown => return Waited::ForTheNewest,
                Asked::Crowded => return Waited::Crowded,
            }
        };
        let _place = Place(self);
        self.wake.notify_one();
        match timeout(patience, finished.changed()).await {
            Ok(_) => Waited::ForTheNewest,
            Err(_) => Waited::TooLong,
        }
    }

    /// Whether it is not known which keys the provider has now.
    pub(super) fn is_failing(&self) -> bool {
        self.state().refresh.is_failing()
    }

    /// Puts a new set in the place of the old one.
    pub(super) fn replace(&self, loaded: Loaded) {
        self.loaded.store(Some(Arc::new(loaded)));
    }

    /// A fetch is over, and what it brought is in its place: nobody needs to wait any longer. Who asks from now on asks
    /// for another one.
    pub(super) fn finish(&self, note: impl FnOnce(&mut Refresh)) {
        let mut state = self.state();
        note(&mut state.refresh);
        self.finished.send_replace(());
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait.
struct Place<'a>(&'a Provider);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().refresh.leave();
    }
}
