//! Counting what a publication reached: answers from exactly those nodes that the bus passed it to, however many that
//! are, without knowing which.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::node::NodeId;

/// The publications of one kind that are being counted.
pub(crate) struct Reach<A> {
    table: Arc<Mutex<Table<A>>>,
}

/// One publication that is being counted. Dropping it forgets it; answers that come later are late.
pub(crate) struct Counting<A> {
    table: Arc<Mutex<Table<A>>>,
    number: u64,
    done: oneshot::Receiver<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Counted<A> {
    /// One answer for each frame that was passed on to a node.
    pub(crate) answers: Vec<(NodeId, A)>,
    /// Whether all answered.
    pub(crate) complete: bool,
}

struct Table<A> {
    own: NodeId,
    last: u64,
    open: HashMap<u64, Count<A>>,
}

struct Count<A> {
    /// How many answers one node can give.
    frames: usize,
    /// How many answers there will be; `None` until the bus has said.
    expected: Option<u64>,
    answers: Vec<(NodeId, A)>,
    /// This node gets it as well, and has not answered: that comes at once, whoever else is dead.
    is_own_missing: bool,
    dead: BTreeSet<NodeId>,
    done: Option<oneshot::Sender<()>>,
}

impl<A> Reach<A> {
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            table: Arc::new(Mutex::new(Table {
                own,
                last: 0,
                open: HashMap::new(),
            })),
        }
    }

    /// Begins to count what is published in `frames` frames, to this node as well or only to others. To be done before
    /// that: answers are fast.
    pub(crate) fn open(&self, frames: usize, is_own: bool) -> Counting<A> {
        let (sender, done) = oneshot::channel();
        let mut table = lock(&self.table);
        table.last += 1;
        let number = table.last;
        let count = Count {
            frames,
            expected: None,
            answers: Vec::new(),
            is_own_missing: is_own,
            dead: BTreeSet::new(),
            done: Some(sender),
        };
        table.open.insert(number, count);
        drop(table);
        Counting {
            table: Arc::clone(&self.table),
            number,
            done,
        }
    }

    /// A node's answer. Whether anybody waits for it.
    pub(crate) fn answer(&self, number: u64, from: &NodeId, answer: A) -> bool {
        let mut table = lock(&self.table);
        let is_own = table.own == *from;
        let Some(count) = table.open.get_mut(&number) else {
            return false;
        };
        count.is_own_missing &= !is_own;
        if count.answers.iter().filter(|(node, _)| node == from).count() < count.frames {
            count.answers.push((from.clone(), answer));
            count.check();
        }
        true
    }

    /// A node died: if no more answers are missing than nodes died, nobody waits for them. The dead may not have been among
    /// those that the bus passed it to, so that what is missing then is missing in what is answered, too.
    pub(crate) fn died(&self, node: &NodeId) {
        for count in lock(&self.table).open.values_mut() {
            if !count.answers.iter().any(|(from, _)| from == node) {
                count.dead.insert(node.clone());
                count.check();
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.table).open.len()
    }
}

impl<A> Counting<A> {
    /// The number that answers have to bear.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Waits until there are as many answers as the bus counted receivers, but at most for `limit`.
    pub(crate) async fn wait(mut self, expected: u64, limit: Duration) -> Counted<A> {
        if let Some(count) = lock(&self.table).open.get_mut(&self.number) {
            count.expected = Some(expected);
            count.check();
        }
        // Neither outcome matters: what counts is what the table holds now.
        let _ = timeout(limit, &mut self.done).await;
        let answers = lock(&self.table)
            .open
            .remove(&self.number)
            .map(|count| count.answers)
            .unwrap_or_default();
        Counted {
            complete: answers.len() as u64 >= expected,
            answers,
        }
    }
}

impl<A> Drop for Counting<A> {
    fn drop(&mut self) {
        lock(&self.table).open.remove(&self.number);
    }
}

impl<A> Count<A> {
    fn check(&mut self) {
        let dead = if self.is_own_missing { 0 } else { self.dead.len() };
        let heard = (self.answers.len() + dead) as u64;
        if self.expected.is_some_and(|expected| heard >= expected)
            && let Some(done) = self.done.take()
        {
            // The one who asked may have gone away, and then its guard has work to do anyway.
            let _ = done.send(());
        }
    }
}

fn lock<A>(table: &Mutex<Table<A>>) -> MutexGuard<'_, Table<A>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn node(number: u8) -> NodeId {
        NodeId::parse(&format!("node-{number:0>11}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_answers_as_receivers_end_the_wait() {
        let reach = Reach::new(node(0));
        let counting = reach.open(1, false);
        assert!(
            reach.answer(counting.number(), &node(1), 3),
            "before the bus has answered"
        );
        assert!(reach.answer(counting.number(), &node(1), 3), "again");
        assert!(reach.answer(counting.number(), &node(2), 0));
        let (number, start) = (counting.number(), Instant::now());
        let counted = counting.wait(2, LIMIT).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(counted.complete);
        assert_eq!(counted.answers.iter().map(|(_, sockets)| sockets).sum::<u64>(), 3);
        assert!(!reach.answer(number, &node(2), 0), "late");
        assert_eq!(reach.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_where_nobody_listens_and_a_missing_answer_is_known() {
        let reach = Reach::<u64>::new(node(0));
        let start = Instant::now();
        assert!(reach.open(1, false).wait(0, LIMIT).await.complete);
        assert_eq!(start.elapsed(), Duration::ZERO);
        let counting = reach.open(1, false);
        reach.answer(counting.number(), &node(1), 1);
        assert!(!counting.wait(2, LIMIT).await.complete);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_are_not_waited_for_but_missed() {
        let reach = Reach::<u64>::new(node(0));
        let counting = reach.open(1, false);
        reach.answer(counting.number(), &node(1), 1);
        reach.died(&node(1));
        reach.died(&node(2));
        let start = Instant::now();
        assert!(!counting.wait(2, LIMIT).await.complete);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_do_not_stand_for_this_node() {
        let reach = Reach::<u64>::new(node(0));
        let counting = reach.open(1, true);
        let number = counting.number();
        let start = Instant::now();
        // What was passed to nobody else, while others die.
        let mut waiting = std::pin::pin!(counting.wait(1, LIMIT));
        assert!(waiting.as_mut().now_or_never().is_none());
        reach.died(&node(1));
        reach.died(&node(2));
        assert!(waiting.as_mut().now_or_never().is_none(), "nobody has answered");
        reach.answer(number, &node(0), 3);
        let counted = waiting.await;
        assert!(counted.complete);
        assert_eq!(counted.answers, [(node(0), 3)]);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_nothing_behind() {
        let reach = Reach::<u64>::new(node(0));
        drop(reach.open(1, false));
        let waiting = reach.open(1, false).wait(1, LIMIT);
        assert_eq!(reach.len(), 1);
        drop(waiting);
        assert_eq!(reach.len(), 0);
    }
}
