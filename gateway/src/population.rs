//! Who is connected to this node: from a user to the sockets, and from a socket to whose it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use adapter_redis::{Announcement, Announcer, SessionAbout};

use crate::{engine::SocketId, policy::Identity};

/// Who is connected to this node.
#[derive(Debug, Default)]
pub struct Population {
    index: Mutex<Index>,
    announcer: Announcer,
}

#[derive(Debug, Default)]
struct Index {
    connected: usize,
    users: HashMap<Arc<str>, Several>,
    sockets: HashMap<SocketId, Known>,
}

#[derive(Debug)]
struct Known {
    identity: Arc<Identity>,
    since_ms: u64,
}

/// In the order of their admission. Most users have one socket, and that costs no allocation.
#[derive(Debug)]
enum Several {
    One(SocketId),
    More(Vec<SocketId>),
}

/// One session in the [`Population`]: counted and announced when made, uncounted when dropped, exactly once.
#[derive(Debug)]
pub struct Admission {
    population: Arc<Population>,
    socket: SocketId,
    identity: Arc<Identity>,
    announcement: Announcement,
}

impl Population {
    /// Nobody yet; who comes and goes is announced to backends.
    pub(crate) fn announced_by(announcer: Announcer) -> Population {
        Population {
            index: Mutex::default(),
            announcer,
        }
    }

    /// How many sockets are connected.
    pub fn connected(&self) -> usize {
        self.index().connected
    }

    /// How many different users are connected.
    pub fn user_count(&self) -> usize {
        self.index().users.len()
    }

    /// The different users.
    pub fn user_names(&self) -> Vec<Arc<str>> {
        self.index().users.keys().cloned().collect()
    }

    /// The sockets of a user, in the order in which they were admitted.
    pub fn sockets_of(&self, user: &str) -> Vec<SocketId> {
        self.index()
            .users
            .get(user)
            .map_or_else(Vec::new, |sockets| sockets.as_slice().to_vec())
    }

    /// Whose a socket is.
    pub fn identity(&self, socket: SocketId) -> Option<Arc<Identity>> {
        self.index()
            .sockets
            .get(&socket)
            .map(|known| known.identity.clone())
    }

    /// When a socket was admitted, in milliseconds since 1970.
    pub fn connected_at_ms(&self, socket: SocketId) -> Option<u64> {
        self.index().sockets.get(&socket).map(|known| known.since_ms)
    }

    /// Counts a session.
    pub(crate) fn admit(
        self: &Arc<Self>,
        socket: SocketId,
        identity: Identity,
        now: SystemTime,
    ) -> Admission {
        self.count(&mut self.index(), socket, identity, now)
    }

    /// As [`Population::admit`]; `None` when the user has `most` sockets already.
    pub(crate) fn admit_up_to(
        self: &Arc<Self>,
        most: usize,
        socket: SocketId,
        identity: Identity,
        now: SystemTime,
    ) -> Option<Admission> {
        let mut index = self.index();
        let count = index.users.get(&identity.user).map_or(0, |s| s.as_slice().len());
        (count < most).then(|| self.count(&mut index, socket, identity, now))
    }

    fn count(
        self: &Arc<Self>,
        index: &mut Index,
        socket: SocketId,
        mut identity: Identity,
        now: SystemTime,
    ) -> Admission {
        // One text for each user, however many sockets there are.
        if let Some((user, _)) = index.users.get_key_value(&identity.user) {
            identity.user = user.clone();
        }
        let identity = Arc::new(identity);
        index.connected += 1;
        index
            .users
            .entry(identity.user.clone())
            .and_modify(|sockets| sockets.add(socket))
            .or_insert(Several::One(socket));
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let known = Known {
            identity: identity.clone(),
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
        let announcement = self.announcer.announce(|| SessionAbout {
            session: socket.to_string().into(),
            user: identity.user.clone(),
            tenant: identity.tenant.as_deref().map(Box::from),
            connected_at: known.since_ms,
        });
        index.sockets.insert(socket, known);
        Admission {
            population: self.clone(),
            socket,
            identity,
            announcement,
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Who was admitted.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The session is over; backends are told why.
    pub(crate) fn ends(&self, reason: &'static str) {
        self.announcement.end(reason);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut index = self.population.index();
        index.connected -= 1;
        let user = &self.identity.user;
        if index.users.get_mut(user).is_some_and(|s| s.remove(self.socket)) {
            index.users.remove(user);
        }
        // A client may come back under the same id before its old session is forgotten.
        let is_mine = index.sockets.get(&self.socket);
        if is_mine.is_some_and(|known| Arc::ptr_eq(&known.identity, &self.identity)) {
            index.sockets.remove(&self.socket);
        }
    }
}

impl Several {
    fn as_slice(&self) -> &[SocketId] {
        match self {
            Several::One(socket) => std::slice::from_ref(socket),
            Several::More(sockets) => sockets,
        }
    }

    fn add(&mut self, socket: SocketId) {
        match self {
            Several::One(first) => *self = Several::More(vec![*first, socket]),
            Several::More(sockets) => sockets.push(socket),
        }
    }

    /// Takes a socket out once; whether it was the last.
    fn remove(&mut self, socket: SocketId) -> bool {
        match self {
            Several::One(only) => *only == socket,
            Several::More(sockets) => {
                if let Some(place) = sockets.iter().position(|s| *s == socket) {
                    sockets.remove(place);
                }
                if let [only] = sockets.as_slice() {
                    *self = Several::One(*only);
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(number: u8) -> SocketId {
        format!("socket-{number:013}").parse().unwrap()
    }

    fn at(ms: u8) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_millis(ms.into())
    }

    fn identity(user: &str) -> Identity {
        Identity {
            user: user.into(),
            tenant: Some("t".to_owned()),
        }
    }

    #[test]
    fn sockets_are_found_by_user_and_users_by_socket() {
        let population = Arc::new(Population::default());
        let mut admitted: Vec<Admission> = [(1, "ann"), (2, "bob"), (3, "ann"), (4, "ann")]
            .map(|(number, user)| population.admit(socket(number), identity(user), at(number)))
            .into();
        assert_eq!((population.connected(), population.user_count()), (4, 2));
        assert_eq!(population.sockets_of("ann"), [1, 3, 4].map(socket));
        assert_eq!(population.sockets_of("bob"), [socket(2)]);
        assert_eq!(population.sockets_of("cid"), []);
        assert_eq!(population.identity(socket(3)).unwrap().user.as_ref(), "ann");
        let texts = [1, 3].map(|n| population.identity(socket(n)).unwrap().user.as_ptr());
        assert_eq!(texts[0], texts[1], "one text for a user");

        admitted.remove(0);
        assert_eq!(population.identity(socket(1)), None);
        admitted.remove(1);
        assert_eq!(population.sockets_of("ann"), [socket(4)]);
        assert_eq!((population.connected(), population.user_count()), (2, 2));
        admitted.clear();
        assert_eq!((population.connected(), population.user_count()), (0, 0));
        let index = population.index();
        assert!(index.users.is_empty() && index.sockets.is_empty());
    }

    #[test]
    fn a_socket_that_comes_back_before_it_is_forgotten_stays() {
        let population = Arc::new(Population::default());
        let old = population.admit(socket(1), identity("ann"), at(1));
        let new = population.admit(socket(1), identity("ann"), at(1));
        drop(old);
        assert_eq!(population.connected(), 1);
        assert_eq!(population.sockets_of("ann"), [socket(1)]);
        assert!(population.identity(socket(1)).is_some());
        drop(new);
        assert_eq!(population.user_count(), 0);
        assert_eq!(population.identity(socket(1)), None);
    }

    #[test]
    fn the_order_of_admission_is_kept() {
        let population = Arc::new(Population::default());
        let mut admitted: Vec<Admission> = (1..=4)
            .map(|n| population.admit(socket(n), identity("ann"), at(9 - n)))
            .collect();
        admitted.remove(0);
        assert_eq!(population.sockets_of("ann"), [2, 3, 4].map(socket));
        admitted.push(population.admit(socket(1), identity("ann"), at(20)));
        admitted.remove(1);
        assert_eq!(population.sockets_of("ann"), [2, 4, 1].map(socket));
        assert_eq!(population.connected_at_ms(socket(1)), Some(20));
        assert_eq!(population.connected_at_ms(socket(3)), None);
    }

    #[test]
    fn no_more_than_so_many_of_a_user() {
        let population = Arc::new(Population::default());
        let admit = |n, user| population.admit_up_to(2, socket(n), identity(user), at(n));
        let first = admit(1, "ann").unwrap();
        let _second = admit(2, "ann").unwrap();
        assert!(admit(3, "ann").is_none());
        let _other = admit(4, "bob").unwrap();
        assert_eq!(population.connected(), 3);
        drop(first);
        assert!(admit(5, "ann").is_some());
    }
}
