//! Nodes in this process, tokens for them, and waiting for conditions.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adapter_redis::{LocalSockets, MemoryHub};
use futures_util::stream;
use gateway::{
    app::{App, AppError, Extras},
    config::Config,
    reload::{Reload, Source},
    settings::{Layers, MapEnv},
    telemetry::LogLevel,
};
use jsonwebtoken::{EncodingKey, Header};
use loadtest::{Client, Connect};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

pub const SECRET: &str = "a-secret-of-more-than-32-bytes-for-tests";
pub const API_KEY: &str = "test-key";
const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration from environment variables alone, as a container would have it.
pub fn config(extra: &[(&str, &str)]) -> Config {
    Config::from_layers(config_layers(extra)).expect("a valid configuration")
}

/// As [`config`], not yet read.
pub fn config_layers(extra: &[(&str, &str)]) -> Layers {
    let mut env = BTreeMap::new();
    for (name, value) in [
        ("LISTEN", "127.0.0.1:0"),
        ("OPS__LISTEN", "127.0.0.1:0"),
        ("AUTH__JWT__HMAC_SECRET", SECRET),
        ("POLICY", "builtin:whatsapp-crm"),
        ("API__KEYS", API_KEY),
        ("DRAIN__WAIT", "0s"),
    ]
    .iter()
    .chain(extra)
    {
        env.insert(format!("ROOMCAST__{name}"), (*value).to_owned());
    }
    Layers::load(None, &MapEnv(env), &[])
}

/// A running node.
pub struct Node {
    pub address: SocketAddr,
    pub operations: SocketAddr,
    /// Its sockets, as the cluster sees them.
    pub local: Arc<dyn LocalSockets>,
    stop: mpsc::UnboundedSender<()>,
    running: JoinHandle<Result<(), AppError>>,
}

impl Node {
    pub fn start(hub: &MemoryHub) -> Node {
        Node::start_with(hub, &[])
    }

    pub fn start_with(hub: &MemoryHub, extra: &[(&str, &str)]) -> Node {
        Node::run(App::build_on(config(extra), Extras::default(), hub).expect("the node starts"))
    }

    /// A node that can reload from the same source.
    pub fn start_from(hub: &MemoryHub, load: impl Fn() -> Layers + Send + Sync + 'static) -> (Node, Reload) {
        let config = Config::from_layers(load()).expect("a valid configuration");
        let mut app = App::build_on(config, Extras::default(), hub).expect("the node starts");
        let reload = app.reload_from(Source::new(load), LogLevel::default());
        (Node::run(app), reload)
    }

    fn run(app: App) -> Node {
        let (stop, mut asked) = mpsc::unbounded_channel::<()>();
        let (address, operations) = (app.public_address().unwrap(), app.operations_address().unwrap());
        let local = app.local();
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept, and aborted on drop"
        )]
        let running = tokio::spawn(app.run(stream::poll_fn(move |cx| asked.poll_recv(cx))));
        Node {
            address,
            operations,
            local,
            stop,
            running,
        }
    }

    pub async fn connect(&self, claims: Value) -> Client {
        self.connecting(&token(claims)).open().await.expect("connects")
    }

    pub fn connecting(&self, token: &str) -> Connect {
        Connect::to(self.address.to_string()).token(token)
    }

    pub async fn publish(&self, envelope: Value) -> (u16, Value) {
        self.call("POST", "/api/v1/publish", Some(API_KEY), &envelope.to_string())
            .await
    }

    pub async fn stats(&self) -> Value {
        self.call("GET", "/stats", None, "").await.1
    }

    pub async fn metric(&self, line_start: &str) -> f64 {
        let (_, text) = http(self.operations, "GET", "/metrics", &[], "").await;
        let line = text.lines().find(|l| l.starts_with(line_start));
        line.and_then(|l| l.rsplit(' ').next())
            .map_or(f64::NAN, |v| v.parse().unwrap())
    }

    pub async fn call(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
        let authorization = key.map(|k| format!("authorization: Bearer {k}"));
        let (status, text) = http(
            self.operations,
            method,
            path,
            &authorization.iter().map(String::as_str).collect::<Vec<_>>(),
            body,
        )
        .await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Begins to stop; once more, and it hurries.
    pub fn ask_to_stop(&self) {
        let _ = self.stop.send(());
    }

    /// Begins to stop, and hands out the end.
    pub fn stop(self) -> JoinHandle<Result<(), AppError>> {
        self.ask_to_stop();
        self.ending()
    }

    /// The end of one that was asked to stop.
    pub fn ending(mut self) -> JoinHandle<Result<(), AppError>> {
        std::mem::replace(&mut self.running, finished())
    }
}

#[allow(clippy::disallowed_methods, reason = "ends at once")]
fn finished() -> JoinHandle<Result<(), AppError>> {
    tokio::spawn(async { Ok(()) })
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A token with these claims, valid for a minute unless they say otherwise.
pub fn token(claims: Value) -> String {
    token_by(SECRET, claims)
}

/// As [`token`], with another secret.
pub fn token_by(secret: &str, mut claims: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now + 60);
    }
    jsonwebtoken::encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

/// Waits until the condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

/// One plain HTTP exchange: status and body.
pub async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> (u16, String) {
    let (status, _, body) = http_full(address, method, path, headers, body).await;
    (status, body)
}

/// As [`http`], with the head of the answer in the middle.
pub async fn http_full(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> (u16, String, String) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time")
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    (status, head.to_owned(), body.to_owned())
}

/// What a publication reached, without its place among the others, which differs each time.
pub(crate) fn reached(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let offset = answer.as_object_mut().unwrap().remove("offset");
    assert!(
        offset.is_some_and(|offset| offset.is_string()),
        "every publication has its place"
    );
    answer
}
