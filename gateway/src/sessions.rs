//! All clients of this node: who is let in, and how many different users there are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use serde_json::{Map, Value};

use crate::{
    auth::{Places, Verifier},
    engine::{Admitted, Application, Handshake, Sockets},
    metrics::Metrics,
    policy::Policy,
    query,
    refusal::Refusal,
    session::Session,
};

/// Lets clients in, and knows who is here.
#[derive(Debug)]
pub struct Sessions {
    verifier: Verifier,
    policy: Arc<Policy>,
    sockets: Sockets,
    metrics: Metrics,
    population: Arc<Population>,
}

/// Who is connected to this node.
#[derive(Debug, Default)]
pub struct Population {
    connected: AtomicUsize,
    users: Mutex<HashMap<Arc<str>, usize>>,
}

/// One session in the [`Population`]: counted when made, uncounted when dropped, exactly once.
#[derive(Debug)]
pub struct Admission {
    population: Arc<Population>,
    user: Arc<str>,
}

impl Sessions {
    /// Brings the parts together.
    pub fn new(verifier: Verifier, policy: Arc<Policy>, sockets: Sockets, metrics: Metrics) -> Sessions {
        Sessions {
            verifier,
            policy,
            sockets,
            metrics,
            population: Arc::default(),
        }
    }

    /// Who is connected.
    pub fn population(&self) -> &Arc<Population> {
        &self.population
    }

    fn admit(&self, handshake: &Handshake<'_>, now: SystemTime) -> Result<Admitted<Session>, Refusal> {
        let request = handshake.request;
        let text = request.uri.query().unwrap_or_default();
        let places = Places {
            auth: &handshake.auth,
            headers: &request.headers,
            query: text,
        };
        let claims = self.verifier.admit(places, now)?;
        let grants = self.policy.admit(&claims, &client_query(text), now)?;
        let admission = self.population.admit(&grants.identity.user);
        tracing::info!(
            socket.id = %handshake.socket,
            user = grants.identity.user,
            peer = handshake.peer.map(tracing::field::display),
            room.count = grants.rooms.len(),
            "connected"
        );
        let session = Session::new(
            handshake.socket,
            grants.identity,
            claims.values(),
            self.policy.clone(),
            self.sockets.clone(),
            self.metrics.clone(),
            admission,
        );
        let rooms = grants.rooms.iter().map(|room| Arc::from(room.as_str())).collect();
        Ok(Admitted {
            member: Arc::new(session),
            rooms,
        })
    }
}

impl Application for Sessions {
    type Member = Session;

    async fn connect(&self, handshake: Handshake<'_>) -> Result<Admitted<Session>, &'static str> {
        let began = Instant::now();
        let decided = self.admit(&handshake, SystemTime::now());
        self.metrics.handshake_duration.record(began.elapsed());
        match decided {
            Ok(admitted) => {
                self.metrics.accepted();
                Ok(admitted)
            }
            Err(refusal) => {
                self.metrics.refused(refusal);
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

impl Population {
    /// How many sockets are connected.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// How many different users are connected.
    pub fn user_count(&self) -> usize {
        self.users().len()
    }

    /// The different users.
    pub fn user_names(&self) -> Vec<Arc<str>> {
        self.users().keys().cloned().collect()
    }

    fn admit(self: &Arc<Self>, user: &str) -> Admission {
        let mut users = self.users();
        let user = users
            .get_key_value(user)
            .map_or_else(|| Arc::from(user), |(name, _)| name.clone());
        *users.entry(user.clone()).or_default() += 1;
        drop(users);
        self.connected.fetch_add(1, Ordering::Relaxed);
        Admission {
            population: self.clone(),
            user,
        }
    }

    fn users(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.population.connected.fetch_sub(1, Ordering::Relaxed);
        let mut users = self.population.users();
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
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
