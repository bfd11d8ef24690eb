//! Tokens that are refused although they have not expired, on all nodes.
//!
//! A revocation reaches the nodes that are there as an order (`ending.rs` carries it out), and those that are not as an
//! item of a shared set in Redis, which every node reads when its link is made and from time to time (`keeping.rs`). What
//! Redis has lost, whoever remembers it writes again. Times are those of the machines' clocks.

mod config;
mod counts;
mod ending;
mod keeping;
mod revoking;
mod set;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use adapter_redis::{MAX_NAME_BYTES, Tokens};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use self::{
    config::unix_ms,
    set::{Merged, Set},
};
pub use self::{
    config::{Config, KEYS, LIVE},
    counts::Counts,
    revoking::{Full, Revoker},
};
pub(crate) use self::{ending::Ending, keeping::Keeper};
use crate::{auth::Credential, refusal::Refusal};

/// The name of the shared set.
const SHARED: &str = "revoked";

/// In how many parts the set lies: while one is cleaned up, handshakes do not wait for the others.
const PARTS: usize = 16;

/// What is revoked, as far as this node knows. Clones are the same.
///
/// Asking costs next to nothing while nothing is revoked, and never waits for more than a moment. It holds
/// `auth.revocations.max` at most: one more is refused, and counted.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    parts: [RwLock<Set>; PARTS],
    hasher: RandomState,
    /// Over all parts; more than there are while one is being taken in.
    len: AtomicUsize,
    config: ArcSwap<Config>,
    /// Whether clients need not wait for what the shared set says.
    known: watch::Sender<bool>,
    /// There may be sockets whose token is revoked.
    suspicion: Notify,
    /// The shared set should be looked at.
    doubt: Notify,
    counts: Counts,
}

impl Revocations {
    /// Nothing is revoked.
    pub fn new(config: Config, counts: Counts) -> Revocations {
        Revocations(Arc::new(Inner {
            parts: Default::default(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            config: ArcSwap::from_pointee(config),
            known: watch::Sender::new(true),
            suspicion: Notify::new(),
            doubt: Notify::new(),
            counts,
        }))
    }

    /// From now on this holds. What is revoked stays revoked.
    pub fn set_config(&self, config: Config) {
        self.0.config.store(Arc::new(config));
    }

    /// Refuses a user's token that is revoked. To be asked again once the session can be found: whoever revokes it
    /// meanwhile finds one of the two.
    ///
    /// # Errors
    /// [`Refusal::TokenRevoked`].
    pub(crate) fn check(&self, user: &str, token: &Credential, now: SystemTime) -> Result<(), Refusal> {
        if self.is_revoked(user, token, now) {
            Err(Refusal::TokenRevoked)
        } else {
            Ok(())
        }
    }

    /// For a session that can be found and goes by another token now: sends it away, in a moment, if that one was revoked
    /// after [`Revocations::check`].
    pub(crate) fn check_again(&self, user: &str, token: &Credential, now: SystemTime) {
        if self.is_revoked(user, token, now) {
            self.suspect();
        }
    }

    /// Waits, in the first moments of a node, until it knows what the others do; see [`Keeper`].
    pub(crate) async fn known(&self) {
        let mut known = self.0.known.subscribe();
        // It cannot end: the sender is held here.
        let _ = known.wait_for(|known| *known).await;
    }

    /// Events may have been lost, and with them revocations.
    pub(crate) fn doubt(&self) {
        self.0.doubt.notify_one();
    }

    fn is_revoked(&self, user: &str, token: &Credential, now: SystemTime) -> bool {
        if self.0.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        let now_ms = unix_ms(now);
        self.reading(user).has_user(user, token, now_ms)
            || token
                .id
                .as_deref()
                .is_some_and(|id| self.reading(id).has_id(token, now_ms))
    }

    /// Takes a revocation in, where there is a place for it. One that no API would have taken is none.
    fn merge(&self, tokens: &Tokens, until_ms: u64) -> Merged {
        if !(1..=MAX_NAME_BYTES).contains(&name(tokens).len()) {
            return Merged::Known;
        }
        let now_ms = unix_ms(SystemTime::now());
        let mut merged = self.merge_once(tokens, until_ms, now_ms);
        if merged == Merged::Full {
            self.expire(now_ms);
            merged = self.merge_once(tokens, until_ms, now_ms);
        }
        match merged {
            Merged::Full => self.0.counts.full.increment(1),
            Merged::News => self.0.counts.held.set(self.len() as f64),
            Merged::Known => {}
        }
        merged
    }

    fn merge_once(&self, tokens: &Tokens, until_ms: u64, now_ms: u64) -> Merged {
        let max = self.0.config.load().max;
        let place = || {
            let taken = self.0.len.fetch_add(1, Ordering::AcqRel);
            if taken >= max {
                self.0.len.fetch_sub(1, Ordering::AcqRel);
            }
            taken < max
        };
        self.writing(name(tokens)).merge(tokens, until_ms, now_ms, place)
    }

    /// Takes in what the shared set says, and notes that it is there.
    fn learn(&self, tokens: &Tokens, until_ms: u64, look: u32) -> Merged {
        let merged = self.merge(tokens, until_ms);
        self.writing(name(tokens)).seen(tokens, until_ms, look);
        merged
    }

    fn is_superseded(&self, tokens: &Tokens) -> bool {
        self.reading(name(tokens)).is_superseded(tokens)
    }

    fn unseen(&self, look: u32) -> Vec<(Tokens, u64)> {
        let now_ms = unix_ms(SystemTime::now());
        let parts = self.0.parts.iter();
        parts
            .flat_map(|part| {
                part.read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .unseen(look, now_ms)
            })
            .collect()
    }

    /// Forgets what is over.
    fn expire(&self, now_ms: u64) {
        for part in &self.0.parts {
            let expired = part
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .expire(now_ms);
            self.0.len.fetch_sub(expired, Ordering::AcqRel);
        }
        self.0.counts.held.set(self.len() as f64);
    }

    fn len(&self) -> usize {
        self.0.len.load(Ordering::Acquire)
    }

    /// There may be sockets whose token is revoked: the [`Keeper`] looks for them.
    fn suspect(&self) {
        self.0.suspicion.notify_one();
    }

    fn part(&self, name: &str) -> &RwLock<Set> {
        let [first, ..] = &self.0.parts;
        let at = self.0.hasher.hash_one(name) as usize % PARTS;
        self.0.parts.get(at).unwrap_or(first)
    }

    fn reading(&self, name: &str) -> RwLockReadGuard<'_, Set> {
        self.part(name).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self, name: &str) -> RwLockWriteGuard<'_, Set> {
        self.part(name).write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id or the user: by it the part is found.
fn name(tokens: &Tokens) -> &str {
    match tokens {
        Tokens::Jti { jti } => jti,
        Tokens::User { user, .. } => user,
    }
}

/// For tests, and counted nowhere.
impl Default for Revocations {
    fn default() -> Revocations {
        Revocations::new(Config::default(), Counts::noop())
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "revocation/tests.rs"]
mod tests;

#[cfg(test)]
mod cluster_tests;
