//! The node's metrics. Names and labels are part of the public interface; no label ever holds a room, a user or
//! an event.
//!
//! Every node has a recorder of its own, so that several nodes in one process (tests) do not mix.

mod descriptions;
mod labels;
mod process;
mod slow;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::runtime::RuntimeMetrics;

pub use self::labels::{Dropped, Reloaded, ShadowDecision};
use self::{process::Process, slow::Slow};
use crate::{
    auth::FetchOutcome,
    engine::{CloseReason, Lost, Transports},
    forwarding,
    limits::Limit,
    refusal::Refusal,
    revocation, webhook,
};

/// Seconds; from a hash in memory to a slow identity provider, and from a local publish to a bad day of Redis.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Handles to everything the gateway counts. Cheap to clone, cheap to use.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Process,
    connections: [Gauge; 2],
    users: Gauge,
    rooms: Gauge,
    nodes: Gauge,
    handshakes: HashMap<&'static str, Counter>,
    disconnects: HashMap<&'static str, Counter>,
    auth_refreshes: HashMap<&'static str, Counter>,
    /// Sockets that were sent away because their token had expired.
    pub auth_expired: Counter,
    dropped: HashMap<Dropped, Counter>,
    slow: Slow,
    limited: HashMap<Limit, Counter>,
    /// Duration of a CONNECT, from its packet to the decision.
    pub handshake_duration: Histogram,
    /// Events that clients sent.
    pub events_in: Counter,
    /// Events queued for clients, one for each recipient.
    pub events_out: Counter,
    /// Bytes of these, payload only.
    pub bytes_out: Counter,
    /// From the publication's entry into the cluster to the queues of the sockets.
    pub delivery_latency: Histogram,
    /// Conditions of the policy that could not be evaluated, each of which meant no.
    pub condition_failures: Counter,
    shadow: HashMap<(ShadowDecision, bool), Counter>,
    reloads: HashMap<Reloaded, Counter>,
    reload_last_success: Gauge,
    jwks_fetches: HashMap<FetchOutcome, Counter>,
    jwks_keys: Gauge,
    jwks_last_success: Gauge,
    /// Moments when events for any room may have been lost.
    pub gaps_everywhere: Counter,
    /// Rooms with members here for which events may have been lost.
    pub gaps_in_rooms: Counter,
    /// 1 while the node is being stopped.
    pub draining: Gauge,
    /// What is counted about those who look at what passes.
    pub tails: crate::tail::Counts,
    /// What is counted of being stopped.
    pub drain: crate::drain::Metrics,
    /// What is counted of TLS.
    pub tls: crate::tls::Metrics,
    /// What is counted about revocations.
    pub revocations: revocation::Counts,
    /// What becomes of clients' events for the backend.
    pub forwarded: forwarding::Counters,
    /// What is counted of requests to the backend's webhook.
    pub webhook: webhook::Counters,
    /// 1 while every queue of the policy is being consumed.
    pub amqp_connected: Gauge,
    /// What is counted of notices to backends.
    pub notices: adapter_redis::NoticeMetrics,
    /// What `adapter-redis` counts.
    pub bus: adapter_redis::Metrics,
}

/// Outcomes of handshakes beside the refusals.
const ACCEPTED: &str = "accepted";
/// Refused at the HTTP level while the node is being stopped.
pub const DRAINING: &str = "draining";
/// Refused at the HTTP level because of the browser's origin.
pub const ORIGIN: &str = "origin";
/// Refused at the HTTP level because of a limit; `roomcast_limited_total` says which.
pub const LIMITED: &str = "limited";

/// Why a socket went away, where the engine sees only that it was sent away.
pub const TOKEN_EXPIRED: &str = "token_expired";

/// The outcome of a token that was exchanged for another one.
const REFRESHED: &str = "refreshed";

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Builds a recorder and registers everything on it.
    ///
    /// # Errors
    /// Only when a bucket list is empty, which it is not.
    pub fn new() -> Result<Metrics, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .build_recorder();
        let recorder = Arc::new(recorder);
        Ok(metrics::with_local_recorder(&*recorder, || {
            Self::register(recorder.clone())
        }))
    }

    fn register(recorder: Arc<PrometheusRecorder>) -> Metrics {
        descriptions::describe();
        gauge!("roomcast_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let outcomes = [ACCEPTED, DRAINING, ORIGIN, LIMITED]
            .into_iter()
            .chain(Refusal::ALL.into_iter().map(Refusal::code));
        Metrics {
            handle: recorder.handle(),
            process: Process::register(recorder),
            connections: ["websocket", "polling"].map(|t| gauge!("roomcast_connections", "transport" => t)),
            users: gauge!("roomcast_users"),
            rooms: gauge!("roomcast_rooms"),
            nodes: gauge!("roomcast_nodes"),
            handshakes: outcomes
                .map(|o| (o, counter!("roomcast_handshakes_total", "outcome" => o)))
                .collect(),
            disconnects: CloseReason::ALL
                .map(CloseReason::as_str)
                .into_iter()
                .chain([TOKEN_EXPIRED])
                .map(|r| (r, counter!("roomcast_disconnects_total", "reason" => r)))
                .collect(),
            auth_refreshes: refresh_refusals()
                .map(Refusal::code)
                .chain([REFRESHED])
                .map(|o| (o, counter!("roomcast_auth_refreshes_total", "outcome" => o)))
                .collect(),
            auth_expired: counter!("roomcast_auth_expired_total"),
            dropped: Dropped::ALL
                .map(|r| (r, counter!("roomcast_dropped_total", "reason" => r.as_str())))
                .into(),
            slow: Slow::register(),
            limited: Limit::ALL
                .map(|l| (l, counter!("roomcast_limited_total", "limit" => l.as_str())))
                .into(),
            handshake_duration: histogram!("roomcast_handshake_duration_seconds"),
            events_in: counter!("roomcast_events_in_total"),
            events_out: counter!("roomcast_events_out_total"),
            bytes_out: counter!("roomcast_bytes_out_total"),
            delivery_latency: histogram!("roomcast_delivery_latency_seconds"),
            condition_failures: counter!("roomcast_policy_condition_failures_total"),
            shadow: ShadowDecision::ALL
                .iter()
                .flat_map(|decision| [(*decision, false), (*decision, true)])
                .map(|(decision, differs)| {
                    let outcome = if differs { "differs" } else { "same" };
                    let counter = counter!(
                        "roomcast_policy_shadow_total", "decision" => decision.as_str(), "outcome" => outcome
                    );
                    ((decision, differs), counter)
                })
                .collect(),
            reloads: Reloaded::ALL
                .map(|r| (r, counter!("roomcast_reload_total", "outcome" => r.as_str())))
                .into(),
            reload_last_success: gauge!("roomcast_reload_last_success_timestamp_seconds"),
            jwks_fetches: FetchOutcome::ALL
                .map(|o| {
                    (
                        o,
                        counter!("roomcast_jwks_fetches_total", "outcome" => o.as_str()),
                    )
                })
                .into(),
            jwks_keys: gauge!("roomcast_jwks_keys"),
            jwks_last_success: gauge!("roomcast_jwks_last_success_timestamp_seconds"),
            gaps_everywhere: counter!("roomcast_gaps_total", "scope" => "all"),
            gaps_in_rooms: counter!("roomcast_gaps_total", "scope" => "room"),
            draining: gauge!("roomcast_draining"),
            tails: crate::tail::Counts::register(),
            drain: crate::drain::Metrics::register(),
            tls: crate::tls::Metrics::register(),
            revocations: revocation::Counts::register(),
            forwarded: forwarding::Counters::register(),
            webhook: webhook::Counters::register(),
            amqp_connected: gauge!("roomcast_amqp_connected"),
            notices: adapter_redis::NoticeMetrics::register(),
            bus: adapter_redis::Metrics::register(),
        }
    }

    /// Counts a handshake that was let in.
    pub fn accepted(&self) {
        self.handshake(ACCEPTED);
    }

    /// Counts a handshake that was refused.
    pub fn refused(&self, refusal: Refusal) {
        self.handshake(refusal.code());
    }

    /// Counts a handshake by its outcome.
    pub fn handshake(&self, outcome: &'static str) {
        if let Some(counter) = self.handshakes.get(outcome) {
            counter.increment(1);
        }
    }

    /// Counts a connection's end: a reason of the engine's, or [`TOKEN_EXPIRED`].
    pub fn disconnected(&self, reason: &'static str) {
        if let Some(counter) = self.disconnects.get(reason) {
            counter.increment(1);
        }
        if reason == CloseReason::SlowConsumer.as_str() {
            self.slow.disconnected();
        }
    }

    /// Counts what became of a token that was to be exchanged.
    pub fn refreshed(&self, outcome: Result<(), Refusal>) {
        let outcome = outcome.map_or_else(Refusal::code, |()| REFRESHED);
        if let Some(counter) = self.auth_refreshes.get(outcome) {
            counter.increment(1);
        }
    }

    /// Counts what went no further.
    pub fn dropped(&self, reason: Dropped, count: usize) {
        if let Some(counter) = self.dropped.get(&reason) {
            counter.increment(count as u64);
        }
    }

    /// Counts what a policy that is tried out decided beside the one in force.
    pub fn shadow(&self, decision: ShadowDecision, differs: bool) {
        if let Some(counter) = self.shadow.get(&(decision, differs)) {
            counter.increment(1);
        }
    }

    /// Counts what a limit turned away, refused or ended.
    pub fn limited(&self, limit: Limit) {
        if let Some(counter) = self.limited.get(&limit) {
            counter.increment(1);
        }
    }

    /// A good configuration was read, as the node starts or later.
    pub fn configuration_is_good(&self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.reload_last_success.set(since.as_secs_f64());
    }

    /// Counts a configuration that was read while the node runs.
    pub fn reloaded(&self, outcome: Reloaded, now: SystemTime) {
        if outcome != Reloaded::Refused {
            self.configuration_is_good(now);
        }
        if let Some(counter) = self.reloads.get(&outcome) {
            counter.increment(1);
        }
    }

    /// Counts a fetch of a key set.
    pub fn fetched(&self, outcome: FetchOutcome) {
        if let Some(counter) = self.jwks_fetches.get(&outcome) {
            counter.increment(1);
        }
    }

    /// Sets how many keys were fetched, and when the oldest set was; `None` = one is missing.
    pub fn set_key_sets(&self, keys: usize, oldest: Option<SystemTime>) {
        let since = oldest.and_then(|oldest| oldest.duration_since(UNIX_EPOCH).ok());
        self.jwks_keys.set(keys as f64);
        self.jwks_last_success
            .set(since.unwrap_or_default().as_secs_f64());
    }

    /// Sets what is counted only when somebody asks.
    pub fn set_population(&self, transports: Transports, users: usize, rooms: usize) {
        let [websocket, polling] = &self.connections;
        websocket.set(transports.websocket as f64);
        polling.set(transports.polling as f64);
        self.slow.set_waiting(transports.waiting);
        self.users.set(users as f64);
        self.rooms.set(rooms as f64);
    }

    /// Counts events that sockets did not get because they read too slowly.
    pub fn lost(&self, lost: Lost) {
        self.slow.lost(lost);
        // Who has the newest state misses nothing.
        self.dropped(Dropped::SlowConsumer, lost.dropped);
    }

    /// Sets how many nodes this one knows to live, itself included.
    pub fn set_nodes(&self, nodes: usize) {
        self.nodes.set(nodes as f64);
    }

    /// Sets what the process and its runtime are at. Reads files.
    pub fn set_process(&self, runtime: &RuntimeMetrics) {
        self.process.look(runtime);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves histogram samples out of their buffers; to be called every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Those of a connection, as far as they are about the token, and three more.
fn refresh_refusals() -> impl Iterator<Item = Refusal> {
    let not_met = [Refusal::TokenMissing, Refusal::TooManyConnections];
    let connection = Refusal::ALL.into_iter().filter(|r| r.number() < 2000);
    let more = [Refusal::BadData, Refusal::RateLimited, Refusal::IdentityChanged];
    connection.filter(move |r| !not_met.contains(r)).chain(more)
}
