//! Publishing over HTTP: one envelope, or many.

use adapter_redis::{Envelope, PublishError, Published, Source};
use axum::{
    Json,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{Api, Problem};

/// A body may exceed what is allowed in it by this much before it is not even read to its end.
const SLACK: usize = 64 * 1024;
/// Envelopes in one batch.
const MAX_ITEMS: usize = 1000;
/// A batch's body, in the largest events that fit into it: what one request may make the node hold.
const MAX_BATCH_EVENTS: usize = 16;

/// `POST /api/v1/publish`
pub(super) async fn one(State(api): State<Api>, request: Request) -> Response {
    let body = match body(request, api.limits.max_event_bytes).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    match publish(&api, &body).await {
        Ok(published) => Json(published).into_response(),
        Err(problem) => problem.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// `POST /api/v1/publish/batch`: one result for each item, in their order. Publications to one room arrive in the
/// order of the items; a bad item does not stop the others.
pub(super) async fn batch(State(api): State<Api>, request: Request) -> Response {
    let body = match body(
        request,
        api.limits.max_event_bytes.saturating_mul(MAX_BATCH_EVENTS),
    )
    .await
    {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let items = match serde_json::from_slice::<Batch<'_>>(&body) {
        Ok(Batch { items }) if items.len() <= MAX_ITEMS => items,
        Ok(Batch { items }) => {
            let detail = format!("{} items; send at most {MAX_ITEMS} in one batch", items.len());
            return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_items", detail).into_response();
        }
        Err(error) => {
            let detail = format!("expected {{\"items\":[envelope, \u{2026}]}}: {error}");
            return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_batch", detail).into_response();
        }
    };
    // All are on their way, in order, before the first answer is waited for.
    let results = join_all(items.iter().map(|item| publish(&api, item.get().as_bytes()))).await;
    let results: Vec<Value> = results
        .into_iter()
        .map(|r| r.unwrap_or_else(|problem| problem.document()))
        .collect();
    Json(json!({"results": results})).into_response()
}

async fn body(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let longest = if limit == 0 {
        usize::MAX
    } else {
        limit.saturating_add(SLACK)
    };
    to_bytes(request.into_body(), longest).await.map_err(|_| {
        let detail = format!("the body did not arrive whole, or is far beyond {limit} bytes");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", detail)
    })
}

async fn publish(api: &Api, envelope: &[u8]) -> Result<Value, Problem> {
    let envelope = Envelope::parse(envelope, &api.limits).map_err(|error| {
        api.metrics.invalid(Source::Api, &error);
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.reason(),
            error.to_string(),
        )
    })?;
    match api.cluster.publish(envelope).await {
        Ok(Published {
            offset,
            nodes,
            sockets,
            complete,
        }) => Ok(json!({"offset": offset, "nodes": nodes, "sockets": sockets, "complete": complete})),
        Err(PublishError::Timeout) => {
            let detail = "Redis did not answer in time, so the outcome is unknown: a repeat may arrive twice";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "bus_timeout", detail).retry())
        }
        Err(PublishError::Refused(reason)) => {
            tracing::error!(reason, "Redis refused a publication");
            let detail = "Redis refused the publication";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable", detail).retry())
        }
    }
}
