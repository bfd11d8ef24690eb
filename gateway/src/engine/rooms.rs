//! Which sockets of this node are in which room. Pure.
//!
//! socketioxide tells nobody of joins and leaves, so membership goes through this index: it counts whom an event
//! reaches, and it is where the bus will learn that a room got its first member or lost its last.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// The index. `S` is the socket's id.
#[derive(Debug)]
pub(super) struct Rooms<S> {
    members: HashMap<Arc<str>, HashSet<S>>,
    rooms: HashMap<S, Vec<Arc<str>>>,
}

impl<S> Default for Rooms<S> {
    fn default() -> Self {
        Rooms {
            members: HashMap::new(),
            rooms: HashMap::new(),
        }
    }
}

impl<S: Copy + Eq + Hash> Rooms<S> {
    /// Makes a socket known; before that, and after [`Rooms::remove`], it can join nothing. So an event that is
    /// still being handled while its connection ends leaves no member behind.
    pub(super) fn add(&mut self, socket: S) {
        self.rooms.entry(socket).or_default();
    }

    /// Puts a socket into a room; `false` when it was in it already, or is not known.
    pub(super) fn join(&mut self, socket: S, room: &Arc<str>) -> bool {
        let Some(rooms) = self.rooms.get_mut(&socket) else {
            return false;
        };
        let added = self.members.entry(room.clone()).or_default().insert(socket);
        if added {
            rooms.push(room.clone());
        }
        added
    }

    /// Takes a socket out of a room; `false` when it was not in it.
    pub(super) fn leave(&mut self, socket: S, room: &str) -> bool {
        let removed = self.remove_member(socket, room);
        if removed && let Some(rooms) = self.rooms.get_mut(&socket) {
            rooms.retain(|r| &**r != room);
        }
        removed
    }

    /// Takes a socket out of all its rooms.
    pub(super) fn remove(&mut self, socket: S) {
        for room in self.rooms.remove(&socket).unwrap_or_default() {
            self.remove_member(socket, &room);
        }
    }

    /// How many sockets are in one of `rooms` and in none of `except`. `named` finds a socket that `except`
    /// names by its id.
    pub(super) fn reached<'a>(
        &self,
        rooms: impl IntoIterator<Item = &'a str>,
        except: &[String],
        named: impl Fn(&str) -> Option<S>,
    ) -> usize {
        let mut sets: Vec<&HashSet<S>> = rooms.into_iter().filter_map(|r| self.members.get(r)).collect();
        if except.is_empty()
            && let [only] = sets.as_slice()
        {
            return only.len();
        }
        sets.sort_by_key(|s| s.len());
        let left_out: Vec<&HashSet<S>> = except
            .iter()
            .filter_map(|r| self.members.get(r.as_str()))
            .collect();
        let left_out_ids: HashSet<S> = except.iter().filter_map(|e| named(e)).collect();
        let reached: HashSet<S> = sets.into_iter().flatten().copied().collect();
        reached
            .iter()
            .filter(|s| !left_out_ids.contains(s) && !left_out.iter().any(|o| o.contains(s)))
            .count()
    }

    /// Whether anybody is in the room.
    pub(super) fn is_inhabited(&self, room: &str) -> bool {
        self.members.contains_key(room)
    }

    /// All rooms that somebody is in.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(|r| &**r)
    }

    /// How many rooms somebody is in.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    fn remove_member(&mut self, socket: S, room: &str) -> bool {
        let Some(members) = self.members.get_mut(room) else {
            return false;
        };
        let removed = members.remove(&socket);
        if members.is_empty() {
            self.members.remove(room);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(joins: &[(u8, &str)]) -> Rooms<u8> {
        let mut rooms = Rooms::default();
        for (socket, room) in joins {
            rooms.add(*socket);
            rooms.join(*socket, &Arc::from(*room));
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
        let mut rooms = index(&[(1, "a"), (1, "b"), (2, "b")]);
        assert!(!rooms.join(1, &Arc::from("a")), "joining twice changes nothing");
        assert!(rooms.leave(1, "a"));
        assert!(!rooms.leave(1, "a"));
        assert!(!rooms.is_inhabited("a"));
        rooms.remove(1);
        rooms.remove(1);
        rooms.remove(2);
        assert!(!rooms.join(2, &Arc::from("c")), "who is gone joins nothing");
        assert_eq!(rooms.len(), 0);
        assert!(rooms.rooms.is_empty());
    }
}
