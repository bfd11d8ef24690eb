//! Questions to the other nodes, and waiting for their answers no longer than needed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::node::NodeId;

/// The questions of one kind that are open, each with the answers so far.
pub(crate) struct Requests<A> {
    table: Arc<Mutex<Table<A>>>,
}

/// One open question. Dropping it forgets the question; answers that come later are late.
pub(crate) struct Pending<A> {
    table: Arc<Mutex<Table<A>>>,
    number: u64,
    done: oneshot::Receiver<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answers<A> {
    /// One answer for each node that gave one, also of nodes that were not waited for.
    pub(crate) answers: BTreeMap<NodeId, A>,
    /// The nodes that were waited for and did not answer, sorted. A node that said goodbye is not missing: it has
    /// nobody left. A node that died is.
    pub(crate) missing: Vec<NodeId>,
}

struct Table<A> {
    last: u64,
    open: HashMap<u64, Question<A>>,
}

struct Question<A> {
    waiting: BTreeSet<NodeId>,
    dead: BTreeSet<NodeId>,
    answers: BTreeMap<NodeId, A>,
    /// `None` once there is nobody left to wait for.
    done: Option<oneshot::Sender<()>>,
}

// === impl Requests ===

impl<A> Requests<A> {
    pub(crate) fn new() -> Self {
        Self {
            table: Arc::new(Mutex::new(Table {
                last: 0,
                open: HashMap::new(),
            })),
        }
    }

    /// Opens a question to `nodes`. Open it before it is sent: answers are fast.
    pub(crate) fn open(&self, nodes: impl IntoIterator<Item = NodeId>) -> Pending<A> {
        let (sender, done) = oneshot::channel();
        let mut question = Question {
            waiting: nodes.into_iter().collect(),
            dead: BTreeSet::new(),
            answers: BTreeMap::new(),
            done: Some(sender),
        };
        question.check();
        let mut table = lock(&self.table);
        table.last += 1;
        let number = table.last;
        table.open.insert(number, question);
        Pending {
            table: Arc::clone(&self.table),
            number,
            done,
        }
    }

    /// Takes an answer. False when nobody waits for it any more. A second answer of the same node changes nothing.
    pub(crate) fn answer(&self, number: u64, from: &NodeId, answer: A) -> bool {
        let mut table = lock(&self.table);
        let Some(question) = table.open.get_mut(&number) else {
            return false;
        };
        question.waiting.remove(from);
        question.dead.remove(from);
        question.answers.entry(from.clone()).or_insert(answer);
        question.check();
        true
    }

    /// A node said goodbye: no open question waits for it, and none misses it.
    pub(crate) fn left(&self, node: &NodeId) {
        for question in lock(&self.table).open.values_mut() {
            question.waiting.remove(node);
            question.check();
        }
    }

    /// A node died: no open question waits for it any longer, and those that did miss it.
    pub(crate) fn died(&self, node: &NodeId) {
        for question in lock(&self.table).open.values_mut() {
            if let Some(node) = question.waiting.take(node) {
                question.dead.insert(node);
                question.check();
            }
        }
    }

    /// How many questions are open.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.table).open.len()
    }
}

// === impl Pending ===

impl<A> Pending<A> {
    /// The number that answers have to bear.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Waits until all have answered, left or died, but at most for `limit`.
    pub(crate) async fn wait(mut self, limit: Duration) -> Answers<A> {
        // Neither outcome matters: what counts is what the table holds now.
        let _ = timeout(limit, &mut self.done).await;
        lock(&self.table).open.remove(&self.number).map_or_else(
            || Answers {
                answers: BTreeMap::new(),
                missing: Vec::new(),
            },
            |Question {
                 waiting,
                 mut dead,
                 answers,
                 done: _,
             }| {
                dead.extend(waiting);
                Answers {
                    answers,
                    missing: dead.into_iter().collect(),
                }
            },
        )
    }
}

impl<A> Drop for Pending<A> {
    fn drop(&mut self) {
        lock(&self.table).open.remove(&self.number);
    }
}

// === impl Question ===

impl<A> Question<A> {
    fn check(&mut self) {
        if self.waiting.is_empty()
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

    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn node(number: u8) -> NodeId {
        NodeId::parse(&format!("node-{number:0>11}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn all_answers_end_the_wait() {
        let requests = Requests::new();
        let pending = requests.open([node(1), node(2)]);
        let number = pending.number();
        assert!(requests.answer(number, &node(1), 10));
        assert!(requests.answer(number, &node(1), 99), "a second answer is heard");
        assert!(
            requests.answer(number, &node(3), 5),
            "so is one of a node that was not known"
        );
        assert!(requests.answer(number, &node(2), 20));
        let start = Instant::now();
        let got = pending.wait(LIMIT).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(got.answers.into_values().collect::<Vec<_>>(), [10, 20, 5]);
        assert!(got.missing.is_empty());
        assert!(!requests.answer(number, &node(2), 20), "late");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_limit() {
        let requests = Requests::new();
        let pending = requests.open([node(2), node(1)]);
        requests.answer(pending.number(), &node(2), ());
        let start = Instant::now();
        let got = pending.wait(LIMIT).await;
        assert_eq!(start.elapsed(), LIMIT);
        assert_eq!(got.missing, [node(1)]);
        assert_eq!(requests.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_dead_or_for_those_who_left() {
        let requests = Requests::<()>::new();
        let pending = requests.open([node(1), node(2)]);
        requests.died(&node(1));
        requests.left(&node(2));
        let start = Instant::now();
        let got = pending.wait(LIMIT).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(got.missing, [node(1)]);

        let pending = requests.open([node(1)]);
        requests.died(&node(1));
        requests.answer(pending.number(), &node(1), ());
        assert!(
            pending.wait(LIMIT).await.missing.is_empty(),
            "it was not dead after all"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_to_nobody_is_answered() {
        let start = Instant::now();
        assert!(
            Requests::<()>::new()
                .open([])
                .wait(LIMIT)
                .await
                .answers
                .is_empty()
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_nothing_behind() {
        let requests = Requests::<()>::new();
        drop(requests.open([node(1)]));
        let waiting = requests.open([node(1)]).wait(LIMIT);
        assert_eq!(requests.len(), 1);
        drop(waiting);
        assert_eq!(requests.len(), 0);
    }
}
