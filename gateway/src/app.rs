//! The composition root: chooses the parts, joins them, owns their tasks, ends them in order.
//!
//! The law of tasks: every task of the gateway is spawned on the `JoinSet` of `running.rs` and ends when it is dropped;
//! one that ends by itself is a fault that stops the node, because a node without one of its parts would look
//! healthy and be deaf. Connections' own tasks belong to the engine and end with their streams.

mod running;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapter_redis::{
    Arrivals, Bus, Cluster, ClusterConfig, Ingest, Limits, LocalSockets, MemoryHub, NodeId, RedisBus,
    RedisConfig, SharedSets,
};
use arc_swap::ArcSwap;
use axum::Router;
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    admin::{self, Operations, Readiness},
    api::Api,
    auth::{self, KeyFetcher, Verifier},
    config::Config,
    delivery::Delivery,
    drain::{self, Drain, Offer},
    engine::{self, Connections, Engine, Sockets},
    expiry::Expiry,
    forwarding::{self, Forwarder, Forwarding},
    hooks::Hooks,
    http,
    ingest::{Ingesting, Readers},
    joining::{self, Joins},
    limits::{self, Admissions, CurrentLimits, Entrance, Users},
    metrics::Metrics,
    notices::Notices,
    population::Population,
    reload::{Live, Reload, Reloader, Source, Started},
    revocation::{Ending, Keeper, Revocations, Revoker},
    roster::Roster,
    rules::Rules,
    session::Common,
    sessions::Sessions,
    tail::Tails,
    telemetry::LogLevel,
    tls,
    webhook::Webhook,
};

/// Messages that may wait for a node on its own; what comes on top is dropped and counted.
const QUEUE: usize = 65_536;

/// Why a node cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {error}; choose another with {hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
        /// How to choose another one.
        hint: &'static str,
    },
    /// The Redis part refused its configuration.
    #[error("redis: {0}")]
    Redis(#[from] adapter_redis::RedisConfigError),
    /// The metrics could not be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// What requests to the backend need could not be set up.
    #[error("webhook: {0}")]
    Webhook(#[from] rustls::Error),
    /// A part of the node ended by itself.
    #[error("a part of the node ended by itself: {0}")]
    PartEnded(String),
}

/// What `--dev` adds to a node.
#[derive(Debug, Default)]
pub struct Extras {
    /// Pages of the public listener.
    pub pages: Router,
    /// Origins of pages that may use the operations listener from a browser.
    pub operations_origins: Vec<String>,
}

/// A node, joined and listening, not yet serving.
pub struct App {
    public: (TcpListener, Router),
    operations: (TcpListener, Router),
    certificates: tls::Listeners,
    cluster: Cluster,
    local: Arc<dyn LocalSockets>,
    arrivals: Arrivals,
    joins: Joins,
    forwarding: (Forwarding, Forwarder),
    users: Users,
    keeper: Keeper,
    expiry: Expiry,
    redis: Option<Arc<RedisBus>>,
    ingest: Option<Ingest>,
    key_fetcher: KeyFetcher,
    readers: Readers,
    notices: Notices,
    tails: Tails,
    connections: Connections,
    sockets: Sockets,
    engine: Engine,
    drain: Drain,
    closing: drain::Closing,
    drain_timeout: Duration,
    write_deadline: Duration,
    metrics: Metrics,
    readiness: Arc<Readiness>,
    /// What a reload begins with, until there is somebody who does it.
    started: Option<(Started, Live)>,
    reloader: Option<Reloader>,
}

impl App {
    /// Listens on both addresses and joins the parts. Redis is connected to in the background.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn build(config: Config, extras: Extras) -> Result<App, AppError> {
        App::build_with(config, extras, None)
    }

    /// As [`App::build`]; without Redis, nodes with the same hub are one cluster.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn build_on(config: Config, extras: Extras, hub: &MemoryHub) -> Result<App, AppError> {
        App::build_with(config, extras, Some(hub))
    }

    fn build_with(config: Config, extras: Extras, hub: Option<&MemoryHub>) -> Result<App, AppError> {
        let started = Started::with(&config);
        let public = listen(config.node.listen, "`listen`")?;
        let operations = listen(config.admin.listen, "`ops.listen`")?;
        let metrics = Metrics::new()?;
        metrics.configuration_is_good(SystemTime::now());
        let id = NodeId::random();
        let rules = Rules::new(config.rules, metrics.clone());
        let mut redis = config.cluster.redis;
        if let Some(redis) = &mut redis {
            redis.channels = rules.policy().channels();
        }
        let (bus, sets, arrivals, redis_bus) = bus(redis.as_ref(), &id, hub, &metrics)?;
        let interests = bus.interests().clone();

        let webhook = Webhook::new(
            config.webhook,
            config.limits.max_event_bytes,
            metrics.webhook.clone(),
        )?;
        let (announcer, notices) = Notices::new(config.notices, redis.as_ref(), &webhook, &metrics.notices);
        let population = Arc::new(Population::announced_by(announcer));
        let sockets = Sockets::new(config.engine.clone());
        let tails = Tails::new(
            id.clone(),
            sockets.clone(),
            population.clone(),
            metrics.tails.clone(),
        );
        let roster = Arc::new(Roster::default());
        let revocations = Revocations::new(config.revocations, metrics.revocations.clone());
        let ending = Ending {
            revocations: revocations.clone(),
            roster: roster.clone(),
            population: population.clone(),
            sockets: sockets.clone(),
        };
        let limits = Limits {
            max_event_bytes: config.limits.max_event_bytes,
        };
        let hooks = Hooks::new(&id, &webhook, config.hooks);
        let (forwarding, forwarder, replies) =
            forwarding::channel(&id, bus.clone(), &sockets, &webhook, &metrics, &config.forward);
        let current = CurrentLimits::new(config.limits);
        let admissions = Admissions::new(current.clone());
        let drain = Drain::default();
        let local: Arc<dyn LocalSockets> = Arc::new(Delivery::new(
            interests.clone(),
            ending.clone(),
            rules.clone(),
            replies,
            tails.clone(),
            Offer::new(drain.clone(), admissions.clone()),
            metrics.clone(),
        ));
        let cluster_config = ClusterConfig {
            limits,
            keys: config.cluster.keys,
            translator: Some(Arc::new(Ingesting::new(rules.clone(), limits))),
            tap: tails.tap(),
            ..ClusterConfig::default()
        };
        let cluster = Cluster::new(id, bus, local.clone(), cluster_config, metrics.bus.clone());

        let revoker = Revoker::new(cluster.clone(), sets, revocations.clone());
        let keeper = Keeper::new(ending, revoker.clone());

        let (joining, joins) = joining::channel();
        let (user_checks, users) = limits::channel(&current, &metrics);
        let expiry = Expiry::new(SystemTime::now);
        let (key_sets, key_fetcher) = auth::key_sets(&metrics);
        let common = Common {
            verifier: ArcSwap::from_pointee(Verifier::fetching(config.auth, key_sets)),
            rules,
            sockets: sockets.clone(),
            population: population.clone(),
            doors: Box::new(interests),
            joining,
            relaying: Box::new(cluster.clone()),
            forwarding: forwarding.clone(),
            hooks: hooks.clone(),
            metrics: metrics.clone(),
            tails: tails.clone(),
            limits: current.clone(),
            roster,
            revocations,
            expiry: expiry.clone(),
        };
        let sessions = Arc::new(Sessions::new(common, user_checks));

        let streams = redis.filter(|_| config.cluster.ingest);
        let readers = Readers::new(
            sessions.rules(),
            cluster.clone(),
            limits,
            &metrics,
            streams.clone(),
            config.ingest.broker,
        );
        let ingest = streams.map(|redis| Ingest::new(cluster.clone(), redis));

        let readiness = Arc::new(Readiness::new(config.admin.ready_grace));
        let certificates = tls::Listeners::new(&config.tls, &metrics.tls);
        let live = Live {
            certificates: certificates.clone(),
            sessions: sessions.clone(),
            limits: current.clone(),
            api_keys: config.admin.api_keys.clone(),
            webhook,
            hooks,
            log: LogLevel::default(),
        };
        let (endpoint, engine) = engine::routes(sessions.clone(), &sockets);
        let path = &config.engine.path;
        let write_deadline = config.engine.write_deadline;
        let entrance = Entrance::new(current, metrics.clone(), admissions.clone());
        let drain_timeout = config.drain.timeout;
        let closing = drain::Closing::new(
            config.drain,
            drain.clone(),
            sockets.clone(),
            admissions,
            others(cluster.clone()),
            metrics.drain.clone(),
        );
        let public_routes = http::router(
            endpoint,
            path,
            &config.http,
            &drain,
            entrance,
            &metrics,
            extras.pages,
        );
        let api = Api {
            cluster: cluster.clone(),
            limits,
            metrics: metrics.bus.clone(),
            sessions,
            revoker,
            tails: tails.clone(),
            keys: config.admin.api_keys.clone(),
        };
        let operations_parts = Operations {
            cluster: cluster.clone(),
            metrics: metrics.clone(),
            sockets: sockets.clone(),
            population,
            drain: drain.clone(),
            readiness: readiness.clone(),
        };
        let operations_routes = admin::router(operations_parts, api, &config.admin.api_keys);
        let operations_routes = http::allow_origins(operations_routes, extras.operations_origins);
        Ok(App {
            public: (public, public_routes),
            operations: (operations, operations_routes),
            certificates,
            cluster,
            local,
            arrivals,
            joins,
            forwarding: (forwarding, forwarder),
            users,
            keeper,
            expiry,
            redis: redis_bus,
            ingest,
            key_fetcher,
            readers,
            notices,
            tails,
            connections: Connections::default(),
            sockets,
            engine,
            drain,
            closing,
            drain_timeout,
            write_deadline,
            metrics,
            readiness,
            started: Some((started, live)),
            reloader: None,
        })
    }

    /// Lets the node take over what this source says later on: when it is asked to, and when files have another content.
    /// Without this a node stays as it was built. To be called once.
    pub fn reload_from(&mut self, source: Source, log: LogLevel) -> Reload {
        let asked = Reload::default();
        if let Some((started, live)) = self.started.take() {
            let live = Live { log, ..live };
            let reloader = Reloader::new(source, asked.clone(), live, self.metrics.clone(), started);
            self.reloader = Some(reloader);
        }
        asked
    }

    /// Where the public listener is.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.public.0.local_addr()
    }

    /// Where the operations listener is.
    pub fn operations_address(&self) -> io::Result<SocketAddr> {
        self.operations.0.local_addr()
    }

    /// This node's sockets, as the cluster sees them: for tests, which ask one node alone.
    pub fn local(&self) -> Arc<dyn LocalSockets> {
        self.local.clone()
    }
}

/// What a node that is being stopped has to know of the others.
fn others(cluster: Cluster) -> impl Fn() -> Vec<drain::Other> + Send + Sync + 'static {
    move || {
        let infos = cluster.node_infos().into_iter().filter(|info| !info.this);
        let other = infos.map(|info| drain::Other {
            admits: info.load.admission.map(|admission| admission.per_second),
            is_draining: info.load.admission.is_some_and(|admission| admission.is_draining),
            connected: info.load.connected,
        });
        other.collect()
    }
}

type BusParts = (Arc<dyn Bus>, Arc<dyn SharedSets>, Arrivals, Option<Arc<RedisBus>>);

fn bus(
    config: Option<&RedisConfig>,
    id: &NodeId,
    hub: Option<&MemoryHub>,
    metrics: &Metrics,
) -> Result<BusParts, AppError> {
    Ok(match config {
        None => {
            let alone = MemoryHub::with(QUEUE, metrics.bus.clone());
            let (bus, arrivals) = hub.unwrap_or(&alone).join(id);
            let bus = Arc::new(bus);
            (bus.clone(), bus, arrivals, None)
        }
        Some(redis) => {
            let (bus, arrivals) = RedisBus::start(redis.clone(), id, metrics.bus.clone())?;
            let bus = Arc::new(bus);
            (bus.clone(), bus.clone(), arrivals, Some(bus))
        }
    })
}

fn listen(address: SocketAddr, hint: &'static str) -> Result<TcpListener, AppError> {
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restarted node must not wait for its predecessor's last connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // A reconnect wave arrives all at once.
        socket.listen(4096)
    };
    bind().map_err(|error| AppError::Listen { address, error, hint })
}
