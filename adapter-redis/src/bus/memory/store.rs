//! What the Redis function does in one step, inside one process.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use super::BusError;
use crate::bus::Receipt;
use crate::room::RoomName;
use crate::wire::{Stored, StoredBody};

/// For how long an id is remembered; the same as in `library.lua`.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Stamps and ids.
#[derive(Default)]
pub(super) struct Store {
    last: u64,
    receipts: HashMap<(RoomName, String), Receipt>,
    /// In the order in which they are forgotten.
    forget: VecDeque<(Instant, (RoomName, String))>,
}

impl Store {
    /// Publishes with the next stamp, unless the id was there before.
    pub(super) fn once(
        &mut self,
        room: &RoomName,
        id: Option<&str>,
        publish: impl FnOnce(u64) -> Result<u64, BusError>,
    ) -> Result<Receipt, BusError> {
        self.forget(Instant::now());
        let key = id.map(|id| (room.clone(), id.to_owned()));
        if let Some(receipt) = key.as_ref().and_then(|key| self.receipts.get(key)) {
            return Ok(Receipt {
                repeated: true,
                ..*receipt
            });
        }
        self.last = now_us().max(self.last + 1);
        let stamp = self.last;
        let published = publish(stamp);
        // Of an unknown outcome: it was published.
        let receipt = Receipt {
            stamp,
            receivers: *published.as_ref().unwrap_or(&0),
            repeated: false,
        };
        if let Some(key) = key {
            self.forget.push_back((Instant::now() + REMEMBERED, key.clone()));
            self.receipts.insert(key, receipt);
        }
        published.map(|_| receipt)
    }

    pub(super) fn payload(stamp: u64, frame: Bytes) -> Bytes {
        Stored {
            stamp,
            body: StoredBody::Frame(frame),
        }
        .encode()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((_, key)) = self.forget.pop_front_if(|(due, _)| *due <= now) {
            self.receipts.remove(&key);
        }
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_remembered_for_a_while_and_stamps_rise() {
        let mut store = Store::default();
        let room = RoomName::new("a").unwrap();
        let first = store.once(&room, Some("i"), |_| Ok(2)).unwrap();
        let again = store.once(&room, Some("i"), |_| Ok(9)).unwrap();
        assert_eq!(
            again,
            Receipt {
                repeated: true,
                ..first
            }
        );
        let other = store.once(&room, None, |_| Ok(2)).unwrap();
        assert!(other.stamp > first.stamp);
        tokio::time::advance(REMEMBERED).await;
        let later = store.once(&room, Some("i"), |_| Ok(1)).unwrap();
        assert!(later.stamp > other.stamp && !later.repeated);
        assert_eq!(store.receipts.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_outcome_is_remembered_as_published() {
        let mut store = Store::default();
        let room = RoomName::new("a").unwrap();
        assert_eq!(
            store.once(&room, Some("i"), |_| Err(BusError::Timeout)),
            Err(BusError::Timeout)
        );
        assert!(store.once(&room, Some("i"), |_| Ok(1)).unwrap().repeated);
    }
}
