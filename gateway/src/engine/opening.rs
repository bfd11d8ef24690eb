//! What a session began with.

use std::{any::Any, net::SocketAddr, sync::Arc};

use http::request::Parts;

/// The request that opened a session; it is forgotten when the client is in.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) request: Parts,
    pub(super) peer: Option<SocketAddr>,
}

/// Put into a request that opens a session, it is held for as long as the session lives.
#[derive(Clone)]
pub struct Held(#[allow(dead_code, reason = "held for its Drop")] Arc<dyn Any + Send + Sync>);

impl Held {
    /// Holds anything.
    pub fn new(what: impl Any + Send + Sync) -> Held {
        Held(Arc::new(what))
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}
