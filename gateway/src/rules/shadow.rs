//! Where the policy that is tried out would have decided differently.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use adapter_redis::RoomName;

use crate::{
    metrics::{Metrics, ShadowDecision},
    policy::Grants,
    refusal::Refusal,
};

/// A difference is written down at most this often; all of them are counted.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What was decided by one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// The user, and the rooms on connect.
    Connect(Result<(String, Option<String>, BTreeSet<RoomName>), Refusal>),
    Subscribe(Result<RoomName, Refusal>),
    Relay(Result<RoomName, Refusal>),
    Forward(Result<(), Refusal>),
    /// Whether an event has a rule, where it is not one of the above in both.
    Event(bool),
}

/// Compares and reports.
#[derive(Debug)]
pub(super) struct Shadow {
    metrics: Metrics,
    last: Mutex<(Option<Instant>, u64)>,
}

impl Decision {
    pub(super) fn connect(granted: &Result<Grants, Refusal>) -> Decision {
        Decision::Connect(granted.as_ref().map_err(|refusal| *refusal).map(|grants| {
            let rooms = grants.rooms.iter().cloned().collect();
            (
                grants.identity.user.to_string(),
                grants.identity.tenant.clone(),
                rooms,
            )
        }))
    }

    fn kind(&self) -> ShadowDecision {
        match self {
            Decision::Connect(_) => ShadowDecision::Connect,
            Decision::Subscribe(_) => ShadowDecision::Subscribe,
            Decision::Relay(_) => ShadowDecision::Relay,
            Decision::Forward(_) => ShadowDecision::Forward,
            Decision::Event(_) => ShadowDecision::Event,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Decision::Connect(Err(refusal))
            | Decision::Subscribe(Err(refusal))
            | Decision::Relay(Err(refusal))
            | Decision::Forward(Err(refusal)) => {
                format!("refused ({})", refusal.code())
            }
            Decision::Connect(Ok((_, _, rooms))) => {
                let names: Vec<&str> = rooms.iter().take(16).map(RoomName::as_str).collect();
                format!("allowed, {} rooms: {}", rooms.len(), names.join(" "))
            }
            Decision::Subscribe(Ok(room)) | Decision::Relay(Ok(room)) => format!("allowed, {room}"),
            Decision::Forward(Ok(())) => "allowed".to_owned(),
            Decision::Event(true) => "a rule of another kind".to_owned(),
            Decision::Event(false) => "no rule".to_owned(),
        }
    }
}

impl Shadow {
    pub(super) fn new(metrics: Metrics) -> Shadow {
        Shadow {
            metrics,
            last: Mutex::new((None, 0)),
        }
    }

    /// Counts, and writes down a difference if it is time for it.
    pub(super) fn compare(&self, decided: &Decision, shadow: &Decision) {
        let differs = decided != shadow;
        self.metrics.shadow(decided.kind(), differs);
        if !differs {
            return;
        }
        if let Some(since_last) = self.is_time(Instant::now()) {
            tracing::info!(
                decision = decided.kind().as_str(),
                decided = decided.in_words(),
                shadow = shadow.in_words(),
                since_last,
                "the shadow policy decides differently"
            );
        }
    }

    /// If it is time for a line: how many differences there were since the last, this one included.
    fn is_time(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.1 += 1;
        if last
            .0
            .is_some_and(|at| now.saturating_duration_since(at) < LINE_EVERY)
        {
            return None;
        }
        last.0 = Some(now);
        Some(std::mem::take(&mut last.1))
    }
}
