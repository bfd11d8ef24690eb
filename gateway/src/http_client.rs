//! Requests to other servers: identity providers and backends' webhooks. Every one of them has a deadline and a bound.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio::time::timeout;

/// How long a connection that nobody uses is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// A pool of connections to other servers. Clones are the same pool.
///
/// The certificates of `https://` are checked against those that the system trusts (or the files that the variables
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` name). Redirects are not followed: what was configured is what is asked.
/// A connection's own task belongs to the pool and ends with it.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pool: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Nothing was sent: there is no connection.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke before the answer was complete. Whether the request was handled is unknown.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No complete answer in time. Whether the request was handled is unknown.
    #[error("did not answer in time")]
    Timeout,
    /// The answer is longer than it may be.
    #[error("answered more than {0} bytes")]
    TooLong(usize),
}

impl HttpClient {
    /// A pool without connections.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub fn new() -> Result<HttpClient, rustls::Error> {
        let provider = aws_lc_rs::default_provider();
        let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
            Ok(builder) => builder,
            Err(error) => {
                // A container without certificates can still ask its neighbours by http://.
                tracing::warn!(%error, "the system trusts no certificates: nothing can be asked by https://");
                HttpsConnectorBuilder::new().with_tls_config(trusting_nobody()?)
            }
        };
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(builder.https_or_http().enable_http1().build());
        Ok(HttpClient { pool })
    }

    /// Sends a request and reads the answer, whatever its status, in `patience` altogether. `most` is how many bytes the
    /// answer's body may have.
    ///
    /// Dropping the future closes the connection; what was sent stays sent.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let answer = self.begin(request).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpError::TooLong(most)
                } else {
                    HttpError::Broken(innermost(&*error))
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(patience, exchange)
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    /// Sends a request and gives out the answer's body as it comes, whatever its status: its head has to be there in
    /// `patience`. How much is read, and how long that takes, is for the caller to bound.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn open(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, HttpError> {
        timeout(patience, self.begin(request))
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    async fn begin(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        self.pool.request(request).await.map_err(|error| {
            let why = innermost(&error);
            if error.is_connect() {
                HttpError::Unreachable(why)
            } else {
                HttpError::Broken(why)
            }
        })
    }
}

/// A URL that can be asked. What it may hold besides is nobody's business in a log, so it may hold no password.
///
/// # Errors
/// What is expected, as the end of a sentence.
pub fn url(text: &str) -> Result<Uri, &'static str> {
    const EXPECTED: &str = "a URL such as https://backend.example/roomcast, without a user or password in it";
    let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().map_or("", |a| a.as_str());
    if !is_http || authority.is_empty() || authority.contains('@') {
        return Err(EXPECTED);
    }
    Ok(uri)
}

fn trusting_nobody() -> Result<ClientConfig, rustls::Error> {
    let provider = aws_lc_rs::default_provider().into();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// The error at the bottom says what happened; those above it only where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Asks a server that answers with this text and then does nothing, or hangs up.
    async fn ask(answer: &'static str, hangs_up: bool, patience: Duration) -> Result<Bytes, HttpError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !hangs_up {
                let _ = stream.read(&mut [0; 1]).await;
            }
            drop(stream);
            std::future::pending::<()>().await;
        };
        let client = HttpClient::new().unwrap();
        let request = Request::get(format!("http://{address}/x"))
            .body(Full::default())
            .unwrap();
        tokio::select! {
            answer = client.send(request, patience, 10) => answer.map(Response::into_body),
            () = serve => unreachable!(),
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_is_complete_or_an_error() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
        assert_eq!(
            ask(whole, false, LONG).await,
            Ok(Bytes::from_static(b"0123456789"))
        );
        let longer = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890";
        assert_eq!(ask(longer, false, LONG).await, Err(HttpError::TooLong(10)));
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234";
        assert!(matches!(ask(half, true, LONG).await, Err(HttpError::Broken(_))));
        assert!(matches!(
            ask("rubbish\r\n\r\n", false, LONG).await,
            Err(HttpError::Broken(_))
        ));
    }

    #[tokio::test]
    async fn a_server_that_stalls_is_not_waited_for() {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234";
        for answer in ["", half] {
            let answered = ask(answer, false, Duration::from_millis(50)).await;
            assert_eq!(answered, Err(HttpError::Timeout));
        }
    }

    #[tokio::test]
    async fn nobody_there_means_nothing_was_sent() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let request = Request::get(format!("http://127.0.0.1:{port}/"))
            .body(Full::default())
            .unwrap();
        let answered = HttpClient::new().unwrap().send(request, LONG, 10).await;
        assert!(matches!(answered, Err(HttpError::Unreachable(_))), "{answered:?}");
    }

    #[test]
    fn urls() {
        assert!(url("https://idp.example/.well-known/jwks.json").is_ok());
        assert!(url("http://127.0.0.1:8080").is_ok());
        for bad in [
            "",
            "/path",
            "idp.example",
            "ftp://x/",
            "https://user:secret@x/",
            "http://",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
