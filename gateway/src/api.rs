//! The HTTP API for backends. Errors are problem documents with a stable `code`.

mod problem;
mod publish;

use std::{fmt, sync::Arc};

use adapter_redis::{Cluster, Limits};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use subtle::{Choice, ConstantTimeEq};

pub use problem::Problem;

/// The keys that open the API. Compared in constant time; never shown.
#[derive(Clone, Default)]
pub struct ApiKeys(Arc<[String]>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

impl ApiKeys {
    /// Takes over the configured keys.
    pub fn new(keys: Vec<String>) -> ApiKeys {
        ApiKeys(keys.into())
    }

    /// Whether there is any key at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of the keys, for a command on the same machine.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Whether the headers hold one of the keys. Takes as long for a wrong key as for a right one of its length.
    fn open(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, key)| key.trim());
        let mut found = Choice::from(0);
        for key in self.0.iter() {
            found |= key.as_bytes().ct_eq(given.as_bytes());
        }
        found.into()
    }
}

/// What the API's routes need, and no more.
#[derive(Clone)]
pub struct Api {
    /// Publishes.
    pub cluster: Cluster,
    /// What an envelope may be.
    pub limits: Limits,
    /// Counts what was refused before it reached the cluster.
    pub metrics: adapter_redis::Metrics,
}

/// Puts the API's routes together.
pub fn router(api: Api, keys: ApiKeys) -> Router {
    Router::new()
        .route("/publish", post(publish::one))
        .route("/publish/batch", post(publish::batch))
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
        .layer(middleware::from_fn_with_state(keys, authorize))
}

async fn authorize(State(keys): State<ApiKeys>, request: Request, next: Next) -> Response {
    if keys.open(request.headers()) {
        return next.run(request).await;
    }
    let detail = if keys.is_empty() {
        "no key opens this API: set api.keys in the configuration"
    } else {
        "send one of the configured API keys as `Authorization: Bearer KEY`"
    };
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
    response
}

/// The path is right, the method is not.
pub async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take this method",
    )
}
