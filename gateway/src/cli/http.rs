//! One HTTP request to the operations listener of a node. Plain HTTP: that listener is for the inside.

use std::time::Duration;

use ::http::{Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::Failure;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a request and reads the JSON answer.
pub(super) async fn call(
    method: Method,
    base: &str,
    path: &str,
    key: Option<&str>,
    body: String,
) -> Result<(StatusCode, Value), Failure> {
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let uri: Uri = url
        .parse()
        .map_err(|_| Failure::usage(format!("{base:?} is not a URL such as http://127.0.0.1:3001")))?;
    if uri.scheme_str() != Some("http") {
        return Err(Failure::usage(format!(
            "{base:?}: the operations listener speaks http://"
        )));
    }
    let host = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let address = if uri.port().is_some() {
        host.clone()
    } else {
        format!("{host}:80")
    };
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::unavailable(format!(
            "no answer from the node's operations listener at {host}: {error}"
        ))
    };
    let exchange = async {
        let stream = TcpStream::connect(&address).await.map_err(|e| unreachable(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreachable(&e))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri.path())
            .header(header::HOST, &host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Failure::usage("the API key holds characters that no header can carry"))?;
        let answer = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, bytes))
        };
        // The connection moves the bytes; it ends when the answer is there and the sender is gone.
        let (_, answer) = tokio::join!(connection, answer);
        let (status, bytes) = answer.map_err(|e| unreachable(&e))?;
        let value = serde_json::from_slice(&bytes).map_err(|_| {
            Failure::unavailable(format!("{host} does not answer like a Roomcast node ({status})"))
        })?;
        Ok((status, value))
    };
    timeout(PATIENCE, exchange)
        .await
        .map_err(|_| unreachable(&"it took too long"))?
}
