//! Where key sets come from: over HTTP, or from a script in tests.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::Full;

use super::{jwks::MAX_BYTES, provider::FetchOutcome};
use crate::http_client::{HttpClient, HttpError};

/// An answer: the text of a key set, as its sender says.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) text: Bytes,
    /// How long the sender says that it holds.
    pub(super) max_age: Option<Duration>,
}

/// There is no such answer, and why in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missed(pub(super) FetchOutcome, pub(super) String);

/// Who can be asked for key sets.
pub(super) trait Source: Sync {
    /// Asks once, and gives up after `patience`. Dropping the future ends it.
    fn fetch(&self, url: &Uri, patience: Duration) -> impl Future<Output = Result<Fetched, Missed>> + Send;
}

/// The identity providers themselves. The pool of connections is made when it is needed for the first time.
#[derive(Debug, Default)]
pub(super) struct Web(OnceLock<HttpClient>);

impl Source for Web {
    async fn fetch(&self, url: &Uri, patience: Duration) -> Result<Fetched, Missed> {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(
                header::USER_AGENT,
                concat!("roomcast/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::default());
        let request = request.map_err(|error| unreachable(&error))?;
        let answer = self.client()?.send(request, patience, MAX_BYTES).await;
        let answer = answer.map_err(|error| {
            let outcome = match error {
                HttpError::Unreachable(_) => FetchOutcome::Unreachable,
                HttpError::Timeout => FetchOutcome::Timeout,
                HttpError::Broken(_) | HttpError::TooLong(_) => FetchOutcome::BadAnswer,
            };
            Missed(outcome, error.to_string())
        })?;
        if answer.status() != StatusCode::OK {
            let why = format!("answered with status {}", answer.status().as_u16());
            return Err(Missed(FetchOutcome::BadAnswer, why));
        }
        Ok(Fetched {
            max_age: max_age(answer.headers()),
            text: answer.into_body(),
        })
    }
}

impl Web {
    fn client(&self) -> Result<&HttpClient, Missed> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = HttpClient::new().map_err(|error| unreachable(&error))?;
        Ok(self.0.get_or_init(|| client))
    }
}

fn unreachable(error: &dyn std::error::Error) -> Missed {
    Missed(FetchOutcome::Unreachable, error.to_string())
}

/// The `max-age` of `Cache-Control`.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let mut directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','));
    directives.find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let is_age = name.trim().eq_ignore_ascii_case("max-age");
        let seconds = value.trim().trim_matches('"').parse().ok();
        seconds.filter(|_| is_age).map(Duration::from_secs)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_age_that_an_answer_asks_for() {
        for (value, expect) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age = 21600, must-revalidate", Some(21_600)),
            ("private,max-age=\"60\"", Some(60)),
            ("s-maxage=60", None),
            ("no-store", None),
            ("max-age=soon", None),
            ("max-age=-1", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
            assert_eq!(max_age(&headers), expect.map(Duration::from_secs), "{value}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
