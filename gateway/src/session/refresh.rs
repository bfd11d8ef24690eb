//! Another token on the same connection: `auth:refresh`. It is verified as on connect, may not be somebody else's, and the
//! rooms follow its claims before the client is told. A refused one changes nothing.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Session, answers::milliseconds as rounded_up, following::Decided};
use crate::{
    auth::Claims,
    engine::{AckId, Event},
    expiry::milliseconds,
    joining::{Refreshing, Step},
    refusal::Refusal,
};

/// The event's name. The policy cannot use it.
pub(crate) const EVENT: &str = "auth:refresh";

impl Session {
    /// Looks at the event; the token itself is looked at while what the client sends next waits.
    pub(super) fn refresh(&self, event: &Event<'_>, ack: Option<AckId>) -> Option<Step> {
        // Counted before it is looked at: looking is what costs.
        let taken = self.ongoing().pace.take(Instant::now().into_std());
        if let Err(wait) = taken {
            let refusal = Refusal::RateLimited;
            self.common.metrics.refreshed(Err(refusal));
            tracing::debug!(socket.id = %self.socket, code = refusal.code(), "token not exchanged");
            if let Some(ack) = ack {
                let (code, message) = (refusal.code(), refusal.message());
                self.ack(
                    ack,
                    &json!({"ok": false, "code": code, "message": message, "retry": true, "retryAfter": rounded_up(wait)}),
                );
            }
            return None;
        }
        let shown = event
            .first_text()
            .and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        match shown.and_then(|mut shown| shown.remove("token")) {
            Some(Value::String(token)) => Some(Step::Refresh(Refreshing { token, ack })),
            _ => {
                self.tell_refreshed(ack, Err(Refusal::BadData));
                None
            }
        }
    }

    /// Verifies the token of a step, and goes by it from then on.
    pub(crate) async fn refreshing(self: &Arc<Self>, step: &Refreshing) {
        if let Some(decided) = self.try_refresh(&step.token).await.transpose() {
            self.tell_refreshed(step.ack, decided);
        }
    }

    /// When the token expires, in seconds since 1970; `None` = the client is gone, or was just sent away.
    async fn try_refresh(self: &Arc<Self>, token: &str) -> Result<Option<u64>, Refusal> {
        let verifier = self.common.verifier.load_full();
        let claims = verifier.verify(token, self.common.expiry.wall()).await?;
        let query = self.query();
        loop {
            let decided_by = self.common.rules.now().loaded().clone();
            let grants = self
                .common
                .rules
                .admit(&claims, &query, self.common.expiry.wall())?;
            if grants.identity != *self.identity {
                return Err(Refusal::IdentityChanged);
            }
            let (generation, missing) = self.state().given.missing(&grants.rooms);
            let opened = missing
                .into_iter()
                .map(async |room| self.common.open(&room).await.map(|keep| (room, keep)));
            let decided = Decided {
                by: decided_by,
                generation,
                opened: try_join_all(opened).await?,
                granted: grants.rooms,
            };
            // That may have taken a while.
            let (revocations, now) = (&self.common.revocations, self.common.expiry.wall());
            revocations.check(self.user(), &claims.credential(), now)?;
            match self.take_over(&claims, decided, verifier.leeway()) {
                Some(true) => return Ok(Some(claims.expires_at())),
                Some(false) => {}
                None => return Ok(None),
            }
        }
    }

    /// `false`: it was decided by what is no longer in force. `None` as above.
    fn take_over(self: &Arc<Self>, claims: &Claims, decided: Decided, leeway: Duration) -> Option<bool> {
        // Held until all is done: no event is handled and no other policy followed in between, and its end is before or after.
        let mut state = self.state();
        if state.admission.is_none() || state.ending.is_some() {
            return None;
        }
        if !self.common.rules.is_in_force(&decided.by) || !state.given.is_of(decided.generation) {
            return Some(false);
        }
        self.move_rooms(&mut state, claims.values(), decided);
        self.set_standing(claims);
        // Who revoked this token while it was looked at has seen the one before.
        let (revocations, now) = (&self.common.revocations, self.common.expiry.wall());
        revocations.check_again(self.user(), &self.credential(), now);
        self.last_until(&mut state, &claims.credential(), leeway);
        Some(true)
    }

    /// Tells the client, where it asked for that.
    pub(crate) fn tell_refreshed(&self, ack: Option<AckId>, decided: Result<u64, Refusal>) {
        self.common.metrics.refreshed(decided.map(drop));
        let (socket, user) = (self.socket, &*self.identity.user);
        match decided {
            Ok(expires_at) => {
                tracing::info!(socket.id = %socket, user, expires_at, "token exchanged");
                if let Some(ack) = ack {
                    self.ack(ack, &json!({"ok": true, "expiresAt": milliseconds(expires_at)}));
                }
            }
            Err(refusal) => {
                tracing::info!(socket.id = %socket, user, refusal.code = refusal.code(), refusal.number = refusal.number(), "token not exchanged");
                if let Some(ack) = ack {
                    self.refuse(ack, refusal);
                }
            }
        }
    }
}
