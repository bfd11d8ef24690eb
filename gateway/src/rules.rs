//! The policy in force, which can be exchanged while clients are connected, and the one that is tried out beside it:
//! that one is asked the same and only reported where it would have decided differently.

mod explained;
mod shadow;

use std::{sync::Arc, time::SystemTime};

use adapter_redis::RoomName;
use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::watch;

pub use self::explained::{Asker, Explained};
use self::shadow::{Decision, Shadow};
use crate::{
    auth::Claims,
    metrics::Metrics,
    policy::{Asking, Forward, Grants, Policy, Relay, Rule, Slow, Subscription, Trail},
    refusal::Refusal,
};

/// The policy in force. Clones are the same.
#[derive(Debug, Clone)]
pub struct Rules {
    current: Arc<ArcSwap<InForce>>,
    shadow: Arc<Shadow>,
    metrics: Metrics,
    exchanged: Arc<watch::Sender<()>>,
}

/// What was loaded together.
#[derive(Debug)]
pub struct InForce {
    /// What decides.
    pub policy: Arc<Policy>,
    /// What is only asked.
    pub shadow: Option<Arc<Policy>>,
}

/// The policy at one moment: one event is decided by one policy, whatever is loaded meanwhile.
#[derive(Debug)]
pub(crate) struct Now<'a> {
    rules: &'a Rules,
    loaded: Arc<InForce>,
}

impl InForce {
    /// Writes down what may not be meant.
    pub fn log_warnings(&self) {
        for warning in self.policy.warnings() {
            tracing::warn!(warning, "the policy may allow more than it is meant to");
        }
    }
}

impl Rules {
    /// Begins with these.
    pub fn new(loaded: InForce, metrics: Metrics) -> Rules {
        Rules {
            current: Arc::new(ArcSwap::from_pointee(loaded)),
            shadow: Arc::new(Shadow::new(metrics.clone())),
            metrics,
            exchanged: Arc::default(),
        }
    }

    /// From now on these are asked.
    pub fn set(&self, loaded: InForce) {
        self.current.store(Arc::new(loaded));
        self.exchanged.send_replace(());
    }

    /// A signal for each time that another policy is in force.
    pub(crate) fn exchanged(&self) -> watch::Receiver<()> {
        self.exchanged.subscribe()
    }

    /// Whether these still are what is asked.
    pub(crate) fn is_in_force(&self, loaded: &Arc<InForce>) -> bool {
        Arc::ptr_eq(&self.current.load(), loaded)
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.current.load().policy.clone()
    }

    /// As [`Policy::slow`]. Asked for each publication.
    pub(crate) fn slow<'a>(&self, rooms: &'a [RoomName]) -> Option<(&'a RoomName, Slow)> {
        self.current.load().policy.slow(rooms)
    }

    pub(crate) fn now(&self) -> Now<'_> {
        Now {
            rules: self,
            loaded: self.current.load_full(),
        }
    }

    /// As [`Policy::admit`].
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub(crate) fn admit(&self, claims: &Claims, query: &Value, now: SystemTime) -> Result<Grants, Refusal> {
        let Now { loaded, .. } = self.now();
        let admit = |policy: &Policy| {
            let mut trail = Trail::counting();
            let granted = policy.admit(claims, query, now, &mut trail);
            (granted, trail.failures())
        };
        let (granted, failures) = admit(&loaded.policy);
        self.metrics.condition_failures.increment(failures as u64);
        if let Some(shadow) = &loaded.shadow {
            let other = admit(shadow).0;
            self.shadow
                .compare(&Decision::connect(&granted), &Decision::connect(&other));
        }
        granted
    }
}

impl Now<'_> {
    pub(crate) fn loaded(&self) -> &Arc<InForce> {
        &self.loaded
    }

    /// The rule for an event; `None` = nobody names it.
    pub(crate) fn rule(&self, event: &str) -> Option<Rule<'_>> {
        let rule = self.loaded.policy.rule(event);
        if rule.is_none()
            && self
                .loaded
                .shadow
                .as_ref()
                .is_some_and(|s| s.rule(event).is_some())
        {
            let known = Decision::Event(true);
            self.rules.shadow.compare(&Decision::Event(false), &known);
        }
        rule
    }

    /// As [`Subscription::enter`].
    pub(crate) fn enter(
        &self,
        event: &str,
        rule: &Subscription,
        asking: &Asking<'_>,
    ) -> Result<RoomName, Refusal> {
        let mut trail = Trail::counting();
        let decided = rule.enter(asking, &mut trail);
        self.count(&trail);
        self.compare(event, Decision::Subscribe(decided.clone()), |rule| match rule {
            Some(Rule::Subscribe(rule)) => Decision::Subscribe(rule.enter(asking, &mut Trail::counting())),
            other => Decision::Event(other.is_some()),
        });
        decided
    }

    /// As [`Relay::room`].
    pub(crate) fn relay_room(
        &self,
        event: &str,
        rule: &Relay,
        asking: &Asking<'_>,
    ) -> Result<RoomName, Refusal> {
        let mut trail = Trail::counting();
        let decided = rule.room(asking, &mut trail);
        self.count(&trail);
        self.compare(event, Decision::Relay(decided.clone()), |rule| match rule {
            Some(Rule::Relay(rule) | Rule::Stop(rule)) => {
                Decision::Relay(rule.room(asking, &mut Trail::counting()))
            }
            other => Decision::Event(other.is_some()),
        });
        decided
    }

    /// As [`Forward::allow`].
    pub(crate) fn forward(&self, event: &str, rule: &Forward, asking: &Asking<'_>) -> Result<(), Refusal> {
        let mut trail = Trail::counting();
        let decided = rule.allow(asking, &mut trail);
        self.count(&trail);
        self.compare(event, Decision::Forward(decided), |rule| match rule {
            Some(Rule::Forward(rule)) => Decision::Forward(rule.allow(asking, &mut Trail::counting())),
            other => Decision::Event(other.is_some()),
        });
        decided
    }

    fn count(&self, trail: &Trail<'_>) {
        let failures = trail.failures() as u64;
        self.rules.metrics.condition_failures.increment(failures);
    }

    fn compare(&self, event: &str, decided: Decision, other: impl FnOnce(Option<Rule<'_>>) -> Decision) {
        if let Some(shadow) = &self.loaded.shadow {
            self.rules.shadow.compare(&decided, &other(shadow.rule(event)));
        }
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
