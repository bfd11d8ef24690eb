//! What is exchanged in a running node, and how.

use std::{sync::Arc, time::Duration};

use crate::{
    api::ApiKeys,
    config::{Config, Part},
    hooks::Hooks,
    limits::{CurrentLimits, Limits},
    sessions::{Followed, Sessions},
    telemetry::LogLevel,
    tls::Listeners,
    webhook::Webhook,
};

/// Between the two times that clients' rooms follow a policy. The first takes everybody who is in. Somebody who was just
/// being let in was decided about by the policy before, and is in those rooms a moment later: the second takes these.
const SECOND_PASS: Duration = Duration::from_secs(1);

/// The parts of a node that can become others while clients are connected.
#[derive(Debug)]
pub struct Live {
    /// Tokens, policies, and who is connected.
    pub sessions: Arc<Sessions>,
    /// What one client, address or user may take.
    pub limits: CurrentLimits,
    /// Who may use the API.
    pub api_keys: ApiKeys,
    /// What is shown to who connects by TLS.
    pub certificates: Listeners,
    /// Where the backend is told and asked.
    pub webhook: Webhook,
    /// What the backend is asked about clients.
    pub hooks: Hooks,
    /// How much is logged.
    pub log: LogLevel,
}

impl Live {
    /// Exchanges these parts. What clients are in follows the policy by the end of this, if that is asked for.
    pub(super) async fn apply(&self, config: Config, parts: &[Part]) -> Followed {
        let changes = |part| parts.contains(&part);
        if changes(Part::LogLevel) {
            self.log.set(config.telemetry.level);
        }
        if changes(Part::Limits) {
            let max_event_bytes = self.limits.get().max_event_bytes;
            self.limits.set(Limits {
                max_event_bytes,
                ..config.limits
            });
        }
        if changes(Part::ApiKeys) {
            self.api_keys.set(&config.admin.api_keys);
        }
        if changes(Part::Certificates) {
            config.tls.log_warnings();
            self.certificates.set(&config.tls);
        }
        if changes(Part::Webhook)
            && let Err(error) = self.webhook.set(config.webhook)
        {
            tracing::error!(%error, "the webhook stays as it was");
        }
        if changes(Part::Hooks) {
            self.hooks.set(config.hooks);
        }
        if changes(Part::Tokens) {
            config.auth.keys.warn_if_weak();
            self.sessions.revocations().set_config(config.revocations);
            self.sessions.set_verifier(config.auth);
        }
        if !changes(Part::Policy) && !changes(Part::ShadowPolicy) {
            return Followed::default();
        }
        config.rules.log_warnings();
        self.sessions.rules().set(config.rules);
        if !changes(Part::Policy) || !config.reload.recheck_rooms {
            return Followed::default();
        }
        let mut followed = self.sessions.follow().await;
        tokio::time::sleep(SECOND_PASS).await;
        followed += self.sessions.follow().await;
        followed
    }
}
