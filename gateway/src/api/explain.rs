//! Asking why: what the policy in force decides for a client, and on what grounds.

use std::{collections::BTreeMap, time::SystemTime};

use axum::{
    Json,
    extract::{Request, State},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Api, Problem, body, code, document::About};
use crate::{
    auth::Claims,
    policy::Asked,
    rules::{Asker, Explained},
};

/// What is to be explained. Exactly one of `token` and `claims` says who asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    /// The client's token. It is verified, and stands in no answer and no log.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// The claims of a token; nothing is verified.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, value_type = Option<Object>)]
    claims: Option<Map<String, Value>>,
    /// The event that the client sends; without it the connection itself is explained.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    event: Option<String>,
    /// The event's first argument, as a text.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    arg: Option<String>,
    /// The event's first argument, as it is.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Value>)]
    data: Option<Value>,
    /// The query of the handshake, for rules on connect.
    #[serde(default)]
    query: BTreeMap<String, String>,
}

/// A decision, and the way to it: [`Explained`] as the document describes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
struct ExplanationShape {
    /// Whether the claims are those of a token that was verified.
    verified: bool,
    /// `allowed` or `refused`.
    verdict: String,
    /// What that means or why, in words.
    message: String,
    /// The stable code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<String>,
    /// The user that the claims give.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
    /// The tenant that the claims give.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tenant: Option<String>,
    /// The event, unless it is about the connection itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event: Option<String>,
    /// The rule that decided, such as `subscribe[1]`: the first `[[subscribe]]` of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rule: Option<String>,
    /// The rooms that it is about: those on connect, or the one of the event.
    rooms: Vec<String>,
    /// The event that goes out, `event` and `data`: to the others in the room, or back to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    emit: Option<Value>,
    /// What the rule answers to a client that asks for an ack.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    ack: Option<Value>,
    /// Everything that was looked at, in order: `rule`, `key`, `source`, `outcome` (`value` or `failed`), `looked_at`.
    #[schema(value_type = Vec<Object>)]
    steps: Vec<Value>,
    /// What the shadow policy would decide, where there is one: as above, but for `verified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    shadow: Option<Value>,
}

/// `POST /api/v1/explain`
pub(super) async fn explain(State(api): State<Api>, request: Request) -> Result<Json<Explained>, Problem> {
    let body = body::read(request, api.limits.max_event_bytes).await?;
    let question: Explain = body::object(&body).map_err(|error| bad(&error))?;
    let now = SystemTime::now();
    let (query, argument) = (question.query(), question.argument()?);
    let asked = Asked {
        query: &query,
        event: question.event.as_deref().map(|event| (event, &argument)),
    };
    let asker = match (question.token, question.claims) {
        (Some(token), None) => Asker::Token(api.sessions.verify(&token, now).await),
        (None, Some(claims)) => Asker::Claims(Claims::unverified(claims.into(), 0)),
        _ => return Err(bad("set exactly one of `token` and `claims`")),
    };
    Ok(Json(api.sessions.rules().explain(&asker, asked, now)))
}

impl Explain {
    fn query(&self) -> Value {
        let pairs = self.query.iter();
        Value::Object(
            pairs
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
        )
    }

    fn argument(&self) -> Result<Value, Problem> {
        match (&self.event, &self.arg, &self.data) {
            (_, Some(_), Some(_)) => Err(bad("set `arg` for a text or `data` for anything else, not both")),
            (None, Some(_), _) | (None, _, Some(_)) => {
                Err(bad("`arg` and `data` belong to an event: set `event`"))
            }
            (_, Some(arg), None) => Ok(arg.as_str().into()),
            (_, None, data) => Ok(data.clone().unwrap_or_default()),
        }
    }
}

fn bad(detail: &str) -> Problem {
    Problem::new(&code::BAD_QUESTION, detail)
}

/// `null` is not the same as leaving a field out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub(super) fn about() -> About {
    About::new("explain", "Why a client may or may not do something")
        .text(
            "Decides like the policy in force does for a client, and says by which rule and on which claims. Nothing \
             happens and nothing is counted. A token that is refused is an answer, too.",
        )
        .body::<Explain>(r#"{"claims":{"sub":"42","contacts":["7"]},"event":"subscribe:contact","arg":"8"}"#)
        .answer(example())
        .code(&code::BAD_QUESTION)
        .code(&code::TOO_LARGE)
}

fn example() -> ExplanationShape {
    ExplanationShape {
        verified: false,
        verdict: "refused".to_owned(),
        message: "`allow` of subscribe[3] is false".to_owned(),
        code: Some("not_allowed".to_owned()),
        user: Some("42".to_owned()),
        tenant: None,
        event: Some("subscribe:contact".to_owned()),
        rule: Some("subscribe[3]".to_owned()),
        rooms: Vec::new(),
        emit: None,
        ack: None,
        steps: vec![
            json!({
                "rule": "subscribe[3]", "key": "room", "source": "contact:{arg}",
                "outcome": {"value": "contact:8"}, "looked_at": {"arg": "8"},
            }),
            json!({
                "rule": "subscribe[3]", "key": "allow", "source": "arg in claims.contacts || '*' in claims.contacts",
                "outcome": {"value": false}, "looked_at": {"arg": "8", "claims.contacts": ["7"]},
            }),
        ],
        shadow: None,
    }
}
