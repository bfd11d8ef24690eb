//! The sessions of this node, for what has to be done to all of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{engine::SocketId, session::Session};

/// The sessions that are connected. It keeps none of them alive.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<HashMap<SocketId, Weak<Session>>>);

impl Roster {
    pub(crate) fn add(&self, socket: SocketId, session: &Arc<Session>) {
        self.sessions().insert(socket, Arc::downgrade(session));
    }

    /// Takes out one that is gone; its id may belong to another one already.
    pub(crate) fn remove(&self, socket: SocketId, session: &Session) {
        let mut sessions = self.sessions();
        let is_mine = |s: &Weak<Session>| std::ptr::eq(s.as_ptr(), session);
        if sessions.get(&socket).is_some_and(is_mine) {
            sessions.remove(&socket);
        }
    }

    /// The session of a socket.
    pub(crate) fn find(&self, socket: SocketId) -> Option<Arc<Session>> {
        self.sessions().get(&socket)?.upgrade()
    }

    /// Those that are connected now.
    pub(crate) fn all(&self) -> Vec<Weak<Session>> {
        self.sessions().values().cloned().collect()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SocketId, Weak<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
