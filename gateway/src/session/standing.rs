//! What a session goes by: the claims of the token that its client showed last, and the marks of that token.

use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::Session;
use crate::auth::{Claims, Credential};

/// Exchanged as a whole.
pub(super) struct Standing {
    /// The claims as compact JSON: a tree of them would be most of what an idle session holds.
    claims: Arc<str>,
    credential: Arc<Credential>,
}

impl Standing {
    pub(super) fn new(claims: &Claims) -> Standing {
        Standing {
            claims: claims.values().to_string().into(),
            credential: Arc::new(claims.credential()),
        }
    }
}

impl Session {
    /// The marks of the token that this client showed last.
    pub fn credential(&self) -> Arc<Credential> {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.credential.clone()
    }

    /// The claims as JSON text.
    pub(super) fn claims_text(&self) -> Arc<str> {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.claims.clone()
    }

    /// Goes by another token from now on.
    pub(super) fn set_standing(&self, claims: &Claims) {
        let standing = Standing::new(claims);
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    pub(super) fn claims(&self) -> Value {
        // Written by us a moment ago, so it can be read.
        serde_json::from_str(&self.claims_text()).unwrap_or(Value::Null)
    }
}
