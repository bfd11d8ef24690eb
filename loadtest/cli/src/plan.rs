//! What a run does, fixed before it begins: who is in which room, and who sends what where at what time.
//!
//! Everything that is due can be told from the plan alone, which is what makes "delivered is what was due" a sentence that
//! can be false.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::mark::{Mark, micros};
use crate::schedule::{Mix, Schedule};

/// A whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// What is reported apart; events point here.
    pub(crate) labels: Vec<&'static str>,
    pub(crate) rooms: Vec<Room>,
    /// The clients.
    pub(crate) seats: Vec<Seat>,
    /// Connects in a second, by a schedule. Without it clients come as the ramp-up launches them.
    pub(crate) arrival: Option<f64>,
    /// One after the other; each begins when all that the one before caused has arrived, or was given up.
    pub(crate) acts: Vec<Act>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) name: String,
    /// How many clients are in it,
    pub(crate) members: u32,
    /// and how many of these are among the slow.
    pub(crate) slow: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seat {
    /// What it asks for when it has connected: event and argument.
    pub(crate) subscriptions: Vec<(&'static str, String)>,
    /// It reads slowly once [`Act::Slow`] has come.
    pub(crate) slow: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Traffic(Traffic),
    /// All clients break their connections at once, and come back one after the other within that time.
    Wave(Duration),
    /// Those who read slowly begin to.
    Slow,
}

/// Events for some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) publications: Option<Publications>,
    pub(crate) talk: Option<Talk>,
    /// What the slow ones get is not due to them.
    pub(crate) without_slow: bool,
}

/// What the backend sends.
#[derive(Clone, Debug)]
pub(crate) struct Publications {
    pub(crate) schedule: Schedule,
    pub(crate) targets: Vec<Target>,
}

/// One kind of publication. Its rooms take turns.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) label: u8,
    pub(crate) event: &'static str,
    pub(crate) weight: u32,
    pub(crate) rooms: Vec<u32>,
    /// Fields beside the mark.
    pub(crate) fields: Map<String, Value>,
}

/// What clients send each other. The speakers take turns.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) schedule: Schedule,
    /// In the order of their seats.
    pub(crate) speakers: Vec<Speaker>,
}

/// One client, and what it says in turn.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) seat: u32,
    pub(crate) sayings: Vec<Saying>,
}

#[derive(Clone, Debug)]
pub(crate) struct Saying {
    pub(crate) label: u8,
    pub(crate) event: &'static str,
    pub(crate) room: u32,
    pub(crate) fields: Map<String, Value>,
    /// The field that others get to see, so that the mark is in it;
    pub(crate) mark: &'static str,
    /// whether it is padded to the size of a payload.
    pub(crate) padded: bool,
    /// The event that ends it, and how long after it.
    pub(crate) stop: Option<(&'static str, Duration)>,
}

/// One event that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due<'a> {
    /// From the beginning of its act.
    pub(crate) at: Duration,
    pub(crate) label: u8,
    pub(crate) event: &'static str,
    pub(crate) room: u32,
    pub(crate) stream: u32,
    pub(crate) number: u32,
    fields: &'a Map<String, Value>,
    mark: &'static str,
    padded: bool,
}

impl Due<'_> {
    /// Its data: the fields, and among them the mark. `wall` is when the act began, in microseconds since 1970.
    pub(crate) fn data(&self, run: u32, wall: u64, size: usize) -> Value {
        let mark = Mark {
            run,
            due: wall + micros(self.at),
            label: self.label,
            stream: self.stream,
            number: self.number,
        };
        let mut data = self.fields.clone();
        data.insert(
            self.mark.to_owned(),
            mark.text(if self.padded { size } else { 0 }).into(),
        );
        Value::Object(data)
    }
}

impl Plan {
    pub(crate) fn room(&self, index: u32) -> Option<&Room> {
        self.rooms.get(index as usize)
    }

    pub(crate) fn traffic(&self, act: usize) -> Option<&Traffic> {
        match self.acts.get(act) {
            Some(Act::Traffic(traffic)) => Some(traffic),
            _other => None,
        }
    }

    /// How many clients have to get an event in that room, in that act; the sender does not hear itself.
    pub(crate) fn reached(&self, act: usize, room: u32, by_client: bool) -> u64 {
        let Some(room) = self.room(room) else { return 0 };
        let without_slow = self.traffic(act).is_some_and(|traffic| traffic.without_slow);
        let members = if without_slow {
            room.members.saturating_sub(room.slow)
        } else {
            room.members
        };
        u64::from(members).saturating_sub(u64::from(by_client))
    }

    /// Whether events of that label are not due to those who are slow by then.
    pub(crate) fn spares_slow(&self, label: u8) -> bool {
        let traffic = (0..self.acts.len()).filter_map(|act| self.traffic(act));
        let mut targets = traffic
            .filter(|traffic| traffic.without_slow)
            .filter_map(|traffic| traffic.publications.as_ref())
            .flat_map(|publications| &publications.targets);
        targets.any(|target| target.label == label)
    }

    /// What the backend publishes in an act, in the order in which it is due.
    pub(crate) fn publications(&self, act: usize) -> impl Iterator<Item = Due<'_>> {
        let publications = self
            .traffic(act)
            .and_then(|traffic| traffic.publications.as_ref());
        let base = act as u64 * self.rooms.len() as u64;
        publications
            .into_iter()
            .flat_map(move |publications| publications.dues(base))
    }

    /// What a client says in an act, in the order in which it is due.
    pub(crate) fn sayings(&self, act: usize, seat: u32) -> impl Iterator<Item = Due<'_>> {
        let talk = self.traffic(act).and_then(|traffic| traffic.talk.as_ref());
        let base = self.acts.len() as u64 * self.rooms.len() as u64 + act as u64 * self.seats.len() as u64;
        let stream = u32::try_from(base + u64::from(seat)).unwrap_or(u32::MAX);
        talk.into_iter().flat_map(move |talk| talk.dues(seat, stream))
    }

    /// How many clients speak in an act.
    pub(crate) fn speakers(&self, act: usize) -> usize {
        let talk = self.traffic(act).and_then(|traffic| traffic.talk.as_ref());
        talk.map_or(0, |talk| talk.speakers.len())
    }

    /// Whether that client is one of them.
    pub(crate) fn speaks(&self, act: usize, seat: u32) -> bool {
        let talk = self.traffic(act).and_then(|traffic| traffic.talk.as_ref());
        talk.is_some_and(|talk| talk.speaker(seat).is_some())
    }

    /// Whether there is anything for a backend to do.
    pub(crate) fn has_publications(&self) -> bool {
        let traffic = (0..self.acts.len()).filter_map(|act| self.traffic(act));
        traffic.filter(|traffic| traffic.publications.is_some()).count() > 0
    }

    /// All deliveries of the whole run.
    #[cfg(test)]
    pub(crate) fn due(&self) -> u64 {
        let mut due = 0;
        for act in 0..self.acts.len() {
            due += self
                .publications(act)
                .map(|d| self.reached(act, d.room, false))
                .sum::<u64>();
            for seat in 0..self.seats.len() as u32 {
                due += self
                    .sayings(act, seat)
                    .map(|d| self.reached(act, d.room, true))
                    .sum::<u64>();
            }
        }
        due
    }
}

impl Publications {
    fn dues(&self, base: u64) -> impl Iterator<Item = Due<'_>> {
        let weights: Vec<u32> = self.targets.iter().map(|target| target.weight).collect();
        let mix = Mix::new(&weights);
        let mut turns = vec![0usize; self.targets.len()];
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        self.schedule.turns(0, 1).zip(0u64..).filter_map(move |(at, n)| {
            let chosen = mix.choose(n)?;
            let (target, turn) = (self.targets.get(chosen)?, turns.get_mut(chosen)?);
            let room = *target.rooms.get(turn.checked_rem(target.rooms.len())?)?;
            *turn += 1;
            let number = numbers.entry(room).or_default();
            *number += 1;
            Some(Due {
                at,
                label: target.label,
                event: target.event,
                room,
                stream: u32::try_from(base + u64::from(room)).unwrap_or(u32::MAX),
                number: *number - 1,
                fields: &target.fields,
                mark: "mark",
                padded: true,
            })
        })
    }
}

impl Talk {
    /// What that client says, and when it is its turn.
    fn speaker(&self, seat: u32) -> Option<(usize, &Speaker)> {
        let at = self
            .speakers
            .binary_search_by_key(&seat, |speaker| speaker.seat)
            .ok()?;
        Some((at, self.speakers.get(at)?))
    }

    fn dues(&self, seat: u32, stream: u32) -> impl Iterator<Item = Due<'_>> {
        let mut number = 0;
        let speaker = self.speaker(seat);
        speaker.into_iter().flat_map(move |(at, speaker)| {
            let turns = self.schedule.turns(at as u64, self.speakers.len() as u64);
            turns.enumerate().flat_map(move |(turn, at)| {
                let chosen = turn.checked_rem(speaker.sayings.len());
                let saying = chosen.and_then(|chosen| speaker.sayings.get(chosen));
                let dues = saying.map_or_else(Vec::new, |saying| saying.dues(at, stream, &mut number));
                dues.into_iter()
            })
        })
    }
}

impl Saying {
    fn dues(&self, at: Duration, stream: u32, number: &mut u32) -> Vec<Due<'_>> {
        let mut dues = Vec::new();
        let stop = self.stop.map(|(event, after)| (event, at + after));
        for (event, at) in std::iter::once((self.event, at)).chain(stop) {
            dues.push(Due {
                at,
                label: self.label,
                event,
                room: self.room,
                stream,
                number: *number,
                fields: &self.fields,
                mark: self.mark,
                padded: self.padded,
            });
            *number += 1;
        }
        dues
    }
}

/// Collects who is in which room.
#[derive(Debug, Default)]
pub(crate) struct RoomBook {
    rooms: Vec<Room>,
    by_name: HashMap<String, u32>,
}

impl RoomBook {
    /// Notes that a client is in that room; which one it is in the plan.
    pub(crate) fn enter(&mut self, name: String, seat: &Seat) -> u32 {
        let index = *self.by_name.entry(name.clone()).or_insert_with(|| {
            self.rooms.push(Room {
                name,
                ..Room::default()
            });
            u32::try_from(self.rooms.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(room) = self.rooms.get_mut(index as usize) {
            room.members += 1;
            room.slow += u32::from(seat.slow);
        }
        index
    }

    /// The rooms whose names begin like that.
    pub(crate) fn of(&self, prefix: &str) -> Vec<u32> {
        let named = (0..).zip(&self.rooms);
        named
            .filter(|(_, room)| room.name.starts_with(prefix))
            .map(|(index, _)| index)
            .collect()
    }

    pub(crate) fn into_rooms(self) -> Vec<Room> {
        self.rooms
    }
}
