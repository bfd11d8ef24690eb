//! All clients of this node: who is let in.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use adapter_redis::RoomName;
use futures_util::future::try_join_all;
use serde_json::{Map, Value};

pub use crate::population::Population;
use crate::{
    auth::{Claims, Places, Verifier},
    engine::{Admitted, Application, Handshake, Keep, SocketId},
    joining::Entry,
    limits::{Limit, Overflow, Seat, UserChecks},
    policy::{Grants, Identity},
    population::Admission,
    query,
    refusal::Refusal,
    session::{Common, Session},
};

/// Lets clients in, and knows who is here.
#[derive(Debug)]
pub struct Sessions {
    verifier: Verifier,
    common: Arc<Common>,
    population: Arc<Population>,
    user_checks: UserChecks,
}

impl Sessions {
    /// Brings the parts together.
    pub(crate) fn new(verifier: Verifier, common: Common, user_checks: UserChecks) -> Sessions {
        Sessions {
            verifier,
            common: Arc::new(common),
            population: Arc::default(),
            user_checks,
        }
    }

    /// Who is connected.
    pub fn population(&self) -> &Arc<Population> {
        &self.population
    }

    fn decide(&self, handshake: &Handshake<'_>, now: SystemTime) -> Result<(Claims, Grants), Refusal> {
        let request = handshake.request;
        let text = request.uri.query().unwrap_or_default();
        let places = Places {
            auth: &handshake.auth,
            headers: &request.headers,
            query: text,
        };
        let claims = self.verifier.admit(places, now)?;
        let grants = self.common.policy.admit(&claims, &client_query(text), now)?;
        Ok((claims, grants))
    }

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admitted<Session>, Refusal> {
        let (claims, grants) = self.decide(handshake, SystemTime::now())?;
        // Nothing that is published after `connect` may be missed, so the rooms are open before the client is in.
        let entered = grants.rooms.iter().map(|room| self.enter(room));
        let rooms = try_join_all(entered).await?;
        let admission = self.count(handshake.socket, grants.identity).await?;
        tracing::info!(
            socket.id = %handshake.socket,
            user = &*admission.identity().user,
            peer = peer(handshake),
            room.count = rooms.len(),
            "connected"
        );
        let session = Session::new(handshake.socket, claims.values(), self.common.clone(), admission);
        Ok(Admitted {
            member: Arc::new(session),
            rooms,
        })
    }

    /// Counts a user's socket, and sends the oldest away where there are too many. Those of other nodes are looked at
    /// afterwards: a client does not wait for other nodes.
    async fn count(&self, socket: SocketId, identity: Identity) -> Result<Admission, Refusal> {
        let (most, overflow) = {
            let limits = self.common.limits.get();
            (limits.max_connections_per_user as usize, limits.user_overflow)
        };
        let (population, now) = (&self.population, SystemTime::now());
        if most == 0 {
            return Ok(population.admit(socket, identity, now));
        }
        if overflow == Overflow::Refuse {
            return population
                .admit_up_to(most, socket, identity, now)
                .ok_or_else(|| {
                    self.common.metrics.limited(Limit::MaxConnectionsPerUser);
                    Refusal::TooManyConnections
                });
        }
        let admission = population.admit(socket, identity, now);
        let user = &admission.identity().user;
        let sockets = population.sockets_of(user);
        let mut is_unfinished = false;
        for oldest in sockets.iter().take(sockets.len().saturating_sub(most)) {
            // One that is just being let in cannot be sent away yet, and one that is just going was.
            let sockets = &self.common.sockets;
            if !(sockets.is_known(*oldest) && sockets.disconnect(*oldest).await) {
                is_unfinished = true;
                continue;
            }
            self.common.metrics.limited(Limit::MaxConnectionsPerUser);
            tracing::info!(socket.id = %oldest, user = &**user, "sent away: the user has too many sockets");
        }
        self.user_checks.ask_for(user, is_unfinished);
        Ok(admission)
    }

    async fn enter(&self, room: &RoomName) -> Result<(Arc<str>, Keep), Refusal> {
        let opened = match self.common.doors.enter(room) {
            Entry::Now(keep) => Ok(keep),
            Entry::Later(opening) => opening.await,
        };
        match opened {
            Ok(keep) => Ok((Arc::from(room.as_str()), keep)),
            Err(error) => {
                tracing::error!(%room, %error, "a client cannot be let in");
                Err(Refusal::ServerUnavailable)
            }
        }
    }
}

impl Application for Sessions {
    type Member = Session;

    async fn connect(&self, handshake: Handshake<'_>) -> Result<Admitted<Session>, &'static str> {
        let began = Instant::now();
        let decided = self.admit(&handshake).await;
        let metrics = &self.common.metrics;
        metrics.handshake_duration.record(began.elapsed());
        match decided {
            Ok(admitted) => {
                metrics.accepted();
                Ok(admitted)
            }
            Err(refusal) => {
                metrics.refused(refusal);
                tracing::info!(
                    socket.id = %handshake.socket,
                    peer = peer(&handshake),
                    refusal.code = refusal.code(),
                    refusal.number = refusal.number(),
                    "connection refused"
                );
                Err(refusal.message())
            }
        }
    }
}

/// Whose connection it is, for logs: as the entrance found out, or the other end of it.
fn peer(handshake: &Handshake<'_>) -> Option<String> {
    let seat = handshake.request.extensions.get::<Seat>();
    seat.map(|seat| seat.address().to_string())
        .or_else(|| handshake.peer.map(|peer| peer.to_string()))
}

/// The query that the policy sees: the client's own names. The protocol's and the token are left out, and of a
/// repeated name the first counts.
fn client_query(text: &str) -> Value {
    let mut map = Map::new();
    for (name, value) in query::pairs(text) {
        if !matches!(name.as_str(), "EIO" | "transport" | "t" | "sid" | "b64" | "token") {
            map.entry(name).or_insert(Value::String(value));
        }
    }
    Value::Object(map)
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
