//! The node's configuration: one file, then the environment, then flags.
//!
//! Every module owns its own part (a `KEYS` table and a struct that is read from it); this file only sums the
//! parts up. Nothing else in the gateway looks at a file or at the environment, and every error is reported at
//! once, with the key, the value seen and what was expected.

mod cluster;
mod doc;
mod live;
mod node;

use std::{path::Path, sync::Arc};

pub use cluster::ClusterConfig;
pub use doc::markdown;
pub use live::Part;
pub use node::NodeConfig;

use crate::{
    admin, api, auth, drain, engine, forwarding, hooks, http, ingest, limits, notices,
    policy::{BUILTIN, Destination, Policy, WHATSAPP_CRM},
    reload, revocation,
    rules::InForce,
    settings::{Env, Key, Layers, Picture, Problems, Reader},
    telemetry, tls, webhook,
};

/// Everything a node is told before it starts.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub node: NodeConfig,
    /// How it is stopped.
    pub drain: drain::Config,
    /// Redis, and the other nodes.
    pub cluster: ClusterConfig,
    /// Who may connect.
    pub auth: auth::Config,
    /// Tokens that are refused before they expire.
    pub revocations: revocation::Config,
    /// The Socket.IO engine.
    pub engine: engine::Config,
    /// Browsers' origins.
    pub http: http::Config,
    /// What one client, address or user may take.
    pub limits: limits::Limits,
    /// The operations listener and its keys.
    pub admin: admin::Config,
    /// Certificates of the listeners.
    pub tls: tls::Config,
    /// Events of clients for the backend.
    pub forward: forwarding::Config,
    /// What the backend is asked about clients.
    pub hooks: hooks::Config,
    /// Requests to the backend, where there is one for them.
    pub webhook: Option<webhook::Config>,
    /// Who is told who connects and disconnects.
    pub notices: notices::Config,
    /// Logs.
    pub telemetry: telemetry::Config,
    /// When to read all this again.
    pub reload: reload::Config,
    /// Where messages of backends can be had.
    pub ingest: ingest::Config,
    /// The policies, loaded and checked.
    pub rules: InForce,
    /// What it was read from.
    pub picture: Picture,
}

/// Every key there is, in the order of the reference.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [
        node::KEYS,
        drain::KEYS,
        limits::KEYS,
        cluster::KEYS,
        ingest::KEYS,
        auth::KEYS,
        revocation::KEYS,
        http::KEYS,
        admin::KEYS,
        tls::KEYS,
        api::KEYS,
        webhook::KEYS,
        forwarding::KEYS,
        hooks::KEYS,
        notices::KEYS,
        telemetry::KEYS,
        reload::KEYS,
    ]
    .into_iter()
    .flatten()
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All problems found, not only the first; unreadable files among them.
    pub fn load(file: Option<&Path>, env: &dyn Env, flags: &[(&str, String)]) -> Result<Config, Problems> {
        Self::from_layers(Layers::load(file, env, flags))
    }

    /// As [`Config::load`], from layers that were put together by the caller.
    ///
    /// # Errors
    /// All problems found.
    pub fn from_layers(layers: Layers) -> Result<Config, Problems> {
        Self::read(layers).1
    }

    /// As [`Config::from_layers`], with what was read, whether it is good or not.
    pub fn read(layers: Layers) -> (Picture, Result<Config, Problems>) {
        let mut reader = Reader::new(layers, keys().collect());
        let node = NodeConfig::read(&mut reader);
        let drain = drain::Config::read(&mut reader);
        let cluster = ClusterConfig::read(&mut reader);
        let auth = auth::Config::read(&mut reader);
        let revocations = revocation::Config::read(&mut reader);
        let limits = limits::Limits::read(&mut reader);
        let engine = engine_config(&mut reader, limits.max_event_bytes);
        let http = http::Config::read(&mut reader);
        let admin = admin::Config::read(&mut reader);
        let tls = tls::Config::read(&mut reader);
        let webhook = webhook::Config::read(&mut reader);
        let hooks = hooks::Config::read(&mut reader);
        let forward = forwarding::Config::read(&mut reader);
        let notices = notices::Config::read(&mut reader, cluster.redis.is_some());
        let telemetry = telemetry::Config::read(&mut reader);
        let reload = reload::Config::read(&mut reader);
        let ingest = ingest::Config::read(&mut reader);
        let rules = rules(&mut reader);
        if let Some(rules) = &rules {
            check_ways(&mut reader, &rules.policy);
            ingest::check(&mut reader, &rules.policy, &ingest, &cluster);
        }
        let picture = reader.picture();
        let config = match (reader.finish(), auth, rules) {
            (Ok(()), Some(auth), Some(rules)) => Ok(Config {
                node,
                drain,
                cluster,
                auth,
                revocations,
                engine,
                http,
                limits,
                admin,
                tls,
                forward,
                hooks,
                webhook,
                notices,
                telemetry,
                reload,
                ingest,
                rules,
                picture: picture.clone(),
            }),
            (Err(problems), ..) => Err(problems),
            // A part that is missing without a problem would be a defect of that part; say so rather than panic.
            (Ok(()), ..) => Err(Problems::single("the configuration is incomplete")),
        };
        (picture, config)
    }
}

/// Loads the policies that the configuration names. `None` when a problem was reported.
fn rules(reader: &mut Reader) -> Option<InForce> {
    if reader.string(node::POLICY).is_empty() {
        reader.say("policy: missing; name the policy file that says which rooms a client is in");
        return None;
    }
    let policy = policy_at(reader, node::POLICY);
    let shadow = if reader.string(node::SHADOW_POLICY).is_empty() {
        Some(None)
    } else {
        policy_at(reader, node::SHADOW_POLICY).map(Some)
    };
    Some(InForce {
        policy: policy?,
        shadow: shadow?,
    })
}

/// A policy that names a way to the backend which is not there would refuse all that goes by it.
fn check_ways(reader: &mut Reader, policy: &Policy) {
    let name = reader.string(node::POLICY);
    for (to, key) in [
        (Destination::Webhook, webhook::URL),
        (Destination::Stream, cluster::URL),
    ] {
        if let Some(place) = policy.needs(to).filter(|_| reader.string(key).is_empty()) {
            let way = to.as_str();
            reader.say(format!(
                "{name}: {place}: the way to the backend by the {way} needs {key}"
            ));
        }
    }
}

fn policy_at(reader: &mut Reader, key: &str) -> Option<Arc<Policy>> {
    let name = reader.string(key);
    let text = if name == BUILTIN {
        WHATSAPP_CRM.to_owned()
    } else {
        reader.file(key)?
    };
    match Policy::parse(&text) {
        Ok(policy) => Some(Arc::new(policy)),
        Err(errors) => {
            for error in errors {
                reader.say(format!("{name}: {error}"));
            }
            None
        }
    }
}

/// A message that the engine still takes: above the limit of an event, so that one that is too long gets an answer, and
/// long enough for a token.
fn max_payload(max_event_bytes: usize) -> usize {
    const LEAST: usize = 128 << 10;
    match max_event_bytes {
        0 => 0,
        bytes => bytes.saturating_mul(2).max(LEAST),
    }
}

/// There is always a bound: what waits for a client is held for as long as the client may take to read it.
fn max_outbound(bytes: usize) -> usize {
    const MOST: usize = 16 << 20;
    match bytes {
        0 => MOST,
        bytes => bytes,
    }
}

/// From how many bytes on messages are compressed.
fn compression(reader: &mut Reader) -> Option<usize> {
    let threshold = reader.size(engine::COMPRESSION_THRESHOLD);
    match reader.string(engine::COMPRESSION).as_str() {
        "off" => None,
        "permessage-deflate" => Some(threshold),
        other => {
            reader.problem(engine::COMPRESSION, other, "\"off\" or \"permessage-deflate\"");
            None
        }
    }
}

/// The engine knows nothing of the gateway, so its configuration is translated here.
fn engine_config(reader: &mut Reader, max_event_bytes: usize) -> engine::Config {
    let transports = reader.list(engine::TRANSPORTS);
    let mut config = engine::Config {
        ping_interval: reader.duration(engine::PING_INTERVAL),
        ping_timeout: reader.duration(engine::PING_TIMEOUT),
        path: reader.string(engine::PATH),
        websocket: transports.iter().any(|t| t == "websocket"),
        polling: transports.iter().any(|t| t == "polling"),
        max_payload: max_payload(max_event_bytes),
        max_outbound: max_outbound(reader.size(limits::MAX_OUTBOUND_BYTES)),
        write_deadline: reader.duration(engine::WRITE_DEADLINE),
        compression: compression(reader),
    };
    if let Some(other) = transports
        .iter()
        .find(|t| !matches!(t.as_str(), "websocket" | "polling"))
    {
        reader.problem(engine::TRANSPORTS, other, "\"websocket\", \"polling\" or both");
    } else if transports.is_empty() {
        reader.problem(
            engine::TRANSPORTS,
            "[]",
            "at least one of \"websocket\" and \"polling\"",
        );
    }
    let path_ok = config.path.len() > 1
        && config.path.starts_with('/')
        && config
            .path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'{' | b'}'));
    if !path_ok {
        let seen = config.path.clone();
        reader.problem(engine::PATH, &seen, "an absolute path such as /socket.io");
    }
    while config.path.len() > 1 && config.path.ends_with('/') {
        config.path.pop();
    }
    for (key, value) in [
        (engine::PING_INTERVAL, config.ping_interval),
        (engine::PING_TIMEOUT, config.ping_timeout),
        (engine::WRITE_DEADLINE, config.write_deadline),
    ] {
        if value.is_zero() {
            reader.problem(key, "0s", "a duration above zero");
        }
    }
    config
}
