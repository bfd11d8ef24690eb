//! Publishers that number their events, and remember what became of each.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use adapter_redis::{Cluster, Publication, PublishError};
use tokio::time::sleep;

use super::nodes::envelope;

/// Each publisher rests for so long after each event.
pub(crate) const PACE: Duration = Duration::from_millis(1);

/// What happened before what, across all nodes.
static TICKS: AtomicU64 = AtomicU64::new(1);

/// What one publisher knows.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) stopped: AtomicBool,
    pub(crate) sent: Mutex<Sent>,
}

#[derive(Default)]
pub(crate) struct Sent {
    /// Numbers that were begun with; they count from one.
    pub(crate) published: u64,
    /// How often one of them was published again, since its outcome was not known.
    pub(crate) again: u64,
    pub(crate) accepted: Vec<Accepted>,
    /// Numbers that this node alone could see.
    pub(crate) local: HashSet<u64>,
}

/// An event that Redis took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) room: usize,
    pub(crate) number: u64,
    pub(crate) stamp: u64,
    /// When it was published first.
    pub(crate) began: u64,
}

/// What an event says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) room: usize,
    pub(crate) publisher: usize,
    pub(crate) number: u64,
}

pub(crate) fn room(number: usize) -> String {
    format!("room:{number}")
}

pub(crate) fn tick() -> u64 {
    TICKS.fetch_add(1, Ordering::SeqCst)
}

impl Log {
    /// It is known what became of this number.
    fn settled(&self, room: usize, number: u64, began: u64, stamp: Option<u64>) {
        let mut sent = self.sent.lock().unwrap();
        match stamp {
            Some(stamp) => sent.accepted.push(Accepted {
                room,
                number,
                stamp,
                began,
            }),
            None => {
                sent.local.insert(number);
            }
        }
    }
}

impl Numbered {
    pub(crate) fn read(publication: &Publication) -> Self {
        let data: serde_json::Value = serde_json::from_slice(publication.args.json()).unwrap();
        let [name] = publication.rooms.as_slice() else {
            panic!("one room: {:?}", publication.rooms)
        };
        Self {
            room: name.as_str().strip_prefix("room:").unwrap().parse().unwrap(),
            publisher: usize::try_from(data["p"].as_u64().unwrap()).unwrap(),
            number: data["n"].as_u64().unwrap(),
        }
    }
}

/// Publishes the next number, again and again until it is known what became of it. Answers with its stamp, unless only
/// this node could see it.
pub(crate) async fn publish_one(cluster: &Cluster, publisher: usize, log: &Log, to: usize) -> Option<u64> {
    let began = tick();
    let number = {
        let mut sent = log.sent.lock().unwrap();
        sent.published += 1;
        sent.published
    };
    let room_name = room(to);
    let text = format!(
        r#"{{"room":"{room_name}","event":"e","data":{{"p":{publisher},"n":{number}}},"id":"{publisher}-{number}","count":false}}"#
    );
    loop {
        match cluster.publish(envelope(&text)).await {
            Ok(published) => {
                let stamp = published.offset.map(|offset| offset.parse().unwrap());
                log.settled(to, number, began, stamp);
                return stamp;
            }
            Err(PublishError::Timeout | PublishError::Refused(_)) => log.sent.lock().unwrap().again += 1,
        }
        sleep(PACE).await;
    }
}
