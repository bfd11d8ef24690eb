//! A memory bus that takes messages for all, and does with those for one node what a test wants.

use std::sync::Mutex;

use adapter_redis::{
    Appending, Bus, BusError, BusState, Channel, Fields, Interests, MemoryBus, Publishing, RoomName, Storing,
};
use bytes::Bytes;
use tokio::sync::watch;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    Answered(BusError),
    NeverAnswered,
}

pub(crate) struct ScriptedBus {
    bus: MemoryBus,
    for_all: Mutex<Fate>,
    for_one: Mutex<Fate>,
}

impl ScriptedBus {
    pub(crate) fn new(bus: MemoryBus) -> Self {
        Self {
            bus,
            for_all: Mutex::new(Fate::Taken),
            for_one: Mutex::new(Fate::Taken),
        }
    }

    pub(crate) fn for_all(&self, fate: Fate) {
        *self.for_all.lock().unwrap() = fate;
    }

    pub(crate) fn for_one(&self, fate: Fate) {
        *self.for_one.lock().unwrap() = fate;
    }
}

impl Bus for ScriptedBus {
    fn publish<'a>(&'a self, channel: &'a Channel, payload: Bytes) -> Publishing<'a> {
        let fate = if matches!(channel, Channel::Node(_)) {
            &self.for_one
        } else {
            &self.for_all
        };
        match fate.lock().unwrap().clone() {
            Fate::Taken => self.bus.publish(channel, payload),
            Fate::Answered(error) => Box::pin(std::future::ready(Err(error))),
            Fate::NeverAnswered => Box::pin(std::future::pending()),
        }
    }

    fn store<'a>(&'a self, room: &'a RoomName, frame: Bytes, id: Option<&'a str>) -> Storing<'a> {
        match self.for_all.lock().unwrap().clone() {
            Fate::Taken => self.bus.store(room, frame, id),
            Fate::Answered(error) => Box::pin(std::future::ready(Err(error))),
            Fate::NeverAnswered => Box::pin(std::future::pending()),
        }
    }

    fn append<'a>(&'a self, stream: &'a str, fields: Fields, most: u32) -> Appending<'a> {
        self.bus.append(stream, fields, most)
    }

    fn loop_back(&self, channel: Channel, payload: Bytes) -> bool {
        self.bus.loop_back(channel, payload)
    }

    fn interests(&self) -> &Interests {
        self.bus.interests()
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.bus.state()
    }
}
