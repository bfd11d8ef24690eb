//! All clients of this node: who is let in.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use adapter_redis::{Interests, RoomName};
use futures_util::future::try_join_all;
use serde_json::{Map, Value};

pub use crate::population::Population;
use crate::{
    auth::{Claims, Places, Verifier},
    engine::{Admitted, Application, Handshake, Keep, Sockets},
    joining::{Entry, Joining},
    metrics::Metrics,
    policy::{Grants, Policy},
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
}

impl Sessions {
    /// Brings the parts together.
    pub fn new(
        verifier: Verifier,
        policy: Arc<Policy>,
        sockets: Sockets,
        interests: Interests,
        joining: Joining,
        metrics: Metrics,
    ) -> Sessions {
        let common = Common {
            policy,
            sockets,
            doors: Box::new(interests),
            joining,
            metrics,
        };
        Sessions {
            verifier,
            common: Arc::new(common),
            population: Arc::default(),
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
        let admission = self.population.admit(handshake.socket, grants.identity);
        tracing::info!(
            socket.id = %handshake.socket,
            user = &*admission.identity().user,
            peer = handshake.peer.map(tracing::field::display),
            room.count = rooms.len(),
            "connected"
        );
        let session = Session::new(handshake.socket, claims.values(), self.common.clone(), admission);
        Ok(Admitted {
            member: Arc::new(session),
            rooms,
        })
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
                    peer = handshake.peer.map(tracing::field::display),
                    refusal.code = refusal.code(),
                    refusal.number = refusal.number(),
                    "connection refused"
                );
                Err(refusal.message())
            }
        }
    }
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
