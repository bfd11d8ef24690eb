//! Asking clients: an event whose acknowledgements come back.

use std::{fmt, time::Duration};

use adapter_redis::Requested;
use axum::{
    Json,
    extract::{Request, State},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::{Api, Problem, body, code, document::About, envelope::RequestShape, publish};

/// How long acknowledgements are waited for when the request does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a request may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Fields of envelopes that a request does not have: it is never repeated silently, is no state of a room, and its
/// sockets are counted by their answers.
const NOT_FOR_REQUESTS: [&str; 3] = ["id", "retain", "count"];

/// What the sockets answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Requested)]
pub(super) struct Answer {
    /// For each socket that answered in time, the list of its acknowledgement's arguments, as the client sent it. In no
    /// order.
    #[schema(value_type = Vec<Vec<Value>>)]
    acks: Vec<Box<RawValue>>,
    /// How many sockets were reached and did not answer in time.
    missing: u64,
    /// Whether every node that got the event answered; false also when the bus is away.
    complete: bool,
}

/// `POST /api/v1/request`: an envelope, and how long its acknowledgements are waited for.
pub(super) async fn request(State(api): State<Api>, request: Request) -> Result<Json<Answer>, Problem> {
    let body = body::read(request, api.limits.max_event_bytes).await?;
    let Ok(parts) = serde_json::from_slice::<Parts<'_>>(&body) else {
        // Not an object, or not JSON: nobody says it better than the envelope.
        publish::envelope(&api, &body)?;
        return Err(Problem::new(
            &code::BAD_TIMEOUT,
            "`timeout` cannot be told from the envelope",
        ));
    };
    let envelope = publish::envelope(&api, parts.envelope.as_bytes())?;
    if let Some(field) = parts.not_for_requests {
        let detail = format!("`{field}` means nothing for a request: remove it");
        return Err(Problem::new(&code::NOT_FOR_REQUESTS, detail));
    }
    let timeout = match parts.timeouts.as_slice() {
        [] => DEFAULT_TIMEOUT,
        [timeout] => duration(timeout)?,
        _ => {
            return Err(Problem::new(
                &code::BAD_TIMEOUT,
                "`timeout` is there more than once: keep one",
            ));
        }
    };
    let requested = api
        .cluster
        .request(envelope, timeout)
        .await
        .map_err(Problem::of_bus)?;
    Ok(Json(Answer::from(requested)))
}

impl From<Requested> for Answer {
    /// Acknowledgements pass as they are. One that is no JSON is a defect of the node that sent it, and counts as none.
    fn from(requested: Requested) -> Answer {
        let sent = requested.acks.len();
        let acks: Vec<_> = requested
            .acks
            .into_iter()
            .filter_map(|ack| RawValue::from_string(ack).ok())
            .collect();
        let broken = sent.saturating_sub(acks.len());
        if broken > 0 {
            tracing::warn!(ack.count = broken, "acknowledgements that are not JSON");
        }
        Answer {
            missing: requested.missing.saturating_add(broken as u64),
            complete: requested.complete,
            acks,
        }
    }
}

/// A request's body, taken apart without looking into what is not its own.
struct Parts<'a> {
    /// The body without `timeout`; keys and values are the text that came.
    envelope: String,
    timeouts: Vec<&'a RawValue>,
    not_for_requests: Option<&'static str>,
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut parts = Parts {
            envelope: "{".to_owned(),
            timeouts: Vec::new(),
            not_for_requests: None,
        };
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let name: String = serde_json::from_str(key.get()).map_err(A::Error::custom)?;
            if name == "timeout" {
                parts.timeouts.push(value);
                continue;
            }
            let refused = NOT_FOR_REQUESTS.into_iter().find(|field| *field == name);
            parts.not_for_requests = parts.not_for_requests.or(refused);
            if parts.envelope.len() > 1 {
                parts.envelope.push(',');
            }
            parts.envelope.push_str(key.get());
            parts.envelope.push(':');
            parts.envelope.push_str(value.get());
        }
        parts.envelope.push('}');
        Ok(parts)
    }
}

fn duration(timeout: &RawValue) -> Result<Duration, Problem> {
    let parsed = match serde_json::from_str(timeout.get()) {
        Ok(Value::String(text)) => humantime::parse_duration(text.trim()).ok(),
        Ok(Value::Number(number)) => number.as_u64().map(Duration::from_millis),
        _ => None,
    };
    parsed
        .filter(|timeout| !timeout.is_zero() && *timeout <= MAX_TIMEOUT)
        .ok_or_else(|| {
            Problem::new(
                &code::BAD_TIMEOUT,
                "`timeout` must be a duration such as \"500ms\" or \"5s\", or a number of milliseconds; more than \
                 nothing and at most 60 seconds",
            )
        })
}

pub(super) fn about() -> About {
    let ack = |text: &str| RawValue::from_string(text.to_owned()).ok();
    About::new("request", "Ask clients")
        .text(
            "Publishes an event and answers with what the sockets that it reached acknowledge within `timeout`. A \
             socket that does not acknowledge is waited for until then.",
        )
        .body::<RequestShape>(r#"{"room":"user:42","event":"are-you-there","data":{"n":1},"timeout":"5s"}"#)
        .answer(Answer {
            acks: [ack(r#"[{"here":true}]"#), ack("[]")].into_iter().flatten().collect(),
            missing: 1,
            complete: true,
        })
        .codes(&code::ENVELOPE)
        .code(&code::NOT_FOR_REQUESTS)
        .code(&code::BAD_TIMEOUT)
        .code(&code::BUS_TIMEOUT)
        .code(&code::BUS_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_timeout_is_taken_out_and_the_rest_stays_as_it_came() {
        for (body, envelope, timeouts) in [
            ("{}", "{}", vec![]),
            (r#"{"timeout":1}"#, "{}", vec!["1"]),
            (
                r#" { "room" : "a" , "timeout" : "5s" , "data" : { "b": 1.0,  "a": 12345678901234567890123 } } "#,
                r#"{"room":"a","data":{ "b": 1.0,  "a": 12345678901234567890123 }}"#,
                vec!["\"5s\""],
            ),
            (
                r#"{"t\u0069meout":{"timeout":2},"ev\u0065nt":"e\u0000","x":1,"x":2,"timeout":null}"#,
                r#"{"ev\u0065nt":"e\u0000","x":1,"x":2}"#,
                vec![r#"{"timeout":2}"#, "null"],
            ),
        ] {
            let parts: Parts<'_> = serde_json::from_str(body).unwrap();
            assert_eq!(parts.envelope, envelope, "{body}");
            let got: Vec<_> = parts.timeouts.iter().map(|t| t.get()).collect();
            assert_eq!(got, timeouts, "{body}");
        }
        for body in ["", "[]", "{", "{\"a\":}", "1", "{} {}"] {
            assert!(serde_json::from_str::<Parts<'_>>(body).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_fields_are_called_and_hold(
            fields in proptest::collection::vec((any::<String>(), any::<String>(), any::<bool>()), 0..8)
        ) {
            let text = |text: &str| Value::from(text).to_string();
            let (mut body, mut rest, mut taken) = (Vec::new(), Vec::new(), 0);
            for (name, value, is_timeout) in &fields {
                let name = if *is_timeout { "timeout" } else { name };
                let field = format!("{}:[{} , 1.0]", text(name), text(value));
                body.push(field.clone());
                match name {
                    "timeout" => taken += 1,
                    _ => rest.push(field),
                }
            }
            let body = format!("{{{}}}", body.join(","));
            let parts: Parts<'_> = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(parts.envelope, format!("{{{}}}", rest.join(",")));
            prop_assert_eq!(parts.timeouts.len(), taken);
        }
    }

    #[test]
    fn timeouts() {
        for (text, expect) in [
            ("\"5s\"", Some(5_000)),
            ("\"250ms\"", Some(250)),
            ("\"1m\"", Some(60_000)),
            ("1500", Some(1_500)),
            ("60000", Some(60_000)),
            ("60001", None),
            ("\"61s\"", None),
            ("0", None),
            ("\"0s\"", None),
            ("-1", None),
            ("1.5", None),
            ("\"5\"", None),
            ("\"soon\"", None),
            ("true", None),
            ("null", None),
            ("[1]", None),
        ] {
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            let got = duration(&raw).ok().map(|d| d.as_millis());
            assert_eq!(got, expect, "{text}");
        }
    }

    #[test]
    fn acknowledgements_pass_as_they_are() {
        let answer = Answer::from(Requested {
            acks: vec![
                "[ 1.0, {\"b\":1, \"a\":2}]".to_owned(),
                "nonsense".to_owned(),
                "[]".to_owned(),
            ],
            missing: 2,
            complete: true,
        });
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"acks":[[ 1.0, {"b":1, "a":2}],[]],"missing":3,"complete":true}"#
        );
    }
}
