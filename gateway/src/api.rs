//! The HTTP API for backends. Errors are problem documents with a stable `code`.

use std::{fmt, sync::Arc};

use adapter_redis::{Cluster, Envelope, Limits, PublishError, Published, Source};
use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde_json::json;
use subtle::{Choice, ConstantTimeEq};

/// A body may exceed the event's own limit by this much before it is not even read to its end.
const SLACK: usize = 64 * 1024;

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
        .route("/publish", post(publish))
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

async fn publish(State(api): State<Api>, request: Request) -> Response {
    let limit = api.limits.max_event_bytes;
    let longest = if limit == 0 {
        usize::MAX
    } else {
        limit.saturating_add(SLACK)
    };
    let Ok(body) = to_bytes(request.into_body(), longest).await else {
        return Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too_large",
            format!("the body did not arrive whole, or is far beyond limits.max_event_bytes ({limit})"),
        )
        .into_response();
    };
    let published = match Envelope::parse(&body, &api.limits) {
        Ok(envelope) => api.cluster.publish(envelope).await,
        Err(error) => {
            api.metrics.invalid(Source::Api, &error);
            return Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                error.reason(),
                error.to_string(),
            )
            .into_response();
        }
    };
    match published {
        Ok(Published {
            offset,
            nodes,
            sockets,
            complete,
        }) => Json(json!({"offset": offset, "nodes": nodes, "sockets": sockets, "complete": complete}))
            .into_response(),
        Err(PublishError::Timeout) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "bus_timeout",
            "Redis did not answer in time, so the outcome is unknown: a repeat may arrive twice",
        )
        .retry()
        .into_response(),
        Err(PublishError::Refused(reason)) => {
            tracing::error!(reason, "Redis refused a publication");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "bus_unavailable",
                "Redis refused the publication",
            )
            .retry()
            .into_response()
        }
    }
}

/// The path is right, the method is not.
pub async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take this method",
    )
}

/// An error answer as `application/problem+json` (RFC 9457), with our stable `code`.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry: bool,
}

impl Problem {
    /// An error that the same request will meet again.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            code,
            detail: detail.into(),
            retry: false,
        }
    }

    /// An error that may be gone the next time.
    pub fn retry(self) -> Problem {
        Problem { retry: true, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "retry": self.retry,
        });
        (
            self.status,
            [(CONTENT_TYPE, "application/problem+json")],
            body.to_string(),
        )
            .into_response()
    }
}
