//! Which sockets of this node are in which room. Pure.
//!
//! It finds whom an event is for, and it holds something for each room from the first member to the last. It also knows
//! when a room last got something, and so when a socket did.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    activity::{Activity, Latest, Seconds},
    ids::{ById, Id},
};

/// A socket, as its rooms hold it.
pub(super) trait Member: Clone {
    /// Its id.
    fn id(&self) -> Id;
    /// When it last did something itself.
    fn own(&self) -> Seconds;
}

/// The index. `M` is a socket, `K` what is kept for each room that has members.
#[derive(Debug)]
pub(super) struct Rooms<M, K> {
    rooms: HashMap<Arc<str>, Room<M, K>>,
    sockets: ById<Known<M>>,
}

#[derive(Debug)]
struct Known<M> {
    socket: M,
    /// Its rooms in the order in which it came into them, each with its place among the members.
    rooms: Vec<(Arc<str>, u32)>,
}

#[derive(Debug)]
struct Room<M, K> {
    members: Vec<M>,
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

impl<M, K> Default for Rooms<M, K> {
    fn default() -> Self {
        Rooms {
            rooms: HashMap::new(),
            sockets: ById::default(),
        }
    }
}

// What is kept is handed out and never dropped in here: the index is behind a lock, and dropping may do anything.
impl<M: Member, K> Rooms<M, K> {
    /// Makes a socket known; before that, and after [`Rooms::remove`], it can join nothing. So an event that is
    /// still being handled while its connection ends leaves no member behind.
    pub(super) fn add(&mut self, socket: M) {
        let rooms = Vec::new();
        self.sockets.entry(socket.id()).or_insert(Known { socket, rooms });
    }

    /// Puts a socket into a room.
    pub(super) fn join(&mut self, socket: Id, room: &Arc<str>, keep: K) -> Joined<K> {
        let Some(known) = self.sockets.get_mut(&socket) else {
            return Joined::Unchanged(keep);
        };
        if known.rooms.iter().any(|(name, _)| name == room) {
            return Joined::Unchanged(keep);
        }
        let member = known.socket.clone();
        if let Some(entry) = self.rooms.get_mut(room) {
            let Ok(place) = u32::try_from(entry.members.len()) else {
                return Joined::Unchanged(keep);
            };
            known.rooms.push((room.clone(), place));
            entry.members.push(member);
            return Joined::Another(keep);
        }
        known.rooms.push((room.clone(), 0));
        let entry = Room {
            members: vec![member],
            keep,
            latest: Latest::default(),
        };
        self.rooms.insert(room.clone(), entry);
        Joined::First
    }

    /// Takes a socket out of a room; `None` when it was not in it. With the last one goes what was kept.
    pub(super) fn leave(&mut self, socket: Id, room: &str) -> Option<Option<K>> {
        let known = self.sockets.get_mut(&socket)?;
        let at = known.rooms.iter().position(|(name, _)| &**name == room)?;
        let (_, place) = known.rooms.remove(at);
        Some(self.remove_member(room, place))
    }

    /// Takes a socket out of all its rooms, and gives back what was kept for those that are empty now.
    pub(super) fn remove(&mut self, socket: Id) -> (Option<M>, Vec<K>) {
        let Some(known) = self.sockets.remove(&socket) else {
            return (None, Vec::new());
        };
        let kept = known.rooms.iter();
        let kept = kept
            .filter_map(|(room, place)| self.remove_member(room, *place))
            .collect();
        (Some(known.socket), kept)
    }

    /// How many sockets are known.
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Whether a socket is known.
    pub(super) fn is_known(&self, socket: Id) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// A socket.
    pub(super) fn get(&self, socket: Id) -> Option<&M> {
        self.sockets.get(&socket).map(|known| &known.socket)
    }

    /// All sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &M> {
        self.sockets.values().map(|known| &known.socket)
    }

    /// The rooms of a socket, in the order in which it came into them.
    pub(super) fn of(&self, socket: Id) -> impl Iterator<Item = &Arc<str>> {
        let known = self.sockets.get(&socket).into_iter();
        known.flat_map(|known| known.rooms.iter().map(|(room, _)| room))
    }

    /// When a socket was used last; `None` = it is gone.
    pub(super) fn activity(&self, socket: Id) -> Option<Activity> {
        self.sockets.get(&socket).map(|known| self.activity_of(known))
    }

    /// All sockets, and when they were used last. Walks over all of them and their rooms.
    pub(super) fn activities(&self) -> impl Iterator<Item = (Id, Activity)> {
        self.sockets
            .iter()
            .map(|(socket, known)| (*socket, self.activity_of(known)))
    }

    fn activity_of(&self, known: &Known<M>) -> Activity {
        let rooms = known.rooms.iter().filter_map(|(room, _)| self.rooms.get(room));
        Activity::of(known.socket.own(), rooms.map(|room| room.latest.get()))
    }

    /// Whether a socket is in a room.
    pub(super) fn is_member(&self, socket: Id, room: &str) -> bool {
        self.of(socket).any(|name| &**name == room)
    }

    /// The sockets in a room.
    pub(super) fn members(&self, room: &str) -> &[M] {
        self.rooms.get(room).map_or(&[], |room| &room.members)
    }

    /// The sockets in one of `rooms` and in none of `except`, each once, for something that goes out `now`. `named` finds
    /// the id of a socket that `except` names.
    pub(super) fn reached<'a>(
        &self,
        rooms: impl IntoIterator<Item = &'a str>,
        except: &[String],
        now: Seconds,
        named: impl Fn(&str) -> Option<Id>,
    ) -> Vec<M> {
        let mut found = rooms.into_iter().filter_map(|room| self.rooms.get(room));
        let Some(first) = found.next() else {
            return Vec::new();
        };
        first.latest.note(now);
        let second = found.next();
        if except.is_empty() && second.is_none() {
            return first.members.clone();
        }
        let mut seen: HashSet<Id> = except.iter().filter_map(|e| named(e)).collect();
        let left_out = except.iter().flat_map(|room| self.members(room));
        seen.extend(left_out.map(Member::id));
        let mut reached = Vec::new();
        for room in [first].into_iter().chain(second).chain(found) {
            room.latest.note(now);
            reached.extend(room.members.iter().filter(|m| seen.insert(m.id())).cloned());
        }
        reached
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

    /// Takes the member at a place out; the last one takes the place.
    fn remove_member(&mut self, room: &str, place: u32) -> Option<K> {
        let entry = self.rooms.get_mut(room)?;
        let at = place as usize;
        if at >= entry.members.len() {
            return None;
        }
        entry.members.swap_remove(at);
        if let Some(moved) = entry.members.get(at) {
            let known = self.sockets.get_mut(&moved.id());
            let own = known.and_then(|known| known.rooms.iter_mut().find(|(name, _)| &**name == room));
            if let Some((_, own)) = own {
                *own = place;
            }
        }
        if !entry.members.is_empty() {
            // What a crowd needed is given back when it has gone.
            if entry.members.capacity() > 64 && entry.members.len() < entry.members.capacity() / 4 {
                entry.members.shrink_to(entry.members.len() * 2);
            }
            return None;
        }
        self.rooms.remove(room).map(|r| r.keep)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Socket(u8, Arc<Latest>);

    impl Member for Socket {
        fn id(&self) -> Id {
            id(self.0)
        }

        fn own(&self) -> Seconds {
            self.1.get()
        }
    }

    fn id(number: u8) -> Id {
        Id::numbered(number.into())
    }

    fn socket(number: u8) -> Socket {
        Socket(number, Arc::default())
    }

    fn index(joins: &[(u8, &str)]) -> Rooms<Socket, String> {
        let mut rooms = Rooms::default();
        for (number, room) in joins {
            rooms.add(socket(*number));
            rooms.join(id(*number), &Arc::from(*room), format!("{room} of {number}"));
        }
        rooms
    }

    fn numbers(sockets: &[Socket]) -> Vec<u8> {
        let mut all: Vec<u8> = sockets.iter().map(|s| s.0).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_socket_in_two_rooms_is_reached_once_and_exceptions_are_left_out() {
        let rooms = index(&[(1, "a"), (2, "a"), (2, "b"), (3, "b"), (3, "c")]);
        let named = |text: &str| text.parse().ok().map(id);
        for (to, except, expect) in [
            (vec!["a"], vec![], vec![1, 2]),
            (vec!["a", "b"], vec![], vec![1, 2, 3]),
            (vec!["a", "a"], vec![], vec![1, 2]),
            (vec!["a", "b"], vec!["c"], vec![1, 2]),
            (vec!["a", "b"], vec!["1", "c"], vec![2]),
            (vec!["a"], vec!["a"], vec![]),
            (vec!["nobody"], vec![], vec![]),
            (vec!["nobody", "c"], vec!["unknown"], vec![3]),
        ] {
            let except: Vec<String> = except.into_iter().map(str::to_owned).collect();
            let reached = rooms.reached(to.iter().copied(), &except, 0, named);
            assert_eq!(numbers(&reached), expect, "{to:?} {except:?}");
        }
    }

    #[test]
    fn nothing_stays_behind() {
        let keep = || "new".to_owned();
        let mut rooms = index(&[(1, "a"), (1, "b"), (2, "b")]);
        let twice = rooms.join(id(1), &Arc::from("a"), keep());
        assert_eq!(twice, Joined::Unchanged(keep()), "joining twice changes nothing");
        assert_eq!(rooms.leave(id(1), "a"), Some(Some("a of 1".to_owned())));
        assert_eq!(rooms.leave(id(1), "a"), None);
        assert!(!rooms.is_inhabited("a"));
        assert_eq!(rooms.remove(id(1)).1, Vec::<String>::new(), "2 is still in b");
        assert_eq!(rooms.remove(id(1)).1, Vec::<String>::new());
        assert_eq!(rooms.remove(id(2)).1, ["b of 1"]);
        let gone = rooms.join(id(2), &Arc::from("c"), keep());
        assert_eq!(gone, Joined::Unchanged(keep()), "who is gone joins nothing");
        assert_eq!(rooms.len(), 0);
        assert!(rooms.sockets.is_empty());
    }

    #[test]
    fn a_room_that_got_something_makes_its_members_less_idle() {
        let mut rooms = index(&[(1, "a"), (2, "a"), (2, "b"), (3, "c")]);
        let own = Arc::new(Latest::at(5));
        rooms.add(Socket(4, own.clone()));
        let order = |rooms: &Rooms<Socket, String>| {
            let mut all: Vec<_> = rooms.activities().collect();
            all.sort_by_key(|(socket, activity)| (*activity, *socket));
            all.into_iter().map(|(socket, _)| socket).collect::<Vec<_>>()
        };
        assert_eq!(order(&rooms), [1, 2, 3, 4].map(id));
        rooms.reached(["b", "nobody"], &[], 7, |_| None);
        rooms.reached(["c"], &[], 3, |_| None);
        assert_eq!(order(&rooms), [1, 3, 4, 2].map(id));
        own.note(8);
        assert_eq!(
            order(&rooms),
            [1, 3, 2, 4].map(id),
            "what it does itself counts, too"
        );
        rooms.leave(id(2), "b");
        assert_eq!(order(&rooms), [1, 2, 3, 4].map(id), "another member's room");
        rooms.remove(id(4));
        assert_eq!(rooms.activity(id(4)), None);
        assert_eq!(rooms.activity(id(3)), Some(Activity::of(0, [3].into_iter())));
    }

    #[test]
    fn a_room_keeps_what_its_first_member_brought() {
        let mut rooms = index(&[(1, "a")]);
        rooms.add(socket(2));
        let second = rooms.join(id(2), &Arc::from("a"), "second".to_owned());
        assert_eq!(second, Joined::Another("second".to_owned()));
        assert_eq!(rooms.leave(id(1), "a"), Some(None), "whoever brought it may go");
        assert_eq!(numbers(rooms.members("a")), [2]);
        assert_eq!(rooms.leave(id(2), "a"), Some(Some("a of 1".to_owned())));
        let again = rooms.join(id(1), &Arc::from("a"), "third".to_owned());
        assert_eq!(again, Joined::First);
        assert_eq!(rooms.of(id(1)).cloned().collect::<Vec<_>>(), [Arc::from("a")]);
        assert_eq!(rooms.of(id(2)).count(), 0);
        assert!(rooms.is_known(id(2)));
    }

    proptest! {
        /// Whoever comes and goes: everybody's place is where it stands.
        #[test]
        fn places_stay_right(steps in prop::collection::vec((0..3_u8, 0..6_u8, 0..4_u8), 1..200)) {
            let mut rooms = index(&[]);
            let mut model: HashSet<(u8, u8)> = HashSet::new();
            for (step, number, room) in steps {
                let name: Arc<str> = Arc::from(room.to_string());
                rooms.add(socket(number));
                match step {
                    0 => {
                        rooms.join(id(number), &name, String::new());
                        model.insert((number, room));
                    }
                    1 => {
                        let left = rooms.leave(id(number), &name).is_some();
                        prop_assert_eq!(left, model.remove(&(number, room)));
                    }
                    _ => {
                        rooms.remove(id(number));
                        model.retain(|(n, _)| *n != number);
                    }
                }
                for (name, room) in &rooms.rooms {
                    for (at, member) in room.members.iter().enumerate() {
                        let known = &rooms.sockets[&member.id()].rooms;
                        prop_assert!(known.contains(&(name.clone(), at as u32)));
                        prop_assert!(model.contains(&(member.0, name.parse().unwrap())));
                    }
                }
                let places: usize = rooms.rooms.values().map(|r| r.members.len()).sum();
                prop_assert_eq!(places, model.len());
            }
        }
    }
}
