//! The composition root: chooses the parts, joins them, owns their tasks, ends them in order.
//!
//! The law of tasks: every task of the gateway is spawned on a `JoinSet` in this file and ends when it is dropped;
//! one that ends by itself is a fault that stops the node, because a node without one of its parts would look
//! healthy and be deaf. Connections' own tasks belong to the engine and end with their streams.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use adapter_redis::{Bus, Cluster, ClusterConfig, Inbound, Limits, MemoryHub, NodeId, RedisBus, RedisConfig};
use axum::Router;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::{
    admin::{self, Operations, Readiness},
    api::Api,
    auth::Verifier,
    config::{self, Key, Kind, Reader},
    delivery::Delivery,
    drain::Drain,
    engine::{self, Connections, Listener, Peer, Sockets, WRITE_DEADLINE},
    http,
    metrics::Metrics,
    policy,
    sessions::Sessions,
};

/// Messages that may wait for a node on its own; what comes on top is dropped and counted.
const QUEUE: usize = 8192;
const LISTEN: &str = "listen";
const REDIS_URL: &str = "redis.url";
const REDIS_PREFIX: &str = "redis.prefix";
const DRAIN_TIMEOUT: &str = "drain.timeout";
/// Applies to both directions, so the engine's configuration reads it too.
pub const MAX_EVENT_BYTES: &str = "limits.max_event_bytes";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: LISTEN,
        kind: Kind::Address,
        default: "0.0.0.0:3000",
        doc: "Address of the public listener: Socket.IO and `/healthz`, nothing else.",
    },
    Key {
        path: policy::POLICY,
        kind: Kind::Path,
        default: "",
        doc: "The policy file; `builtin:whatsapp-crm` is the bundled example. Required.",
    },
    Key {
        path: REDIS_URL,
        kind: Kind::Secret,
        default: "",
        doc: "`redis://[user:password@]host:port[/db]`; empty = a node on its own.",
    },
    Key {
        path: REDIS_PREFIX,
        kind: Kind::String,
        default: "roomcast",
        doc: "First part of all channel names; clusters that share a Redis need different ones.",
    },
    Key {
        path: MAX_EVENT_BYTES,
        kind: Kind::Size,
        default: "1MiB",
        doc: "Size of one event, in both directions; 0 = off.",
    },
    Key {
        path: DRAIN_TIMEOUT,
        kind: Kind::Duration,
        default: "25s",
        doc: "How long stopping may take altogether.",
    },
    Key {
        path: "drain.rate",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.max_connections",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.max_connections_per_user",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.max_connections_per_ip",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.handshakes_per_second",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.events_per_second",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.max_rooms_per_socket",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "limits.max_outbound_bytes",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "history.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "recovery.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "presence.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "interop.node.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "cluster.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: "server.*",
        kind: Kind::Planned,
        default: "",
        doc: "",
    },
    Key {
        path: engine::PING_INTERVAL,
        kind: Kind::Duration,
        default: "25s",
        doc: "Time between two pings to a client.",
    },
    Key {
        path: engine::PING_TIMEOUT,
        kind: Kind::Duration,
        default: "20s",
        doc: "How long a client may take to answer a ping.",
    },
    Key {
        path: engine::TRANSPORTS,
        kind: Kind::List,
        default: "websocket,polling",
        doc: "Transports on offer; polling needs sticky sessions at the load balancer.",
    },
    Key {
        path: engine::PATH,
        kind: Kind::String,
        default: "/socket.io",
        doc: "Path of the Socket.IO endpoint.",
    },
];

/// What the node as a whole is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listener.
    pub listen: SocketAddr,
    /// Redis, or none for a node on its own.
    pub redis: Option<RedisConfig>,
    /// Bytes of one event.
    pub max_event_bytes: usize,
    /// How long stopping may take.
    pub drain_timeout: Duration,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let url = reader.string(REDIS_URL);
        let prefix = reader.string(REDIS_PREFIX);
        let redis = (!url.is_empty()).then(|| RedisConfig {
            prefix,
            ..RedisConfig::new(url)
        });
        if let Some(Err(error)) = redis.as_ref().map(RedisConfig::validate) {
            reader.say(format!("redis: {error}"));
        }
        Config {
            listen: reader.address(LISTEN),
            redis,
            max_event_bytes: reader.size(MAX_EVENT_BYTES),
            drain_timeout: reader.duration(DRAIN_TIMEOUT),
        }
    }
}

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
    cluster: Cluster,
    inbound: mpsc::Receiver<Inbound>,
    redis: Option<Arc<RedisBus>>,
    connections: Connections,
    sockets: Sockets,
    drain: Drain,
    drain_timeout: Duration,
    metrics: Metrics,
    readiness: Arc<Readiness>,
}

impl App {
    /// Listens on both addresses and joins the parts. Redis is connected to in the background.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn build(config: config::Config, extras: Extras) -> Result<App, AppError> {
        App::build_with(config, extras, None)
    }

    /// As [`App::build`]; without Redis, nodes with the same hub are one cluster.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn build_on(config: config::Config, extras: Extras, hub: &MemoryHub) -> Result<App, AppError> {
        App::build_with(config, extras, Some(hub))
    }

    fn build_with(config: config::Config, extras: Extras, hub: Option<&MemoryHub>) -> Result<App, AppError> {
        let public = listen(config.app.listen, "`listen`")?;
        let operations = listen(config.admin.listen, "`ops.listen`")?;
        let metrics = Metrics::new()?;
        let id = NodeId::random();
        let (bus, inbound, redis) = bus(&config.app, &id, hub, &metrics)?;

        let sockets = Sockets::default();
        let verifier = Verifier::new(config.auth);
        let sessions = Arc::new(Sessions::new(
            verifier,
            Arc::new(config.policy),
            sockets.clone(),
            metrics.clone(),
        ));
        let population = sessions.population().clone();
        let delivery = Delivery::new(sockets.clone(), population.clone(), metrics.clone());
        let limits = Limits {
            max_event_bytes: config.app.max_event_bytes,
        };
        let cluster_config = ClusterConfig {
            limits,
            ..ClusterConfig::default()
        };
        let cluster = Cluster::new(id, bus, Arc::new(delivery), cluster_config, metrics.bus.clone());

        let drain = Drain::default();
        let readiness = Arc::new(Readiness::new(config.admin.ready_grace));
        let engine = engine::service(&config.engine, sessions, &sockets);
        let path = &config.engine.path;
        let public_routes = http::router(engine, path, &config.http, &drain, &metrics, extras.pages);
        let api = Api {
            cluster: cluster.clone(),
            limits,
            metrics: metrics.bus.clone(),
        };
        let operations_parts = Operations {
            cluster: cluster.clone(),
            metrics: metrics.clone(),
            sockets: sockets.clone(),
            population,
            drain: drain.clone(),
            readiness: readiness.clone(),
        };
        let operations_routes = admin::router(operations_parts, api, config.admin.api_keys);
        let operations_routes = http::allow_origins(operations_routes, extras.operations_origins);
        Ok(App {
            public: (public, public_routes),
            operations: (operations, operations_routes),
            cluster,
            inbound,
            redis,
            connections: Connections::default(),
            sockets,
            drain,
            drain_timeout: config.app.drain_timeout,
            metrics,
            readiness,
        })
    }

    /// Where the public listener is.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.public.0.local_addr()
    }

    /// Where the operations listener is.
    pub fn operations_address(&self) -> io::Result<SocketAddr> {
        self.operations.0.local_addr()
    }

    /// Serves until `shutdown` completes, then drains. Clients come back by themselves, elsewhere.
    ///
    /// # Errors
    /// [`AppError::PartEnded`] when a part of the node ended before that.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        let App {
            public,
            operations,
            cluster,
            inbound,
            redis,
            connections,
            sockets,
            drain,
            ..
        } = self;
        let mut parts = JoinSet::new();
        let served = Listener::new(public.0, connections.clone(), WRITE_DEADLINE);
        let begun = drain.clone();
        parts.spawn(async move {
            let service = public.1.into_make_service_with_connect_info::<Peer>();
            let result =
                axum::serve(served, service).with_graceful_shutdown(async move { begun.begun().await });
            describe("the public listener", result.await)
        });
        parts.spawn(async move {
            describe(
                "the operations listener",
                axum::serve(operations.0, operations.1).await,
            )
        });
        let receiving = cluster.clone();
        parts.spawn(async move {
            receiving.run(inbound).await;
            "the bus' receiver".to_owned()
        });
        parts.spawn(watch_bus(cluster.clone(), self.readiness));
        parts.spawn(keep_up(self.metrics.clone()));

        let ended = tokio::select! {
            () = shutdown => None,
            ended = parts.join_next() => {
                Some(ended.map_or_else(String::new, |e| e.unwrap_or_else(|error| error.to_string())))
            }
        };
        tracing::info!(timeout = ?self.drain_timeout, "stopping");
        self.metrics.draining.set(1.0);
        drain.begin();
        let stopped = timeout(self.drain_timeout, async {
            cluster.leave().await;
            sockets.begin_closing();
            connections.close_all();
            connections.closed().await;
            if let Some(redis) = redis {
                redis.close().await;
            }
        });
        if stopped.await.is_err() {
            tracing::warn!("some connections were still open at the deadline");
        }
        tracing::info!("stopped");
        ended.map_or(Ok(()), |part| Err(AppError::PartEnded(part)))
    }
}

type BusParts = (Arc<dyn Bus>, mpsc::Receiver<Inbound>, Option<Arc<RedisBus>>);

fn bus(
    config: &Config,
    id: &NodeId,
    hub: Option<&MemoryHub>,
    metrics: &Metrics,
) -> Result<BusParts, AppError> {
    Ok(match &config.redis {
        None => {
            let alone = MemoryHub::with(QUEUE, metrics.bus.clone());
            let (bus, inbound) = hub.unwrap_or(&alone).join(id);
            (Arc::new(bus), inbound, None)
        }
        Some(redis) => {
            let (bus, inbound) = RedisBus::start(redis.clone(), id, metrics.bus.clone())?;
            let bus = Arc::new(bus);
            (bus.clone(), inbound, Some(bus))
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

fn describe(part: &str, result: io::Result<()>) -> String {
    match result {
        Ok(()) => part.to_owned(),
        Err(error) => format!("{part}: {error}"),
    }
}

async fn watch_bus(cluster: Cluster, readiness: Arc<Readiness>) -> String {
    let mut state = cluster.watch_bus();
    loop {
        let now = *state.borrow_and_update();
        readiness.note(now);
        tracing::info!(bus.state = now.as_str(), "bus");
        if state.changed().await.is_err() {
            return "the bus".to_owned();
        }
    }
}

async fn keep_up(metrics: Metrics) -> String {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}
