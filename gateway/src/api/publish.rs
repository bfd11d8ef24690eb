//! Publishing over HTTP: one envelope, or many.

use adapter_redis::{Envelope, EnvelopeError, NameError, Published, Source};
use axum::{
    Json,
    extract::{Request, State},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Api, Problem, body, code, document::About, envelope::EnvelopeShape, problem::Document, trace};

/// Envelopes in one batch.
const MAX_ITEMS: usize = 1000;
/// A batch's body, in the largest events that fit into it: what one request may make the node hold.
const MAX_BATCH_EVENTS: usize = 16;

/// What became of a publication.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Published)]
pub(super) struct Answer {
    /// Its place among everything that was published, as an opaque text; null for `volatile` without `id`, and while
    /// Redis is away.
    offset: Option<String>,
    /// On how many nodes there was at least one socket; without `count`, how many subscribers Redis passed it to.
    nodes: u64,
    /// For how many sockets it was queued, on all nodes that answered.
    sockets: u64,
    /// Whether every node that Redis passed it to answered; false also when the bus is away.
    complete: bool,
    /// It was published before, under the same `id`, and not again: `offset` is that of the first time, `nodes` how many
    /// subscribers Redis passed it to then, and nobody was counted. Left out otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
}

/// `POST /api/v1/publish`
pub(super) async fn one(State(api): State<Api>, request: Request) -> Result<Json<Answer>, Problem> {
    let trace = trace::of(request.headers());
    let body = body::read(request, api.limits.max_event_bytes).await?;
    publish(&api, &body, trace).await.map(Json)
}

/// Many envelopes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch<'a> {
    /// At most 1,000 of them.
    #[serde(borrow)]
    #[schema(value_type = Vec<EnvelopeShape>, max_items = 1000)]
    items: Vec<&'a RawValue>,
}

/// One result for each item, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Results {
    results: Vec<Outcome>,
}

/// What a publication on its own would have answered, or its problem.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// It was published.
    Published(Answer),
    /// It was not, or it is unknown.
    Problem(Document),
}

/// `POST /api/v1/publish/batch`: one result for each item, in their order. Publications to one room arrive in the
/// order of the items; a bad item does not stop the others.
pub(super) async fn batch(State(api): State<Api>, request: Request) -> Result<Json<Results>, Problem> {
    let trace = trace::of(request.headers());
    let limit = api.limits.max_event_bytes.saturating_mul(MAX_BATCH_EVENTS);
    let body = body::read(request, limit).await?;
    let Batch { items } = body::object(&body).map_err(|error| {
        let detail = format!("expected {{\"items\":[envelope, \u{2026}]}}: {error}");
        Problem::new(&code::BAD_BATCH, detail)
    })?;
    if items.len() > MAX_ITEMS {
        let detail = format!("{} items; send at most {MAX_ITEMS} in one batch", items.len());
        return Err(Problem::new(&code::TOO_MANY_ITEMS, detail));
    }
    // All are on their way, in order, before the first answer is waited for.
    let results = join_all(
        items
            .iter()
            .map(|item| publish(&api, item.get().as_bytes(), trace)),
    )
    .await;
    let results = results.into_iter().map(Outcome::from).collect();
    Ok(Json(Results { results }))
}

impl From<Result<Answer, Problem>> for Outcome {
    fn from(result: Result<Answer, Problem>) -> Outcome {
        match result {
            Ok(answer) => Outcome::Published(answer),
            Err(problem) => Outcome::Problem(problem.document()),
        }
    }
}

/// Reads an envelope, and counts it when it is none.
pub(super) fn envelope(api: &Api, text: &[u8]) -> Result<Envelope, Problem> {
    Envelope::parse(text, &api.limits).map_err(|error| {
        api.metrics.invalid(Source::Api, &error);
        api.cluster.refused(Source::Api, error.reason(), text.len());
        Problem::of_envelope(&error)
    })
}

async fn publish(api: &Api, text: &[u8], trace: Option<u128>) -> Result<Answer, Problem> {
    let envelope = Envelope {
        trace,
        ..envelope(api, text)?
    };
    let published = api.cluster.publish(envelope).await.map_err(Problem::of_bus)?;
    let Published {
        offset,
        nodes,
        sockets,
        complete,
        repeated,
    } = published;
    Ok(Answer {
        offset,
        nodes,
        sockets,
        complete,
        repeated,
    })
}

pub(super) fn about_one() -> About {
    About::new("publish", "Publish an event")
        .text("Answers when every node with members of the rooms has said how many sockets it reached, after a second at the latest.")
        .body::<EnvelopeShape>(r#"{"room":"user:42","event":"phone_status_changed","data":{"isActive":true}}"#)
        .answer(example())
        .codes(&code::ENVELOPE)
        .code(&code::BUS_TIMEOUT)
        .code(&code::BUS_UNAVAILABLE)
}

pub(super) fn about_batch() -> About {
    let reserved = EnvelopeError::BadEvent(NameError::Reserved);
    About::new("publishBatch", "Publish many events")
        .text(
            "One result for each item, in their order. Publications to one room arrive in the order of the items, \
             and a bad item does not stop the others.",
        )
        .body::<Batch<'_>>(r#"{"items":[{"room":"user:42","event":"news","data":1},{"room":"user:43","event":"disconnect"}]}"#)
        .answer(Results {
            results: vec![
                Outcome::Published(example()),
                Outcome::Problem(Problem::of_envelope(&reserved).document()),
            ],
        })
        .code(&code::TOO_LARGE)
        .code(&code::BAD_BATCH)
        .code(&code::TOO_MANY_ITEMS)
}

fn example() -> Answer {
    Answer {
        offset: Some("1785000000123456".to_owned()),
        nodes: 2,
        sockets: 5,
        complete: true,
        repeated: false,
    }
}
