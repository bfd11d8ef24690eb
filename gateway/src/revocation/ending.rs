//! Sending away who came with a token that is revoked.

use std::{
    sync::{Arc, Weak},
    time::SystemTime,
};

use adapter_redis::Tokens;

use super::{
    Revocations,
    set::{Merged, is_among},
};
use crate::{engine::Sockets, population::Population, roster::Roster, session::Session};

/// How many sessions are looked at before connections have their turn.
const BATCH: usize = 256;

/// The sockets of this node, as far as revoked tokens are concerned.
#[derive(Clone)]
pub(crate) struct Ending {
    pub(crate) revocations: Revocations,
    pub(crate) roster: Arc<Roster>,
    pub(crate) population: Arc<Population>,
    pub(crate) sockets: Sockets,
}

impl Ending {
    /// Refuses these tokens from now on, and sends away who came with one; how many that were. `None`: there is no place
    /// for another revocation, and nothing was done.
    pub(crate) async fn revoke(&self, tokens: &Tokens, until_ms: u64) -> Option<u64> {
        if self.revocations.merge(tokens, until_ms) == Merged::Full {
            tracing::error!(
                "a revocation was not taken: this node holds as many as it may (auth.revocations.max)"
            );
            return None;
        }
        let sessions = match tokens {
            Tokens::Jti { .. } => self.roster.all(),
            Tokens::User { user, .. } => {
                let sockets = self.population.sockets_of(user).into_iter();
                let sessions = sockets.filter_map(|socket| self.roster.find(socket));
                sessions.map(|session| Arc::downgrade(&session)).collect()
            }
        };
        let (ended, is_unfinished) = self
            .end(sessions, |session| {
                is_among(tokens, session.user(), &session.credential())
            })
            .await;
        if is_unfinished {
            self.revocations.suspect();
        }
        // The id is of one token, and a log is read by many.
        match tokens {
            Tokens::Jti { .. } => tracing::info!(socket.count = ended, "a token was revoked"),
            Tokens::User { user, issued_before } => {
                tracing::info!(
                    user,
                    issued_before,
                    socket.count = ended,
                    "a user's tokens were revoked"
                );
            }
        }
        Some(ended)
    }

    /// Sends away whose token is revoked, whenever that became known. Whether some of them could not be sent away yet.
    pub(super) async fn sweep(&self) -> bool {
        let is_revoked = |session: &Session| {
            let (token, now) = (session.credential(), SystemTime::now());
            self.revocations.is_revoked(session.user(), &token, now)
        };
        let (ended, is_unfinished) = self.end(self.roster.all(), is_revoked).await;
        if ended > 0 {
            tracing::info!(
                socket.count = ended,
                "sockets whose token is revoked were sent away"
            );
        }
        is_unfinished
    }

    /// One that is just being let in cannot be sent away yet, and one that is just going was.
    async fn end(&self, sessions: Vec<Weak<Session>>, is_meant: impl Fn(&Session) -> bool) -> (u64, bool) {
        let (mut ended, mut is_unfinished) = (0, false);
        for (number, session) in sessions.into_iter().enumerate() {
            if number % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
            let Some(session) = session.upgrade().filter(|session| is_meant(session)) else {
                continue;
            };
            if self.sockets.disconnect(session.socket()).await {
                ended += 1;
                self.revocations.0.counts.ended.increment(1);
            } else {
                is_unfinished = true;
            }
        }
        (ended, is_unfinished)
    }
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ending").field(&self.revocations).finish()
    }
}
