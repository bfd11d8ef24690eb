//! How much may be on its way at once: of a node, and of one client.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Events of a node. Twice what a backend of a thousand each second takes in the time that clients wait.
pub(super) const MAX_EVENTS: usize = 10_000;
/// Bytes of these.
const MAX_BYTES: usize = 64 << 20;
/// Events of one client, so that none takes the place of all others.
const MAX_OF_CLIENT: usize = 256;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Load {
    events: AtomicUsize,
    bytes: AtomicUsize,
    nothing: Notify,
}

/// One event's share, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    load: Arc<Load>,
    client: Arc<AtomicUsize>,
    bytes: usize,
}

/// Takes a share; `None` = too much is on its way.
pub(super) fn hold(load: &Arc<Load>, client: &Arc<AtomicUsize>, bytes: usize) -> Option<Held> {
    let events = load.events.fetch_add(1, Ordering::AcqRel);
    let before = load.bytes.fetch_add(bytes, Ordering::AcqRel);
    let of_client = client.fetch_add(1, Ordering::AcqRel);
    let held = Held {
        load: load.clone(),
        client: client.clone(),
        bytes,
    };
    // Something always fits, whatever its size.
    let is_too_much = before > 0 && before.saturating_add(bytes) > MAX_BYTES;
    (events < MAX_EVENTS && of_client < MAX_OF_CLIENT && !is_too_much).then_some(held)
}

impl Load {
    /// Waits until nothing is on its way.
    pub(super) async fn idle(&self) {
        loop {
            let changed = self.nothing.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.events.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.client.fetch_sub(1, Ordering::AcqRel);
        self.load.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if self.load.events.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.load.nothing.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_bytes_and_clients_are_bounded_and_what_is_over_makes_room() {
        let load = Arc::<Load>::default();
        let client = || Arc::<AtomicUsize>::default();
        let one = client();
        let mut held: Vec<_> = (0..MAX_OF_CLIENT).filter_map(|_| hold(&load, &one, 1)).collect();
        assert_eq!(held.len(), MAX_OF_CLIENT);
        assert!(hold(&load, &one, 1).is_none());
        assert!(hold(&load, &client(), 1).is_some(), "others have their turn");
        assert!(hold(&load, &client(), MAX_BYTES).is_none());
        held.pop();
        assert!(hold(&load, &one, 1).is_some());
        while let Some(more) = hold(&load, &client(), 0) {
            held.push(more);
        }
        assert_eq!(held.len(), MAX_EVENTS);
        held.clear();
        assert!(hold(&load, &one, 2 * MAX_BYTES).is_some(), "alone it always fits");
        assert_eq!(load.bytes.load(Ordering::Relaxed), 0);
    }
}
