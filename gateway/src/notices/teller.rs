//! Tells the webhook: notices of one session one after the other, those of others at the same time, each until the backend
//! has taken it or never will.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adapter_redis::{Consume, NoticeMetrics, NoticeOutcome, RefusedEntry, StreamEntry, Verdict};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::told::{Then, Told, pause, then};
use crate::webhook::{Answer, Call, CallError, Kind, Webhook};

/// How many requests are on their way at once: less than the webhook takes, so that clients' events have their turn.
const AT_ONCE: usize = 32;

/// How many notices may wait for their time while others are told.
const IN_HAND: usize = 1024;

/// Where notices are told.
pub(super) trait Backend: Send + Sync {
    fn call(&self, call: Call) -> Calling<'_>;
}

/// An answer on its way.
pub(super) type Calling<'a> = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send + 'a>>;

impl Backend for Webhook {
    fn call(&self, call: Call) -> Calling<'_> {
        Box::pin(Webhook::call(self, call))
    }
}

/// What tells the webhook.
pub(super) struct Teller {
    backend: Box<dyn Backend>,
    metrics: NoticeMetrics,
    /// For how long a notice is told again and again.
    patience: Duration,
    failing: Mutex<Failing>,
}

/// What failed, and when it may be tried again.
#[derive(Debug, Default)]
struct Failing {
    notices: HashMap<String, (u32, Instant)>,
    /// The backend is away: all of them.
    all: Option<(u32, Instant)>,
}

impl Teller {
    pub(super) fn new(backend: Box<dyn Backend>, metrics: NoticeMetrics, patience: Duration) -> Teller {
        Teller {
            backend,
            metrics,
            patience,
            failing: Mutex::default(),
        }
    }

    /// Tells each of these once, if it is time; what became of each, in their order. What comes behind one that was not
    /// taken is not told, if it is of the same session.
    pub(super) async fn tell(&self, notices: &[Arc<Told>], now_ms: u64) -> Vec<Verdict> {
        self.forget_all_but(notices);
        let mut verdicts = vec![Verdict::NotNow; notices.len()];
        let mut sessions: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut order = Vec::new();
        for (at, notice) in notices.iter().enumerate() {
            let places = sessions.entry(&notice.session).or_insert_with(|| {
                order.push(&*notice.session);
                Vec::new()
            });
            places.push(at);
        }
        let sessions = order.into_iter().filter_map(|session| sessions.remove(session));
        let telling = sessions.map(|places| {
            let mine: Vec<(usize, Arc<Told>)> = places
                .into_iter()
                .filter_map(|at| notices.get(at).map(|notice| (at, notice.clone())))
                .collect();
            self.tell_in_order(mine, now_ms)
        });
        let mut told = stream::iter(telling.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        while let Some(decided) = told.next().await {
            for (at, verdict) in decided {
                if let Some(place) = verdicts.get_mut(at) {
                    *place = verdict;
                }
            }
        }
        verdicts
    }

    async fn tell_in_order(&self, notices: Vec<(usize, Arc<Told>)>, now_ms: u64) -> Vec<(usize, Verdict)> {
        let mut decided = Vec::new();
        for (at, notice) in notices {
            let verdict = self.tell_one(&notice, now_ms).await;
            let goes_on = verdict != Verdict::NotNow;
            decided.push((at, verdict));
            if !goes_on {
                break;
            }
        }
        decided
    }

    async fn tell_one(&self, notice: &Told, now_ms: u64) -> Verdict {
        if self.failing().is_waiting(&notice.id, Instant::now()) {
            return Verdict::NotNow;
        }
        let call = Call {
            kind: Kind::Notice,
            id: notice.id.clone(),
            body: notice.body.clone(),
            patience: None,
            is_idempotent: false, // It is told again here, where others need not wait for it.
        };
        let next = then(&self.backend.call(call).await);
        self.failing().note(&notice.id, &next, Instant::now());
        let is_late = u128::from(now_ms.saturating_sub(notice.since_ms)) > self.patience.as_millis();
        match next {
            Then::Done => {
                self.metrics.count(notice.kind, NoticeOutcome::Delivered, 1);
                Verdict::Done
            }
            Then::Refused(reason) => self.refuse(notice, reason),
            Then::Again | Then::Away if is_late => self.refuse(notice, "too_late".to_owned()),
            Then::Again | Then::Away => Verdict::NotNow,
        }
    }

    fn refuse(&self, notice: &Told, reason: String) -> Verdict {
        self.metrics.count(notice.kind, NoticeOutcome::Refused, 1);
        Verdict::Refused(RefusedEntry {
            reason: reason.into(),
            name: "notice",
            text: notice.body.clone(),
        })
    }

    fn forget_all_but(&self, notices: &[Arc<Told>]) {
        let mut failing = self.failing();
        if !failing.notices.is_empty() {
            let here: HashSet<&str> = notices.iter().map(|notice| &*notice.id).collect();
            failing.notices.retain(|id, _| here.contains(&**id));
        }
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consume for Teller {
    async fn consume(&self, entries: &[StreamEntry]) -> Vec<Verdict> {
        let read: Vec<Option<Arc<Told>>> = entries
            .iter()
            .map(|entry| Told::of_entry(entry).map(Arc::new))
            .collect();
        let notices: Vec<Arc<Told>> = read.iter().flatten().cloned().collect();
        let mut verdicts = self.tell(&notices, super::now_ms()).await.into_iter();
        read.iter()
            .map(|notice| match notice {
                Some(_) => verdicts.next().unwrap_or(Verdict::NotNow),
                None => Verdict::Refused(RefusedEntry {
                    reason: "no_notice".into(),
                    name: "notice",
                    text: bytes::Bytes::new(),
                }),
            })
            .collect()
    }

    fn most_in_hand(&self) -> usize {
        IN_HAND
    }
}

impl Failing {
    fn is_waiting(&self, id: &str, now: Instant) -> bool {
        let until = |entry: Option<&(u32, Instant)>| entry.is_some_and(|(_, until)| now < *until);
        until(self.all.as_ref()) || until(self.notices.get(id))
    }

    fn note(&mut self, id: &str, then: &Then, now: Instant) {
        match then {
            Then::Done | Then::Refused(_) => {
                self.all = None;
                self.notices.remove(id);
            }
            Then::Again => {
                let tries = self.notices.get(id).map_or(0, |(tries, _)| *tries) + 1;
                self.notices.insert(id.to_owned(), (tries, now + pause(tries)));
            }
            // Many say so at once; it is one failure.
            Then::Away if self.all.is_some_and(|(_, until)| now < until) => {}
            Then::Away => {
                let tries = self.all.map_or(0, |(tries, _)| tries) + 1;
                self.all = Some((tries, now + pause(tries).min(Duration::from_secs(5))));
            }
        }
    }
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

#[cfg(test)]
#[path = "teller_tests.rs"]
mod tests;
