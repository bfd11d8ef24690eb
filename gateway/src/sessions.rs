//! All clients of this node: who is let in.

use std::{
    ops::AddAssign,
    sync::Arc,
    time::{Instant, SystemTime},
};

use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};

pub use crate::population::Population;
use crate::{
    auth::{self, Claims, Credential, Places},
    engine::{Admitted, Application, Handshake, Refused, SocketId},
    hooks::Who,
    limits::{Limit, Overflow, Seat, UserChecks},
    policy::Identity,
    population::Admission,
    query,
    refusal::Refusal,
    revocation::Revocations,
    rules::Rules,
    session::{Common, Follow, Session},
    tail::{Kind, Sight},
};

/// How many sessions follow another policy before connections have their turn.
const FOLLOW_BATCH: usize = 64;

/// What following another policy came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Followed {
    /// Rooms left, over all sockets.
    pub left: usize,
    /// Rooms entered, over all sockets.
    pub entered: usize,
    /// Sockets that have to connect anew.
    pub reconnected: usize,
}

impl AddAssign for Followed {
    fn add_assign(&mut self, other: Followed) {
        self.left += other.left;
        self.entered += other.entered;
        self.reconnected += other.reconnected;
    }
}

/// Lets clients in, and knows who is here.
#[derive(Debug)]
pub struct Sessions {
    common: Arc<Common>,
    user_checks: UserChecks,
}

impl Sessions {
    /// Brings the parts together.
    pub(crate) fn new(common: Common, user_checks: UserChecks) -> Sessions {
        Sessions {
            common: Arc::new(common),
            user_checks,
        }
    }

    /// Who is connected.
    pub fn population(&self) -> &Arc<Population> {
        &self.common.population
    }

    /// From now on tokens are verified like this. Who is connected stays, and so do key sets that are used further.
    pub fn set_verifier(&self, config: auth::Config) {
        let verifier = self.common.verifier.load().with(config);
        self.common.verifier.store(Arc::new(verifier));
    }

    /// Verifies one token as for a client that connects now.
    ///
    /// # Errors
    /// The refusal that the client would be told.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Refusal> {
        self.common.verifier.load_full().verify(token, now).await
    }

    /// The policy in force.
    pub fn rules(&self) -> &Rules {
        &self.common.rules
    }

    /// Lets every connected client's rooms follow the policy in force: it leaves what it may no longer be in, enters
    /// what it may be in from the start, and has to connect anew where it would be somebody else.
    pub async fn follow(&self) -> Followed {
        let mut followed = Followed::default();
        for (number, session) in self.common.roster.all().into_iter().enumerate() {
            if number % FOLLOW_BATCH == 0 {
                tokio::task::yield_now().await; // connections have their turn
            }
            let Some(session) = session.upgrade() else {
                continue;
            };
            match session.follow() {
                Follow::Reconnect => {
                    followed.reconnected += usize::from(self.common.sockets.close(session.socket()).await);
                }
                Follow::Rooms {
                    left,
                    enter,
                    generation,
                } => {
                    followed.left += left;
                    for room in enter {
                        if let Ok(keep) = self.common.open(&room).await {
                            followed.entered += usize::from(session.enter_given(generation, room, keep));
                        }
                    }
                }
            }
        }
        followed
    }

    async fn claims(&self, handshake: &Handshake<'_>, now: SystemTime) -> Result<Claims, Refusal> {
        let request = handshake.request;
        let places = Places {
            auth: &handshake.auth,
            headers: &request.headers,
            query: request.uri.query().unwrap_or_default(),
        };
        self.common.verifier.load_full().admit(places, now).await
    }

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admitted<Session>, Refusal> {
        let now = SystemTime::now();
        let claims = self.claims(handshake, now).await?;
        let query = client_query(handshake.request.uri.query().unwrap_or_default());
        let (credential, claims_text) = (claims.credential(), claims.values().to_string());
        self.common.revocations.known().await;
        let (grants, given, rooms) = loop {
            let decided_by = self.common.rules.now().loaded().clone();
            let grants = self.common.rules.admit(&claims, &query, now)?;
            self.refuse_revoked(&grants.identity.user, &credential)?;
            let who = Who {
                identity: &grants.identity,
                socket: handshake.socket,
                claims: &claims_text,
            };
            let address = peer(handshake);
            let hooks = &self.common.hooks;
            let given = hooks.connect(&who, &query, address.as_deref()).await?;
            let more = given.iter().filter(|room| !grants.rooms.contains(room));
            // Nothing that is published after `connect` may be missed, so the rooms are open before the client is in.
            let open = async |room| Ok((Arc::from(room), self.common.open(room).await?));
            let entered = grants.rooms.iter().chain(more).map(open);
            let rooms = try_join_all(entered).await?;
            // That may have taken a while, in which another policy came into force.
            if self.common.rules.is_in_force(&decided_by) {
                break (grants, given, rooms);
            }
        };
        let admission = self.count(handshake.socket, grants.identity).await?;
        let session = Session::new(
            handshake.socket,
            &claims,
            &query,
            self.common.clone(),
            admission,
            grants.rooms,
            given,
        );
        let session = Arc::new(session);
        self.common.roster.add(handshake.socket, &session);
        // It can be found from here on. Who revoked the token before has not found it.
        if let Err(revoked) = self.refuse_revoked(session.user(), &session.credential()) {
            self.common.roster.remove(handshake.socket, &session);
            return Err(revoked);
        }
        tracing::info!(
            socket.id = %handshake.socket,
            user = session.user(),
            peer = peer(handshake),
            room.count = rooms.len(),
            "connected"
        );
        self.common.tails.show(|| Sight {
            kind: Kind::Connect,
            source: Some("client"),
            user: Some(session.user()),
            session: Some(handshake.socket),
            rooms: rooms.iter().map(|(room, _)| &**room).collect(),
            ..Sight::default()
        });
        session.begin(self.common.verifier.load().leeway());
        Ok(Admitted {
            member: session,
            rooms,
            recovery: None,
        })
    }

    fn refuse_revoked(&self, user: &str, token: &Credential) -> Result<(), Refusal> {
        self.common.revocations.check(user, token, SystemTime::now())
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.common.revocations
    }

    /// Counts a user's socket, and sends the oldest away where there are too many. Those of other nodes are looked at
    /// afterwards: a client does not wait for other nodes.
    async fn count(&self, socket: SocketId, identity: Identity) -> Result<Admission, Refusal> {
        let (most, overflow) = {
            let limits = self.common.limits.get();
            (limits.max_connections_per_user as usize, limits.user_overflow)
        };
        let (population, now) = (&self.common.population, SystemTime::now());
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
}

impl Application for Sessions {
    type Member = Session;

    async fn connect(&self, handshake: Handshake<'_>) -> Result<Admitted<Session>, Refused> {
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
                self.common.tails.show(|| Sight {
                    kind: Kind::Refusal,
                    source: Some("client"),
                    session: Some(handshake.socket),
                    reason: Some(refusal.code()),
                    ..Sight::default()
                });
                tracing::info!(
                    socket.id = %handshake.socket,
                    peer = peer(&handshake),
                    refusal.code = refusal.code(),
                    refusal.number = refusal.number(),
                    "connection refused"
                );
                Err(Refused {
                    message: refusal.message().to_owned(),
                    data: Some(json!({
                        "code": refusal.code(),
                        "message": refusal.message(),
                        "retry": refusal.retry(),
                    })),
                })
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
