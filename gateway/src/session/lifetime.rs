//! How long a session lasts: until its token ends, unless its client shows another one before.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{Session, State};
use crate::{
    auth::Credential,
    expiry::{Deadlines, Ticket, milliseconds},
    metrics,
};

/// After so many milliseconds it is tried again, where a socket is just being let in or just going.
const AGAIN: u64 = 100;

/// What is still to come.
#[derive(Debug)]
pub(super) struct Lifetime {
    /// What is due next.
    pub(super) ticket: Ticket,
    end: u64,
    is_warned: bool,
}

impl Session {
    /// From now on the end of its token is its own. To be called once, when it is let in.
    pub(crate) fn begin(self: &Arc<Self>, leeway: Duration) {
        let credential = self.credential();
        self.last_until(&mut self.state(), &credential, leeway);
    }

    /// Counts anew, from now on and for this token.
    pub(super) fn last_until(self: &Arc<Self>, state: &mut State, credential: &Credential, leeway: Duration) {
        let expiry = &self.common.expiry;
        if let Some(before) = state.lifetime.take() {
            expiry.remove(before.ticket);
        }
        let deadlines = Deadlines::new(credential.expires_at, leeway, expiry.now());
        state.lifetime = Some(Lifetime {
            ticket: expiry.add(deadlines.warning, self),
            end: deadlines.end,
            is_warned: false,
        });
    }

    /// Something was due: warns the client, or sends it away.
    pub(crate) async fn due(self: &Arc<Self>, ticket: Ticket, now: u64) {
        let (expiry, sockets) = (&self.common.expiry, &self.common.sockets);
        let is_over = {
            let mut guard = self.state();
            let state = &mut *guard;
            // It went, or showed another token meanwhile.
            let Some(lifetime) = state.lifetime.as_mut().filter(|l| l.ticket == ticket) else {
                return;
            };
            let is_over = now >= lifetime.end;
            if !sockets.is_known(self.socket) {
                lifetime.ticket = expiry.add(now.saturating_add(AGAIN), self);
                return;
            }
            if is_over {
                // From here on no token helps.
                state.ending = Some(metrics::TOKEN_EXPIRED);
            } else {
                lifetime.ticket = expiry.add(lifetime.end, self);
                if std::mem::replace(&mut lifetime.is_warned, true) {
                    return;
                }
            }
            is_over
        };
        if !is_over {
            let expires_at = milliseconds(self.credential().expires_at);
            self.emit("auth:expiring", &json!({"expiresAt": expires_at}));
        } else if sockets.disconnect(self.socket).await {
            self.common.metrics.auth_expired.increment(1);
            tracing::info!(
                socket.id = %self.socket,
                user = &*self.identity.user,
                "sent away: its token has expired"
            );
        } else {
            let mut state = self.state();
            if let Some(lifetime) = &mut state.lifetime {
                lifetime.ticket = expiry.add(now.saturating_add(AGAIN), self);
            }
        }
    }
}
