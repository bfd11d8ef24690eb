//! `GET /api/v1/tail`: what passes this node, as lines of JSON.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;

use super::{Api, ApiKeys, Problem, Scope, code, document::About};
use crate::tail::{Filter, MAX_TAILS, Opened};

/// Lines of JSON: every reader of text can follow them, with or without a library for it.
const LINES: &str = "application/x-ndjson";

/// How often a line is sent to who looks, though nothing passes. What is not read ends the connection.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Somebody who looks, and the key that lets them.
struct Looking {
    opened: Opened,
    keys: ApiKeys,
    headers: HeaderMap,
    needed: Scope,
    due: Instant,
    is_over: bool,
}

/// `GET /api/v1/tail`. Payloads need a key that opens everything.
pub(super) async fn tail(
    State(api): State<Api>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (filter, with_data) = Filter::read(query.as_deref().unwrap_or_default())
        .map_err(|detail| Problem::new(&code::BAD_FILTER, detail))?;
    let needed = if with_data { Scope::Admin } else { Scope::Read };
    if !may_look(&api.keys, &headers, needed) {
        let detail = "`data=true` shows what events carry, and needs a key of scope `admin`, one of api.keys";
        return Err(Problem::new(&code::FORBIDDEN, detail));
    }
    let opened = api.tails.open(filter, with_data).ok_or_else(|| {
        let detail =
            format!("{MAX_TAILS} look at this node already, or it is being stopped: end one of them");
        Problem::new(&code::TOO_MANY_TAILS, detail)
    })?;
    let beginning = opened.beginning();
    let looking = Looking {
        opened,
        keys: api.keys,
        headers,
        needed,
        due: Instant::now() + HEARTBEAT,
        is_over: false,
    };
    let lines = stream::unfold((Some(beginning), looking), |(first, mut looking)| async move {
        let lines = match first {
            Some(first) => first,
            None => looking.next().await?,
        };
        Some((Ok::<_, std::convert::Infallible>(lines), (None, looking)))
    });
    let headers = [(CONTENT_TYPE, LINES), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn may_look(keys: &ApiKeys, headers: &HeaderMap, needed: Scope) -> bool {
    keys.scope(headers).is_some_and(|scope| scope.opens(needed))
}

impl Looking {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        loop {
            if self.due <= Instant::now() {
                self.due = Instant::now() + HEARTBEAT;
                // Keys may be taken away while somebody looks.
                if !may_look(&self.keys, &self.headers, self.needed) {
                    self.is_over = true;
                    return Some(self.opened.end("key_removed"));
                }
                return Some(self.opened.heartbeat());
            }
            let lines = self.opened.take();
            if self.opened.is_stopping() {
                self.is_over = true;
                let lines = lines.unwrap_or_default();
                return Some([lines, self.opened.end("node_stopping")].concat().into());
            }
            if lines.is_some() {
                return lines;
            }
            tokio::select! {
                () = self.opened.more() => {}
                () = sleep_until(self.due) => {}
                () = self.opened.stopping() => {}
            }
        }
    }
}

/// One line, of those of a publication. Which fields there are depends on `kind`.
#[derive(Serialize, ToSchema)]
#[schema(as = TailLine)]
struct Line {
    /// When it happened, by the clock of the node (RFC 3339).
    at: &'static str,
    /// The node that says so.
    node: &'static str,
    /// `publish`, `delivery`, `relay`, `forward`, `forwarded`, `reply`, `subscribe`, `leave`, `refusal`, `connect`,
    /// `disconnect`, `drop`, `gap`; of the stream itself `begin`, `heartbeat`, `missed`, `end`.
    kind: &'static str,
    /// By which way it came.
    source: &'static str,
    /// The node that published it.
    from: &'static str,
    /// What the lines of one publication have in common, on all nodes.
    publication: &'static str,
    /// The rooms that it is about.
    rooms: Vec<&'static str>,
    /// The event's name.
    event: &'static str,
    /// For how many sockets of this node it was queued.
    sockets: u64,
    /// From its entry into the cluster until it was taken up here, in milliseconds.
    since_entry_ms: f64,
    /// From its place in the bus until it was taken up here, in milliseconds.
    since_bus_ms: f64,
    /// From there until it was in the sockets' queues, in milliseconds.
    took_ms: f64,
}

pub(super) fn about() -> About {
    About::new("tail", "See what passes this node")
        .text(
            "A stream of JSON objects, one a line, that ends when the node does, or whoever asks. It shows what this node \
             sees: what it publishes, what it delivers, and what its own clients do. With `data=true`, which needs a key \
             of scope `admin`, lines hold payloads.",
        )
        .text_in_query("room", "A room, or the beginning of rooms with a `*` behind it; up to 16 of them.", "user:*")
        .text_in_query("event", "An event, or the beginning of events with a `*` behind it.", "phone_*")
        .text_in_query("user", "What this user does, and what reaches it on this node.", "42")
        .text_in_query("session", "What this socket does, and what reaches it.", "kDOZ1Wm3mYJPBwT1AAAB")
        .text_in_query("data", "`true` shows payloads.", "true")
        .lines(Line {
            at: "2026-07-25T12:00:00.124518Z",
            node: "Jc2vYcVf4cS1bT0w",
            kind: "delivery",
            source: "node",
            from: "q0Zk7tq1Y8s0aXhE",
            publication: "1785000000123456",
            rooms: vec!["user:42"],
            event: "phone_status_changed",
            sockets: 2,
            since_entry_ms: 2.518,
            since_bus_ms: 1.062,
            took_ms: 0.044,
        })
        .code(&code::BAD_FILTER)
        .code(&code::TOO_MANY_TAILS)
}
