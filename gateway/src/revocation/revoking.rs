//! Revoking tokens on all nodes: those that are there are told, and the shared set is written for the others.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use adapter_redis::{Answers, Cluster, Item, Question, SharedSets, Tokens};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Revocations, SHARED, set::Merged};

/// Revocations that wait to be told to the other nodes, because there was no link. Of more than these the others read in
/// the shared set, within half a minute.
const UNTOLD: usize = 1024;

/// How many of them are told at a time.
const AT_ONCE: usize = 64;

/// Revokes tokens. Clones are the same.
#[derive(Clone)]
pub struct Revoker {
    cluster: Cluster,
    pub(super) sets: Arc<dyn SharedSets>,
    pub(super) revocations: Revocations,
    untold: Arc<Mutex<Vec<(Tokens, u64)>>>,
}

/// This node holds as many revocations as it may. Nothing was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node holds as many revocations as it may: raise auth.revocations.max, or wait until some are over"
)]
pub struct Full;

impl Revoker {
    /// Brings the parts together.
    pub fn new(cluster: Cluster, sets: Arc<dyn SharedSets>, revocations: Revocations) -> Revoker {
        Revoker {
            cluster,
            sets,
            revocations,
            untold: Arc::default(),
        }
    }

    /// Revokes tokens until they expire: at `expires_at` in seconds since 1970, where that is known, and else when as
    /// much time has passed as tokens live at most.
    ///
    /// It is complete when every known node has answered and the shared set has it. What is not complete is remembered
    /// here, told to the others and written when the link is back. So it is when the future is dropped.
    ///
    /// # Errors
    /// There is no place for another revocation on this node. On another one, that is a node that is missing.
    pub async fn revoke(&self, tokens: Tokens, expires_at: Option<u64>) -> Result<Answers, Full> {
        let (config, now) = (self.revocations.0.config.load_full(), SystemTime::now());
        let until_ms = expires_at
            .map_or_else(
                || config.until_kept(now),
                |expires_at| config.until_expired(expires_at, now),
            )
            .min(Item::LATEST);
        if self.revocations.merge(&tokens, until_ms) == Merged::Full {
            return Err(Full);
        }
        let mut begun = Begun {
            revoker: self,
            untold: Some((tokens.clone(), until_ms)),
        };
        let items = [item(&tokens, until_ms)];
        let order = Question::Revoke { tokens, until_ms };
        let (mut answers, kept) = tokio::join!(self.cluster.ask(order), self.sets.put(SHARED, &items));
        match kept {
            Ok(()) => begun.untold = None,
            Err(error) => {
                tracing::warn!(%error, "a revocation is not in Redis yet: this node remembers it, and writes it later");
                answers.complete = false;
            }
        }
        Ok(answers)
    }

    /// Tells the other nodes what they could not be told. To be called when the shared set has it.
    pub(super) async fn tell(&self) {
        let untold = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let told = stream::iter(untold).for_each_concurrent(AT_ONCE, async |(tokens, until_ms)| {
            self.cluster.ask(Question::Revoke { tokens, until_ms }).await;
        });
        told.await;
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

/// A revocation that is not known to be everywhere.
pub(super) struct Begun<'a> {
    pub(super) revoker: &'a Revoker,
    pub(super) untold: Option<(Tokens, u64)>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(untold) = self.untold.take() else {
            return;
        };
        {
            let mut all = self.revoker.untold.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() < UNTOLD {
                all.push(untold);
            }
        }
        self.revoker.revocations.suspect();
        self.revoker.revocations.doubt();
    }
}

pub(super) fn item(tokens: &Tokens, until_ms: u64) -> Item {
    Item {
        text: text(tokens),
        until_ms,
    }
}

/// It is made of texts and numbers, so that it can be written.
pub(super) fn text(tokens: &Tokens) -> Bytes {
    serde_json::to_vec(tokens).unwrap_or_default().into()
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revoker").field(&self.revocations).finish()
    }
}
