//! Who writes what was put down for many connections: a few tasks, one for each core, so that a large room is written by
//! all of them. Whoever publishes only puts down.
//!
//! A connection waits in one lane, and once: what comes until its turn is written together with the rest.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::connection::Connection;

/// Connections that are written to before others have their turn.
const TURN: usize = 64;

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug, Default)]
struct Lane {
    waiting: Mutex<Vec<Arc<Connection>>>,
    bell: Notify,
}

impl Default for Lanes {
    fn default() -> Lanes {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Lanes((0..cores).map(|_| Lane::default()).collect())
    }
}

impl Lanes {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Has these connections written to, soon. None of them may wait in a lane already.
    pub(super) fn schedule(&self, mut connections: Vec<Arc<Connection>>) {
        let Some(first) = connections.first().map(|c| c.lane()) else {
            return;
        };
        // What is small is not worth another core's while.
        let lanes = self.0.len().min(connections.len().div_ceil(TURN)).max(1);
        let each = connections.len().div_ceil(lanes);
        for lane in self.0.iter().cycle().skip(first % self.0.len()).take(lanes) {
            let rest = connections.split_off(each.min(connections.len()));
            lane.put(connections);
            connections = rest;
        }
    }

    /// Writes what is in a lane, until it is dropped.
    pub(super) async fn run(&self, lane: usize) {
        if let Some(lane) = self.0.get(lane) {
            lane.run().await;
        }
    }
}

impl Lane {
    fn put(&self, mut connections: Vec<Arc<Connection>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            *waiting = connections;
        } else {
            waiting.append(&mut connections);
        }
        drop(waiting);
        self.bell.notify_one();
    }

    async fn run(&self) {
        loop {
            self.bell.notified().await;
            loop {
                let next = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
                if next.is_empty() {
                    break;
                }
                for (number, connection) in next.into_iter().enumerate() {
                    connection.take_turn();
                    if number % TURN == TURN - 1 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }
}
