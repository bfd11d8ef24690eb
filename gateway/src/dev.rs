//! `serve --dev`: no configuration, no Redis, loopback only, and a page that shows everything at work.
//!
//! The page holds a token and an API key, so it is only given to browsers that asked for it by a loopback name:
//! another site's name that was made to point here (DNS rebinding) gets nothing.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST},
};
use serde_json::{Map, Value, json};

use crate::{
    app::Extras,
    auth::{Claims, Keys, sign},
    config::Config,
    policy::{BUILTIN, Trail},
    settings::{Layers, Problems},
};

const INDEX: &str = include_str!("dev/index.html");
const STYLE: &str = include_str!("dev/style.css");
const PAGE: &str = include_str!("dev/page.js");
const CLIENT: &str = include_str!("dev/client.js");

/// The official client and its hash, as its makers publish both.
const CDN: &str = "https://cdn.socket.io/4.8.1/socket.io.min.js";
const CDN_INTEGRITY: &str = "sha384-mkQ3/7FUtcGyoppY6bz/PORYoGqOl7/aSUMn2ymDOJcapfS6PHqxhRTMh1RR0Q6+";

/// Long enough for a day at the keyboard.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' https://cdn.socket.io; style-src 'self'; \
    img-src 'self' data:; connect-src 'self' ws: wss: http://127.0.0.1:* http://localhost:*; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Why a development node cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The settings that are given have problems.
    #[error("the configuration has problems:\n{0}")]
    Settings(Problems),
    /// There are settings that `--dev` would weaken.
    #[error(
        "--dev makes up its own keys and policy, but {0} is configured; run without --dev, or without it"
    )]
    Weakened(String),
    /// An address that others can reach.
    #[error("--dev listens on the loopback only, and {0} is not on it; try 127.0.0.1:{port}", port = .0.port())]
    NotLoopback(SocketAddr),
    /// The bundle of the official client cannot be read.
    #[error("--client-bundle {0}: cannot be read: {1}")]
    Bundle(String, std::io::Error),
    /// Keys and tokens could not be made.
    #[error("cannot make up keys: {0}")]
    Keys(String),
}

/// What `--dev` made up, for the page and for the terminal.
pub struct Dev {
    listen: SocketAddr,
    operations: SocketAddr,
    token: String,
    made_up: MadeUp,
    page: Page,
    bundle: Option<String>,
}

/// Keys that end with the process.
#[derive(Clone)]
pub struct MadeUp {
    secret: String,
    api_key: String,
}

/// What the page is made of. Every load gets a token of its own: "reload the page" mends an expired one.
#[derive(Clone)]
struct Page {
    secret: String,
    claims: Map<String, Value>,
    data: Map<String, Value>,
}

impl Dev {
    /// Builds the configuration of a node that needs none.
    ///
    /// # Errors
    /// When a file or the environment holds settings that a development node would weaken, when an address is not
    /// on the loopback, or when the bundle cannot be read.
    pub fn prepare(mut layers: Layers, bundle: Option<&Path>) -> Result<(Config, Dev), DevError> {
        check(&layers)?;
        let made_up = MadeUp {
            secret: random()?,
            api_key: random()?,
        };
        made_up.set(&mut layers);
        let config = Config::from_layers(layers).map_err(DevError::Settings)?;
        let (listen, operations) = (config.node.listen, config.admin.listen);
        for address in [listen, operations] {
            if !address.ip().is_loopback() {
                return Err(DevError::NotLoopback(address));
            }
        }
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|e| DevError::Bundle(path.display().to_string(), e))
        };
        let bundle = bundle.map(read).transpose()?;
        let page = Page {
            secret: made_up.secret.clone(),
            claims: claims(),
            data: data(&config, &made_up.api_key, bundle.is_some()),
        };
        let token = page.token()?;
        Ok((
            config,
            Dev {
                listen,
                operations,
                token,
                made_up,
                page,
                bundle,
            },
        ))
    }

    /// What settings that are read again need, so that the same keys stay.
    pub fn made_up(&self) -> MadeUp {
        self.made_up.clone()
    }

    /// What a node needs to serve the page.
    pub fn extras(&self) -> Extras {
        let port = self.listen.port();
        Extras {
            pages: self.pages(),
            operations_origins: ["127.0.0.1", "localhost", "[::1]"]
                .map(|h| format!("http://{h}:{port}"))
                .into(),
        }
    }

    /// What is printed when the node is there.
    pub fn greeting(&self) -> String {
        let Dev {
            listen,
            operations,
            token,
            made_up: MadeUp { api_key, .. },
            ..
        } = self;
        let envelope = r#"{"room":"user:demo","event":"hello","data":{"text":"Hello from the terminal"}}"#;
        format!(
            "\nRoomcast {version}, development mode: no Redis, loopback only, keys that end with this process\n\n  \
               Page      http://{listen}/\n  \
               API       http://{operations}/api/v1\n  \
               Token     {token}\n  \
               API key   {api_key}\n  \
               Publish   curl -sS http://{operations}/api/v1/publish -H 'Authorization: Bearer {api_key}' \
               -H 'Content-Type: application/json' -d '{envelope}'\n  \
               or        roomcast publish --url http://{operations} --api-key {api_key} --room user:demo \
               --event hello --data '{{\"text\":\"Hello from the terminal\"}}'\n\n\
             Open the page, then paste the publish command into another terminal. Ctrl-C stops.\n",
            version = env!("CARGO_PKG_VERSION"),
        )
    }

    fn pages(&self) -> Router {
        let page = self.page.clone();
        let mut pages = Router::new()
            .route("/", get(async move || page.html()))
            .route(
                "/dev/style.css",
                get(async || answer("text/css; charset=utf-8", STYLE)),
            )
            .route(
                "/dev/page.js",
                get(async || answer("text/javascript; charset=utf-8", PAGE)),
            )
            .route(
                "/dev/client.js",
                get(async || answer("text/javascript; charset=utf-8", CLIENT)),
            );
        if let Some(bundle) = self.bundle.clone() {
            pages = pages.route(
                "/socket.io/socket.io.js",
                get(async move || answer("text/javascript; charset=utf-8", bundle)),
            );
        }
        pages.layer(middleware::from_fn(loopback_names_only))
    }
}

impl MadeUp {
    /// Adds what nothing else sets. Settings that would be weakened are a problem.
    pub fn add_to(&self, mut layers: Layers) -> Layers {
        if let Err(error) = check(&layers) {
            layers.refuse(error.to_string());
        }
        self.set(&mut layers);
        layers
    }

    fn set(&self, layers: &mut Layers) {
        layers.set_default("listen", "127.0.0.1:3000");
        layers.set_default("policy", BUILTIN);
        layers.set_default("auth.jwt.hmac_secret", &self.secret);
        layers.set_default("api.keys", &self.api_key);
        layers.set_default("log.level", "warn");
        // There is no load balancer, and somebody who waits for Ctrl-C.
        layers.set_default("drain.wait", "0s");
    }
}

fn check(layers: &Layers) -> Result<(), DevError> {
    let weakened: Vec<&str> = layers.paths().filter(|path| is_production(path)).collect();
    if weakened.is_empty() {
        Ok(())
    } else {
        Err(DevError::Weakened(weakened.join(", ")))
    }
}

/// Settings that `--dev` would replace by weaker ones.
fn is_production(path: &str) -> bool {
    path == "policy"
        || ["auth.", "api.", "redis.", "cors.", "server.", "ops.tls_"]
            .iter()
            .any(|s| path.starts_with(s))
}

fn claims() -> Map<String, Value> {
    let claims = json!({
        "sub": "demo",
        "tenant_id": "acme",
        "account_id": "acme-main",
        "whatsapp_accounts": ["1", "2"],
        "campaigns": ["spring"],
        "contacts": ["*"],
        "bots": ["helper"],
    });
    match claims {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Page {
    fn token(&self) -> Result<String, DevError> {
        let made = |error: &dyn std::fmt::Display| DevError::Keys(error.to_string());
        let keys = Keys::new(Some(&self.secret), None, &[]).map_err(|e| made(&e))?;
        sign(&keys, self.claims.clone(), TOKEN_LIFE, SystemTime::now()).map_err(|e| made(&e))
    }

    fn html(&self) -> Response {
        let Ok(token) = self.token() else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let mut data = self.data.clone();
        data.insert("token".to_owned(), token.into());
        // Inside a script element only "<" could end it.
        let data = Value::Object(data).to_string().replace('<', "\\u003c");
        answer("text/html; charset=utf-8", INDEX.replace("{{CONFIG}}", &data))
    }
}

/// What the page is told, all but the token.
fn data(config: &Config, api_key: &str, bundled: bool) -> Map<String, Value> {
    let claims = Claims::unverified(Value::Object(claims()), 0);
    let policy = &config.rules.policy;
    let grants = policy
        .admit(&claims, &json!({}), SystemTime::now(), &mut Trail::counting())
        .ok();
    let rooms: Vec<&str> = grants.iter().flat_map(|g| &g.rooms).map(|r| r.as_str()).collect();
    let subscribe: Vec<Value> = policy
        .subscriptions()
        .map(|(event, leave, room)| json!({"event": event, "leave": leave, "room": room}))
        .collect();
    let client = match bundled {
        true => json!({"source": "bundle", "url": "/socket.io/socket.io.js", "integrity": null}),
        false => json!({"source": "cdn", "url": CDN, "integrity": CDN_INTEGRITY}),
    };
    let operations = format!("http://{}", config.admin.listen);
    let data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "path": format!("{}/", config.engine.path),
        "user": grants.as_ref().map(|g| g.identity.user.to_string()),
        "tenant": grants.as_ref().and_then(|g| g.identity.tenant.clone()),
        "rooms": rooms,
        "subscribe": subscribe,
        "publishCommand": format!("roomcast publish --url {operations} --api-key {api_key}"),
        "opsUrl": operations,
        "apiKey": api_key,
        "client": client,
    });
    match data {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, SECURITY_POLICY),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (http::header::REFERRER_POLICY, "no-referrer"),
    ];
    let mut response = body.into_response();
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    response
}

async fn loopback_names_only(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "[::1]")
        || name.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
    {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "open this page by http://127.0.0.1 or http://localhost\n",
        )
            .into_response()
    }
}

fn random() -> Result<String, DevError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| DevError::Keys(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
