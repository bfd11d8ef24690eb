//! The events of one client that wait behind a room that is being entered, so that they are handled in its order.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::engine::{AckId, Event, Kept};

/// The most events that wait. Far more than a client sends while it enters its rooms.
pub(super) const MAX_EVENTS: usize = 256;
/// The most bytes of arguments and attachments that wait. A client that sends more would fill the node's memory.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The queue.
#[derive(Debug)]
pub(super) struct Waiting {
    events: VecDeque<(Kept, Option<AckId>)>,
    bytes: usize,
    /// Dropped with the queue; who waits for the room gives it up then.
    _here: oneshot::Sender<()>,
}

impl Waiting {
    pub(super) fn new(here: oneshot::Sender<()>) -> Waiting {
        Waiting {
            events: VecDeque::new(),
            bytes: 0,
            _here: here,
        }
    }

    /// Puts an event at the end.
    ///
    /// # Errors
    /// The event, when too much waits already.
    pub(super) fn push<'a>(
        &mut self,
        event: Event<'a>,
        ack: Option<AckId>,
    ) -> Result<(), (Event<'a>, Option<AckId>)> {
        let bytes = self.bytes.saturating_add(event.size());
        if self.events.len() >= MAX_EVENTS || bytes > MAX_BYTES {
            return Err((event, ack));
        }
        self.bytes = bytes;
        self.events.push_back((event.keep(), ack));
        Ok(())
    }

    /// The event that came first.
    pub(super) fn next(&mut self) -> Option<(Kept, Option<AckId>)> {
        let (kept, ack) = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(kept.event().size());
        Some((kept, ack))
    }

    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn push(waiting: &mut Waiting, text: &str, attachment: usize) -> bool {
        let attachments = vec![Bytes::from(vec![0; attachment])];
        let event = Event::parse(text, attachments).unwrap();
        waiting.push(event, None).is_ok()
    }

    #[test]
    fn order_and_both_bounds() {
        let mut waiting = Waiting::new(oneshot::channel().0);
        for number in 0..MAX_EVENTS {
            assert!(push(&mut waiting, &format!("[\"e\",{number}]"), 0));
        }
        assert!(!push(&mut waiting, "[\"e\"]", 0), "one too many");
        for number in 0..MAX_EVENTS {
            assert_eq!(waiting.next().unwrap().0.event().first(), number);
        }
        assert!(waiting.next().is_none());
        assert_eq!((waiting.len(), waiting.bytes), (0, 0));

        assert!(push(&mut waiting, "[\"e\",1]", MAX_BYTES - 1));
        assert!(!push(&mut waiting, "[\"e\",1]", 0), "one byte too many");
        assert!(push(&mut waiting, "[\"e\"]", 0), "what fits is taken");
        waiting.next();
        assert!(
            push(&mut waiting, "[\"e\",1]", MAX_BYTES - 1),
            "there is room again"
        );
    }
}
