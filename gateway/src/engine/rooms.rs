//! Which sockets of this node are in which room. Pure.
//!
//! socketioxide tells nobody of joins and leaves, so membership goes through this index: it counts whom an event
//! reaches, and it holds something for each room from the first member to the last. It also knows when a room last got
//! something, and so when a socket did.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use super::activity::{Activity, Latest, Seconds};

/// The index. `S` is the socket's id, `K` what is kept for each room that has members.
#[derive(Debug)]
pub(super) struct Rooms<S, K> {
    rooms: HashMap<Arc<str>, Room<S, K>>,
    sockets: HashMap<S, Known>,
}

#[derive(Debug, Default)]
struct Known {
    rooms: Vec<Arc<str>>,
    /// When it last did something itself.
    own: Arc<Latest>,
}

#[derive(Debug)]
struct Room<S, K> {
    members: HashSet<S>,
    keep: K,
    /// When it last got something.
    latest: Latest,
}

/// What became of [`Rooms::join`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined<K> {
    /// The socket is the first in the room, which keeps what came with it.
    First,
    /// The socket is in, and what came with it is not needed.
    Another(K),
    /// The socket was in the room already, or is not known; what came with it is not needed.
    Unchanged(K),
}

impl<S, K> Default for Rooms<S, K> {
    fn default() -> Self {
        Rooms {
            rooms: HashMap::new(),
            sockets: HashMap::new(),
        }
    }
}

// What is kept is handed out and never dropped in here: the index is behind a lock, and dropping may do anything.
impl<S: Copy + Eq + Hash, K> Rooms<S, K> {
    /// Makes a socket known; before that, and after [`Rooms::remove`], it can join nothing. So an event that is
    /// still being handled while its connection ends leaves no member behind.
    pub(super) fn add(&mut self, socket: S, own: Arc<Latest>) {
        let rooms = Vec::new();
        self.sockets.entry(socket).or_insert(Known { rooms, own });
    }

    /// Puts a socket into a room.
    pub(super) fn join(&mut self, socket: S, room: &Arc<str>, keep: K) -> Joined<K> {
        let Some(Known { rooms, .. }) = self.sockets.get_mut(&socket) else {
            return Joined::Unchanged(keep);
        };
        if let Some(entry) = self.rooms.get_mut(room) {
            if !entry.members.insert(socket) {
                return Joined::Unchanged(keep);
            }
            rooms.push(room.clone());
            return Joined::Another(keep);
        }
        rooms.push(room.clone());
        let (members, latest) = (HashSet::from([socket]), Latest::default());
        self.rooms.insert(
            room.clone(),
            Room {
                members,
                keep,
                latest,
            },
        );
        Joined::First
    }

    /// Takes a socket out of a room; `None` when it was not in it. With the last one goes what was kept.
    pub(super) fn leave(&mut self, socket: S, room: &str) -> Option<Option<K>> {
        let Known { rooms, .. } = self.sockets.get_mut(&socket)?;
        let before = rooms.len();
        rooms.retain(|r| &**r != room);
        (rooms.len() < before).then(|| self.remove_member(socket, room))
    }

    /// Takes a socket out of all its rooms, and gives back what was kept for those that are empty now.
    pub(super) fn remove(&mut self, socket: S) -> Vec<K> {
        let known = self.sockets.remove(&socket).unwrap_or_default();
        known
            .rooms
            .iter()
            .filter_map(|room| self.remove_member(socket, room))
            .collect()
    }

    /// How many sockets are known.
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Whether a socket is known.
    pub(super) fn is_known(&self, socket: S) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// The rooms of a socket, in the order in which it came into them.
    pub(super) fn of(&self, socket: S) -> &[Arc<str>] {
        self.sockets
            .get(&socket)
            .map_or(&[], |known| known.rooms.as_slice())
    }

    /// Something goes out to these rooms.
    pub(super) fn note<'a>(&self, rooms: impl Iterator<Item = &'a str>, now: Seconds) {
        for room in rooms.filter_map(|room| self.rooms.get(room)) {
            room.latest.note(now);
        }
    }

    /// When a socket was used last; `None` = it is gone.
    pub(super) fn activity(&self, socket: S) -> Option<Activity> {
        self.sockets.get(&socket).map(|known| self.activity_of(known))
    }

    /// All sockets, and when they were used last. Walks over all of them and their rooms.
    pub(super) fn activities(&self) -> impl Iterator<Item = (S, Activity)> {
        self.sockets
            .iter()
            .map(|(socket, known)| (*socket, self.activity_of(known)))
    }

    fn activity_of(&self, known: &Known) -> Activity {
        let rooms = known.rooms.iter().filter_map(|room| self.rooms.get(room));
        Activity::of(known.own.get(), rooms.map(|room| room.latest.get()))
    }

    /// Whether a socket is in a room.
    pub(super) fn is_member(&self, socket: S, room: &str) -> bool {
        self.members_of(room)
            .is_some_and(|members| members.contains(&socket))
    }

    /// The sockets in a room.
    pub(super) fn members(&self, room: &str) -> impl Iterator<Item = S> {
        self.rooms
            .get(room)
            .into_iter()
            .flat_map(|r| r.members.iter().copied())
    }

    /// How many sockets are in one of `rooms` and in none of `except`. `named` finds a socket that `except`
    /// names by its id.
    pub(super) fn reached<'a>(
        &self,
        rooms: impl IntoIterator<Item = &'a str>,
        except: &[String],
        named: impl Fn(&str) -> Option<S>,
    ) -> usize {
        let mut sets: Vec<&HashSet<S>> = rooms.into_iter().filter_map(|r| self.members_of(r)).collect();
        if except.is_empty()
            && let [only] = sets.as_slice()
        {
            return only.len();
        }
        sets.sort_by_key(|s| s.len());
        let left_out: Vec<&HashSet<S>> = except.iter().filter_map(|r| self.members_of(r)).collect();
        let left_out_ids: HashSet<S> = except.iter().filter_map(|e| named(e)).collect();
        let reached: HashSet<S> = sets.into_iter().flatten().copied().collect();
        reached
            .iter()
            .filter(|s| !left_out_ids.contains(s) && !left_out.iter().any(|o| o.contains(s)))
            .count()
    }

    /// Whether anybody is in the room.
    pub(super) fn is_inhabited(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// All rooms that somebody is in.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.rooms.keys().map(|r| &**r)
    }

    /// How many rooms somebody is in.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    fn members_of(&self, room: &str) -> Option<&HashSet<S>> {
        self.rooms.get(room).map(|r| &r.members)
    }

    fn remove_member(&mut self, socket: S, room: &str) -> Option<K> {
        let entry = self.rooms.get_mut(room)?;
        entry.members.remove(&socket);
        if !entry.members.is_empty() {
            return None;
        }
        self.rooms.remove(room).map(|r| r.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(joins: &[(u8, &str)]) -> Rooms<u8, String> {
        let mut rooms = Rooms::default();
        for (socket, room) in joins {
            rooms.add(*socket, Arc::default());
            rooms.join(*socket, &Arc::from(*room), format!("{room} of {socket}"));
        }
        rooms
    }

    #[test]
    fn a_socket_in_two_rooms_is_reached_once_and_exceptions_are_left_out() {
        let rooms = index(&[(1, "a"), (2, "a"), (2, "b"), (3, "b"), (3, "c")]);
        let named = |id: &str| id.parse().ok();
        for (to, except, expect) in [
            (vec!["a"], vec![], 2),
            (vec!["a", "b"], vec![], 3),
            (vec!["a", "b"], vec!["c"], 2),
            (vec!["a", "b"], vec!["1", "c"], 1),
            (vec!["a"], vec!["a"], 0),
            (vec!["nobody"], vec![], 0),
            (vec!["nobody", "c"], vec!["unknown"], 1),
        ] {
            let except: Vec<String> = except.into_iter().map(str::to_owned).collect();
            assert_eq!(
                rooms.reached(to.iter().copied(), &except, named),
                expect,
                "{to:?} {except:?}"
            );
        }
    }

    #[test]
    fn nothing_stays_behind() {
        let keep = || "new".to_owned();
        let mut rooms = index(&[(1, "a"), (1, "b"), (2, "b")]);
        let twice = rooms.join(1, &Arc::from("a"), keep());
        assert_eq!(twice, Joined::Unchanged(keep()), "joining twice changes nothing");
        assert_eq!(rooms.leave(1, "a"), Some(Some("a of 1".to_owned())));
        assert_eq!(rooms.leave(1, "a"), None);
        assert!(!rooms.is_inhabited("a"));
        assert_eq!(rooms.remove(1), Vec::<String>::new(), "2 is still in b");
        assert_eq!(rooms.remove(1), Vec::<String>::new());
        assert_eq!(rooms.remove(2), ["b of 1"]);
        let gone = rooms.join(2, &Arc::from("c"), keep());
        assert_eq!(gone, Joined::Unchanged(keep()), "who is gone joins nothing");
        assert_eq!(rooms.len(), 0);
        assert!(rooms.sockets.is_empty());
    }

    #[test]
    fn a_room_that_got_something_makes_its_members_less_idle() {
        let mut rooms = index(&[(1, "a"), (2, "a"), (2, "b"), (3, "c")]);
        let own = Arc::new(Latest::at(5));
        rooms.add(4, own.clone());
        let order = |rooms: &Rooms<u8, String>| {
            let mut all: Vec<_> = rooms.activities().collect();
            all.sort_by_key(|(socket, activity)| (*activity, *socket));
            all.into_iter().map(|(socket, _)| socket).collect::<Vec<_>>()
        };
        assert_eq!(order(&rooms), [1, 2, 3, 4]);
        rooms.note(["b", "nobody"].into_iter(), 7);
        rooms.note(["c"].into_iter(), 3);
        assert_eq!(order(&rooms), [1, 3, 4, 2]);
        own.note(8);
        assert_eq!(order(&rooms), [1, 3, 2, 4], "what it does itself counts, too");
        rooms.leave(2, "b");
        assert_eq!(order(&rooms), [1, 2, 3, 4], "another member's room");
        rooms.remove(4);
        assert_eq!(rooms.activity(4), None);
        assert_eq!(rooms.activity(3), Some(Activity::of(0, [3].into_iter())));
    }

    #[test]
    fn a_room_keeps_what_its_first_member_brought() {
        let mut rooms = index(&[(1, "a")]);
        rooms.add(2, Arc::default());
        let second = rooms.join(2, &Arc::from("a"), "second".to_owned());
        assert_eq!(second, Joined::Another("second".to_owned()));
        assert_eq!(rooms.leave(1, "a"), Some(None), "whoever brought it may go");
        assert_eq!(rooms.members("a").collect::<Vec<_>>(), [2]);
        assert_eq!(rooms.leave(2, "a"), Some(Some("a of 1".to_owned())));
        let again = rooms.join(1, &Arc::from("a"), "third".to_owned());
        assert_eq!(again, Joined::First);
        assert_eq!(rooms.of(1), [Arc::from("a")]);
        assert_eq!(rooms.of(2), []);
        assert!(rooms.is_known(2));
    }
}
