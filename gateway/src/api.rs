//! The HTTP API for backends. Errors are problem documents with a stable `code`.

mod body;
mod code;
mod document;
mod envelope;
mod explain;
mod keys;
mod lookup;
mod order;
mod problem;
mod publish;
mod reply;
mod request;
mod revoke;
mod routes;
mod tail;
mod trace;

use std::sync::Arc;

use adapter_redis::{Cluster, Limits};

pub use code::{Code, NOT_FOUND};
pub use keys::{ApiKeys, KEYS, LIVE};
pub use problem::Problem;
pub use routes::router;

use keys::Scope;

use crate::{revocation::Revoker, sessions::Sessions, tail::Tails};

/// What the API's routes need, and no more.
#[derive(Clone)]
pub struct Api {
    /// Publishes, asks and orders.
    pub cluster: Cluster,
    /// What an envelope may be.
    pub limits: Limits,
    /// Counts what was refused before it reached the cluster.
    pub metrics: adapter_redis::Metrics,
    /// Verifies tokens and knows the policy in force, for explanations.
    pub sessions: Arc<Sessions>,
    /// Revokes tokens.
    pub revoker: Revoker,
    /// Those who look at what passes.
    pub tails: Tails,
    /// Whether who looks may still do so.
    pub keys: ApiKeys,
}

/// The path is right, the method is not.
pub async fn wrong_method() -> Problem {
    Problem::new(&code::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED.meaning)
}
