//! TLS of both listeners: their certificates, and how another one takes the place of one while the node runs.
//!
//! Without a certificate a listener is plain. A connection keeps what it was agreed with; those that come later get what
//! is in force then. Sessions that clients could resume are forgotten with the certificate that they were begun under.

mod certificate;
mod metrics;

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;

pub use self::{
    certificate::{Certificate, CertificateError},
    metrics::Metrics,
};
use crate::{
    engine::{Security, TlsHandshake},
    settings::{Key, Kind, Reader},
};

const PUBLIC: Files = Files {
    listener: "public",
    chain: "server.tls_cert_file",
    key: "server.tls_key_file",
};
const OPERATIONS: Files = Files {
    listener: "operations",
    chain: "ops.tls_cert_file",
    key: "ops.tls_key_file",
};

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: PUBLIC.chain,
        kind: Kind::Path,
        default: "",
        doc: "PEM file with the certificate of the public listener, followed by those that it is signed by. Set with \
              `server.tls_key_file`, or neither: the listener is plain HTTP then.",
    },
    Key {
        path: PUBLIC.key,
        kind: Kind::Path,
        default: "",
        doc: "PEM file with the private key of that certificate: RSA, ECDSA or Ed25519, not encrypted.",
    },
    Key {
        path: OPERATIONS.chain,
        kind: Kind::Path,
        default: "",
        doc: "As `server.tls_cert_file`, for the operations listener.",
    },
    Key {
        path: OPERATIONS.key,
        kind: Kind::Path,
        default: "",
        doc: "As `server.tls_key_file`, for the operations listener.",
    },
];

/// Those that a running node takes over: all of them, for the connections that come.
pub const LIVE: &[&str] = &[PUBLIC.chain, PUBLIC.key, OPERATIONS.chain, OPERATIONS.key];

/// Where one listener's certificate comes from.
#[derive(Debug, Clone, Copy)]
struct Files {
    /// The label in metrics.
    listener: &'static str,
    chain: &'static str,
    key: &'static str,
}

/// The certificates; a listener without one is plain.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// That of the public listener.
    pub public: Option<Certificate>,
    /// That of the operations listener.
    pub operations: Option<Certificate>,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        Config {
            public: PUBLIC.read(reader),
            operations: OPERATIONS.read(reader),
        }
    }

    /// What works, and is likely to be a mistake.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let all = [(PUBLIC, &self.public), (OPERATIONS, &self.operations)];
        all.into_iter()
            .filter_map(|(files, certificate)| {
                let warning = certificate.as_ref()?.warning(now)?;
                Some(format!("{}: {warning}", files.chain))
            })
            .collect()
    }

    /// Says these in the log.
    pub fn log_warnings(&self) {
        for warning in self.warnings(SystemTime::now()) {
            tracing::warn!("{warning}");
        }
    }
}

/// Whether the operations listener has a certificate, for who does not need it.
pub fn on_operations(reader: &mut Reader) -> bool {
    reader.path(OPERATIONS.chain).is_some()
}

impl Files {
    /// `None` where nothing is configured, or a problem was reported.
    fn read(self, reader: &mut Reader) -> Option<Certificate> {
        let Files { chain, key, .. } = self;
        let [chain_file, key_file] = [chain, key].map(|path| reader.path(path));
        let (chain_file, key_file) = match (chain_file, key_file) {
            (None, None) => return None,
            (Some(chain), Some(key)) => (chain, key),
            (given, _) => {
                let (is, is_not) = if given.is_some() {
                    (chain, key)
                } else {
                    (key, chain)
                };
                reader.say(format!("{is} is set and {is_not} is not: give both or neither"));
                return None;
            }
        };
        let [chain_text, key_text] = [chain, key].map(|path| reader.file(path));
        match Certificate::from_pem(&chain_text?, &key_text?) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                let (path, file) = if error.is_about_key() {
                    (key, key_file)
                } else {
                    (chain, chain_file)
                };
                reader.say(format!("{path}: {}: {error}", file.display()));
                None
            }
        }
    }
}

/// The certificates in force on the listeners of a node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// The public one.
    pub public: Arc<Tls>,
    /// That for operators.
    pub operations: Arc<Tls>,
}

impl Listeners {
    /// Begins with these.
    pub fn new(config: &Config, metrics: &Metrics) -> Listeners {
        let [public, operations] = [PUBLIC, OPERATIONS].map(|files| {
            Arc::new(Tls {
                listener: files.listener,
                config: ArcSwapOption::empty(),
                metrics: metrics.clone(),
            })
        });
        let listeners = Listeners { public, operations };
        listeners.set(config);
        listeners
    }

    /// From now on new connections get these.
    pub fn set(&self, config: &Config) {
        self.public.set(config.public.as_ref());
        self.operations.set(config.operations.as_ref());
    }
}

/// The certificate in force on one listener.
pub struct Tls {
    listener: &'static str,
    config: ArcSwapOption<ServerConfig>,
    metrics: Metrics,
}

impl Tls {
    fn set(&self, certificate: Option<&Certificate>) {
        self.config.store(certificate.map(Certificate::server));
        self.metrics
            .expires(self.listener, certificate.map(Certificate::expires));
    }
}

impl Security for Tls {
    fn config(&self) -> Option<Arc<ServerConfig>> {
        self.config.load_full()
    }

    fn ended(&self, outcome: TlsHandshake) {
        self.metrics.handshake(outcome);
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.listener)
    }
}
