//! One HTTP request to the operations listener of a node, plain or by TLS.

use std::{net::SocketAddr, time::Duration};

use ::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::Failure;
use crate::{
    config::Config,
    http_client::{self, HttpClient, HttpError},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that is longer comes from no node.
const MOST: usize = 16 << 20;

/// Where the operations listener is, by its configuration.
pub(super) fn operations_url(config: &Config) -> String {
    url_of(config.tls.operations.is_some(), config.admin.listen)
}

/// The URL of a listener.
pub(super) fn url_of(by_tls: bool, listen: SocketAddr) -> String {
    let scheme = if by_tls { "https" } else { "http" };
    format!("{scheme}://{listen}")
}

/// Sends a request and reads the JSON answer.
pub(super) async fn call(
    method: Method,
    base: &str,
    path: &str,
    key: Option<&str>,
    body: String,
) -> Result<(StatusCode, Value), Failure> {
    let (request, host) = request(method, base, path, key, body)?;
    let (status, answer) = send(request, &host).await?;
    Ok((status, value(status, &host, &answer)?))
}

/// Asks for what needs no key, and reads the answer as it is.
pub(super) async fn ask(base: &str, path: &str) -> Result<(StatusCode, Bytes), Failure> {
    let (request, host) = request(Method::GET, base, path, None, String::new())?;
    send(request, &host).await
}

async fn send(request: Request<Full<Bytes>>, host: &str) -> Result<(StatusCode, Bytes), Failure> {
    let client = HttpClient::new().map_err(Failure::unavailable)?;
    let response = client.send(request, PATIENCE, MOST).await;
    let response = response.map_err(|error| away(host, &error))?;
    Ok((response.status(), response.into_body()))
}

/// Asks for what is sent as it comes; the inner error: not now, but maybe later.
pub(super) async fn open(
    client: &HttpClient,
    base: &str,
    path: &str,
    key: &str,
) -> Result<Result<Incoming, Failure>, Failure> {
    let (request, host) = request(Method::GET, base, path, Some(key), String::new())?;
    let response = match client.open(request, PATIENCE).await {
        Ok(response) => response,
        Err(error) => return Ok(Err(away(&host, &error))),
    };
    let status = response.status();
    if status.is_success() {
        return Ok(Ok(response.into_body()));
    }
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let body = body.map_or_else(|_| Bytes::new(), Collected::to_bytes);
    let answer = value(status, &host, &body)?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let refused = format!("{host} refused ({status}): {}: {}", text("code"), text("detail"));
    if status.is_server_error() {
        return Ok(Err(Failure::unavailable(refused)));
    }
    Err(Failure::usage(refused))
}

fn request(
    method: Method,
    base: &str,
    path: &str,
    key: Option<&str>,
    body: String,
) -> Result<(Request<Full<Bytes>>, String), Failure> {
    let url = http_client::url(&format!("{}{path}", base.trim_end_matches('/'))).map_err(|_| {
        Failure::usage(
            "--url: not a URL such as http://127.0.0.1:3001 or https://node.example:3001, without a user or password in it",
        )
    })?;
    let host = url.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Failure::usage("the API key holds characters that no header can carry"))?;
    Ok((request, host))
}

fn away(host: &str, error: &HttpError) -> Failure {
    let error = error.to_string();
    let hint = if error.contains("certificate") {
        "; the certificates to trust are the system's, or those in the file that SSL_CERT_FILE names, and the URL \
         needs a name that the node's certificate is for"
    } else {
        ""
    };
    Failure::unavailable(format!(
        "no answer from the node's operations listener at {host}: {error}{hint}"
    ))
}

fn value(status: StatusCode, host: &str, body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| Failure::unavailable(format!("{host} does not answer like a Roomcast node ({status})")))
}
