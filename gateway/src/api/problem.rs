//! Errors as `application/problem+json` (RFC 9457).

use adapter_redis::{EnvelopeError, PublishError};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use utoipa::ToSchema;

use super::code::{self, Code};

/// An error answer, with our stable `code`.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry: bool,
}

/// The document of an error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// Always `about:blank`: `code` says what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status of the answer, or the one that an item of a batch would have had on its own.
    status: u16,
    /// What is wrong; never changes its meaning.
    code: &'static str,
    /// What is wrong and how to mend it, for people.
    detail: String,
    /// Whether the same request may succeed the next time.
    retry: bool,
}

impl Problem {
    /// What is wrong, and in words that say how to mend it.
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Problem {
        Problem {
            status: code.status,
            code: code.name,
            detail: detail.into(),
            retry: code.retry,
        }
    }

    /// What is wrong with an envelope.
    pub(super) fn of_envelope(error: &EnvelopeError) -> Problem {
        Problem {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: error.reason(),
            detail: error.to_string(),
            retry: false,
        }
    }

    /// Why the bus did not take an event.
    pub(super) fn of_bus(error: PublishError) -> Problem {
        match error {
            PublishError::Timeout => Problem::new(
                &code::BUS_TIMEOUT,
                "Redis did not answer in time, so the outcome is unknown: repeat it with the same `id`, and it arrives once",
            ),
            PublishError::Refused(reason) => {
                tracing::error!(reason, "Redis refused a publication");
                Problem::new(&code::BUS_UNAVAILABLE, "Redis refused the publication")
            }
        }
    }

    /// The document, as it stands in an answer or among a batch's results.
    pub(super) fn document(self) -> Document {
        Document {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
            retry: self.retry,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, axum::Json(self.document())).into_response();
        response.headers_mut().insert(
            CONTENT_TYPE,
            http::HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}
