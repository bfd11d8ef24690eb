//! Events that ask each socket for an answer.
//!
//! A question has one number for all sockets, so that one frame serves them all.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    sync::mpsc,
    time::{Sleep, sleep},
};

use super::{Packet, hub::Hub, ids::Id};

/// Questions that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: Mutex<Table>,
    /// How many there are: most sockets end while there is none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    next: i64,
    asks: HashMap<i64, Ask>,
}

#[derive(Debug)]
struct Ask {
    /// Who has not answered.
    silent: HashSet<Id>,
    /// Bounded by how many were asked: each answers once.
    answers: mpsc::UnboundedSender<Outcome>,
}

/// What became of the question to one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with these arguments.
    Answer(Packet),
    /// It did not answer in time, or is gone.
    Silence,
    /// Too much waits for it already: it was not asked.
    Full,
}

/// The answers of the sockets that were asked, as they come. Ends with the last of them, or with the time that they
/// were given.
pub struct Asked {
    hub: Arc<Hub>,
    number: i64,
    answers: mpsc::UnboundedReceiver<Outcome>,
    deadline: Pin<Box<Sleep>>,
    count: usize,
}

impl Asks {
    /// Begins a question to these sockets. They may be asked with the number now.
    pub(super) fn begin(&self, sockets: HashSet<Id>) -> (i64, mpsc::UnboundedReceiver<Outcome>) {
        let (answers, received) = mpsc::unbounded_channel();
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        if !sockets.is_empty() {
            let silent = sockets;
            table.asks.insert(number, Ask { silent, answers });
            self.count.store(table.asks.len(), Ordering::Relaxed);
        }
        (number, received)
    }

    /// A socket answered.
    pub(super) fn answer(&self, number: i64, socket: Id, arguments: Packet) {
        self.end_one(&mut self.table(), number, socket, Outcome::Answer(arguments));
    }

    /// A socket could not be asked.
    pub(super) fn missed(&self, number: i64, socket: Id, outcome: Outcome) {
        self.end_one(&mut self.table(), number, socket, outcome);
    }

    /// A socket will not answer any more.
    pub(super) fn gone(&self, socket: Id) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut table = self.table();
        let numbers: Vec<i64> = table.asks.keys().copied().collect();
        for number in numbers {
            self.end_one(&mut table, number, socket, Outcome::Silence);
        }
    }

    fn end_one(&self, table: &mut Table, number: i64, socket: Id, outcome: Outcome) {
        // A client may answer what it was never asked, or twice.
        let Some(ask) = table
            .asks
            .get_mut(&number)
            .filter(|ask| ask.silent.contains(&socket))
        else {
            return;
        };
        ask.silent.remove(&socket);
        // Nobody may be interested any more.
        let _ = ask.answers.send(outcome);
        if ask.silent.is_empty() {
            self.end(table, number);
        }
    }

    /// The time is over.
    fn close(&self, number: i64) {
        let mut table = self.table();
        if let Some(ask) = table.asks.get(&number) {
            for _ in &ask.silent {
                let _ = ask.answers.send(Outcome::Silence);
            }
        }
        self.end(&mut table, number);
    }

    fn end(&self, table: &mut Table, number: i64) {
        table.asks.remove(&number);
        self.count.store(table.asks.len(), Ordering::Relaxed);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    pub(super) fn new(
        hub: Arc<Hub>,
        number: i64,
        answers: mpsc::UnboundedReceiver<Outcome>,
        count: usize,
        timeout: Duration,
    ) -> Asked {
        Asked {
            hub,
            number,
            answers,
            deadline: Box::pin(sleep(timeout)),
            count,
        }
    }

    /// How many sockets were asked, those that too much waits for included.
    pub fn socket_count(&self) -> usize {
        self.count
    }
}

impl Stream for Asked {
    type Item = Outcome;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        if let Poll::Ready(answer) = self.answers.poll_recv(cx) {
            return Poll::Ready(answer);
        }
        if self.deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.hub.asks.close(self.number);
        self.answers.poll_recv(cx)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.hub.asks.close(self.number);
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Outcome {
        Outcome::Answer(Packet {
            text: text.to_owned(),
            attachments: Vec::new(),
        })
    }

    fn say(asks: &Asks, number: i64, socket: u128, text: &str) {
        let Outcome::Answer(arguments) = answer(text) else {
            return;
        };
        asks.answer(number, Id::numbered(socket), arguments);
    }

    #[test]
    fn each_socket_answers_once_and_nobody_else_does() {
        let asks = Asks::default();
        let (number, mut received) = asks.begin([1, 2, 3].map(Id::numbered).into());
        say(&asks, number, 1, "[1]");
        say(&asks, number, 1, "[2]");
        say(&asks, number, 4, "[4]");
        say(&asks, number + 1, 2, "[5]");
        asks.gone(Id::numbered(2));
        asks.gone(Id::numbered(2));
        asks.missed(number, Id::numbered(3), Outcome::Full);
        let all: Vec<Outcome> = std::iter::from_fn(|| received.try_recv().ok()).collect();
        assert_eq!(all, [answer("[1]"), Outcome::Silence, Outcome::Full]);
        assert!(received.is_closed() && asks.table().asks.is_empty());
        assert_eq!(asks.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nobody_asked_is_nothing_awaited() {
        let asks = Asks::default();
        let (_, mut received) = asks.begin(HashSet::new());
        assert_eq!(received.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}
