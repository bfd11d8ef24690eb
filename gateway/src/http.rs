//! The public listener: the Socket.IO endpoint, `/healthz` for load balancers, nothing else.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{self, CONNECTION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    drain::Drain,
    engine::{Held, Peer},
    limits::{Entrance, Turned},
    metrics::{self, Metrics},
    settings::{Key, Kind, Reader},
};

const ALLOWED_ORIGINS: &str = "cors.allowed_origins";

/// The keys of this module.
pub const KEYS: &[Key] = &[Key {
    path: ALLOWED_ORIGINS,
    kind: Kind::List,
    default: "",
    doc: "Origins of the pages that may connect, such as `https://app.example`; `*` = any. Pages of the \
          gateway's own host and clients that are no browsers are always let through to the token check.",
}];

/// What browsers may do.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Origins, as browsers send them.
    pub allowed_origins: Vec<String>,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let allowed_origins = reader.list(ALLOWED_ORIGINS);
        for origin in &allowed_origins {
            let parsed = origin.parse::<Uri>().ok();
            let is_origin = parsed.is_some_and(|u| {
                u.scheme().is_some() && u.authority().is_some() && u.path() == "/" && u.query().is_none()
            }) && !origin.ends_with('/');
            if origin != "*" && !is_origin {
                reader.problem(
                    ALLOWED_ORIGINS,
                    origin,
                    "an origin such as https://app.example, without a path",
                );
            }
        }
        Config { allowed_origins }
    }

    fn allows(&self, origin: &str) -> bool {
        self.allowed_origins
            .iter()
            .any(|o| o == "*" || o.eq_ignore_ascii_case(origin))
    }
}

/// What the gate in front of the engine needs.
#[derive(Debug)]
struct Gate {
    path: String,
    config: Config,
    drain: Drain,
    entrance: Entrance,
    metrics: Metrics,
}

/// Puts the public routes together. `pages` are those of `--dev`, or none.
pub fn router(
    engine: Router,
    path: &str,
    config: &Config,
    drain: &Drain,
    entrance: Entrance,
    metrics: &Metrics,
    pages: Router,
) -> Router {
    let gate = Arc::new(Gate {
        path: path.to_owned(),
        config: config.clone(),
        drain: drain.clone(),
        entrance,
        metrics: metrics.clone(),
    });
    let health = drain.clone();
    Router::new()
        .route(
            "/healthz",
            get(async move || {
                if health.has_begun() {
                    unavailable()
                } else {
                    "ok".into_response()
                }
            }),
        )
        // The engine brings the fallback of all of them: it answers on a path that is no route.
        .merge(engine)
        .merge(pages)
        .layer(cors(config))
        .layer(middleware::from_fn_with_state(gate, admit))
}

/// Lets pages of these origins use the routes from a browser; none = no page may.
pub fn allow_origins(routes: Router, origins: Vec<String>) -> Router {
    if origins.is_empty() {
        routes
    } else {
        routes.layer(cors(&Config {
            allowed_origins: origins,
        }))
    }
}

fn cors(config: &Config) -> CorsLayer {
    let config = config.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _| {
            origin.to_str().is_ok_and(|o| config.allows(o))
        }))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, CONTENT_TYPE])
}

/// What is decided before the engine sees a request: the browser's origin, and whether new sessions begin here.
async fn admit(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != gate.path
        && !path
            .strip_prefix(gate.path.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    {
        return next.run(request).await;
    }
    if !is_origin_allowed(&gate.config, request.headers()) {
        gate.metrics.handshake(metrics::ORIGIN);
        return forbidden();
    }
    if begins_session(&request) {
        if gate.drain.has_begun() {
            gate.metrics.handshake(metrics::DRAINING);
            return unavailable();
        }
        // Without a peer nobody is served by the listener: a test of the routes alone.
        if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>() {
            match gate
                .entrance
                .admit(peer.address(), request.headers(), Instant::now())
            {
                Ok(seat) => {
                    request.extensions_mut().insert(Held::new(seat.clone()));
                    request.extensions_mut().insert(seat);
                }
                Err(turned) => {
                    gate.metrics.handshake(metrics::LIMITED);
                    return turned_away(turned);
                }
            }
        }
    }
    next.run(request).await
}

/// Whether the engine would begin a session: it looks for `sid=` in the text of the query, without decoding it.
fn begins_session(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() != Method::OPTIONS && !query.split('&').any(|pair| pair.starts_with("sid="))
}

fn is_origin_allowed(config: &Config, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else { return false };
    // The scheme is not compared: a proxy that ends TLS changes it on the way here.
    let own = origin.split_once("://").map(|(_, authority)| authority);
    let host = headers.get(HOST).and_then(|h| h.to_str().ok());
    config.allows(origin) || (own.is_some() && own == host)
}

/// Engine.IO's own words for a refused request, so that clients show what they know.
fn forbidden() -> Response {
    (
        StatusCode::FORBIDDEN,
        [(CONTENT_TYPE, "application/json")],
        r#"{"code":4,"message":"Forbidden"}"#,
    )
        .into_response()
}

/// A refusal because of a limit. Clients come back by themselves.
fn turned_away(turned: Turned) -> Response {
    (
        turned.status(),
        [
            (RETRY_AFTER, HeaderValue::from(turned.retry_after())),
            (CONNECTION, HeaderValue::from_static("close")),
        ],
        turned.limit.as_str(),
    )
        .into_response()
}

/// A refusal that makes clients and load balancers come back, elsewhere.
fn unavailable() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(RETRY_AFTER, "1"), (CONNECTION, "close")],
        "draining",
    )
        .into_response()
}
