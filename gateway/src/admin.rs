//! The operations listener: health, metrics, numbers, and the API under `/api/v1`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adapter_redis::{BusState, Cluster, NodeId};
use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use tokio::{runtime::Handle, task::spawn_blocking, time::Instant};

use crate::{
    api,
    drain::Drain,
    engine::Sockets,
    metrics::Metrics,
    sessions::Population,
    settings::{Key, Kind, Reader},
};

const LISTEN: &str = "ops.listen";
const READY_GRACE: &str = "redis.ready_grace";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: LISTEN,
        kind: Kind::Address,
        default: "127.0.0.1:3001",
        doc: "Address of the operations listener: health, metrics, numbers, API. Keep it away from the public.",
    },
    Key {
        path: READY_GRACE,
        kind: Kind::Duration,
        default: "30s",
        doc: "How long Redis may be away before `/readyz` says so. Local work goes on all the while.",
    },
];

/// What the operations listener is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may use the API.
    pub api_keys: api::ApiKeys,
    /// How long the bus may be away.
    pub ready_grace: Duration,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        Config {
            listen: listen(reader),
            api_keys: api::ApiKeys::read(reader),
            ready_grace: reader.duration(READY_GRACE),
        }
    }
}

/// Where it listens, for who wants to know nothing else.
pub fn listen(reader: &mut Reader) -> SocketAddr {
    reader.address(LISTEN)
}

/// What the routes need, and no more.
#[derive(Clone)]
pub struct Operations {
    /// The cluster's numbers and the way to publish.
    pub cluster: Cluster,
    /// Metrics to render.
    pub metrics: Metrics,
    /// Rooms and transports.
    pub sockets: Sockets,
    /// Users.
    pub population: Arc<Population>,
    /// Whether the node is being stopped.
    pub drain: Drain,
    /// Since when the bus has been away.
    pub readiness: Arc<Readiness>,
}

/// Remembers since when the bus has been away, so that a short outage does not empty the load balancer.
#[derive(Debug)]
pub struct Readiness {
    grace: Duration,
    away_since: std::sync::Mutex<Option<Instant>>,
}

impl Readiness {
    /// A node starts as if its bus had just gone away.
    pub fn new(grace: Duration) -> Readiness {
        Readiness {
            grace,
            away_since: std::sync::Mutex::new(Some(Instant::now())),
        }
    }

    /// Takes note of the bus' state.
    pub fn note(&self, state: BusState) {
        let mut since = self
            .away_since
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *since = match state {
            BusState::Connected => None,
            _ => since.or_else(|| Some(Instant::now())),
        };
    }

    /// Whether the bus is there, or has not been away for long.
    pub fn is_ready(&self) -> bool {
        let since = *self
            .away_since
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        since.is_none_or(|at| at.elapsed() < self.grace)
    }
}

/// Puts the operations routes together.
pub fn router(operations: Operations, api: api::Api, api_keys: &api::ApiKeys) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/stats", get(stats))
        .method_not_allowed_fallback(api::wrong_method)
        .with_state(operations)
        .nest("/api/v1", api::router(api, api_keys))
        .fallback(async || api::Problem::new(&api::NOT_FOUND, "there is nothing at this path"))
}

async fn readyz(State(operations): State<Operations>) -> Response {
    let draining = operations.drain.has_begun();
    let ready = !draining && operations.readiness.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let bus = operations.cluster.bus_state();
    (
        status,
        Json(json!({"ready": ready, "draining": draining, "bus": {"state": bus}})),
    )
        .into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let Operations {
        cluster,
        metrics,
        sockets,
        population,
        ..
    } = operations;
    metrics.set_population(
        sockets.transports(),
        population.user_count(),
        sockets.room_count(),
    );
    metrics.lost(sockets.take_lost());
    metrics.set_nodes(cluster.nodes().len());
    let runtime = Handle::current().metrics();
    let text = spawn_blocking(move || {
        metrics.set_process(&runtime);
        metrics.render()
    });
    match text.await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        // Nothing is better than half of it: whoever scrapes sees that the node is not well.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn stats(State(operations): State<Operations>) -> Response {
    let cluster = operations.cluster.census().await;
    let missing: Vec<&str> = cluster.missing.iter().map(NodeId::as_str).collect();
    Json(json!({
        "node": {
            "id": operations.cluster.id().as_str(),
            "connected": operations.population.connected(),
            "users": operations.population.user_count(),
            "rooms": operations.sockets.room_count(),
        },
        "cluster": {
            "nodes": operations.cluster.nodes().len(),
            "connected": cluster.connected,
            "users": cluster.users,
            "rooms": cluster.rooms,
            "complete": cluster.complete,
            "missing": missing,
        },
        "bus": {"state": operations.cluster.bus_state()},
    }))
    .into_response()
}
