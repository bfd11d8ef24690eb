//! Publishing through the HTTP API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    urls: Arc<[String]>,
    key: Arc<str>,
}

/// Why there is nothing to publish through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyRefused {
    /// Nobody answers there.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// The key is wrong, or may not publish.
    #[error("{0} refuses the API key")]
    Refused(String),
}

impl Api {
    pub(crate) fn new(http: reqwest::Client, urls: &[String], key: &str) -> Self {
        Self {
            http,
            urls: urls.into(),
            key: key.into(),
        }
    }

    /// Is there an API that takes the key? Nothing is published: an empty batch is enough to ask.
    pub(crate) async fn check(&self) -> Result<(), KeyRefused> {
        for url in self.urls.iter() {
            let request = self.http.post(format!("{url}/api/v1/publish/batch"));
            let request = request
                .header("content-type", "application/json")
                .body(r#"{"items":[]}"#);
            let answer = request.bearer_auth(&self.key).timeout(PATIENCE).send().await;
            match answer.map(|answer| answer.status().as_u16()) {
                Err(_) => return Err(KeyRefused::Unreachable(url.clone())),
                Ok(401 | 403) => return Err(KeyRefused::Refused(url.clone())),
                Ok(404) => return Err(KeyRefused::Unreachable(format!("the API below {url}"))),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn publish(&self, n: usize, envelope: String) -> Result<(), String> {
        let chosen = n
            .checked_rem(self.urls.len())
            .and_then(|index| self.urls.get(index));
        let url = chosen.ok_or("there is no API to publish through")?;
        let request = self.http.post(format!("{url}/api/v1/publish"));
        let request = request.header("content-type", "application/json").body(envelope);
        let answer = request.bearer_auth(&self.key).timeout(PATIENCE).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("HTTP status {}", answer.status().as_u16())),
            Err(error) if error.is_timeout() => Err("timeout".to_owned()),
            Err(error) if error.is_connect() => Err("the TCP connection failed".to_owned()),
            Err(_) => Err("the HTTP connection broke".to_owned()),
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Api")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}
