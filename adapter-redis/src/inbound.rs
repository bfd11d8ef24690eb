//! The receive half of a node: what arrives from the bus is applied here, and never published again.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::bus::Inbound;
use crate::channel::Channel;
use crate::cluster::{Node, unix_ms};
use crate::envelope::Envelope;
use crate::metrics::{Dropped, Outcome, Source};
use crate::node::NodeId;
use crate::outbox::Outbox;
use crate::publication::Publication;
use crate::wire::{Frame, Message};

/// How often it is said that something unreadable came in: whoever sends one sends thousands.
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

/// Applies what arrives to this node.
pub(crate) struct Receiving<'a> {
    node: &'a Node,
    outbox: Outbox,
    complaints: Complaints,
}

impl<'a> Receiving<'a> {
    pub(crate) fn new(node: &'a Node, outbox: Outbox) -> Self {
        Self {
            node,
            outbox,
            complaints: Complaints::default(),
        }
    }

    /// Applies one message. Never waits.
    pub(crate) fn apply(&mut self, inbound: &Inbound) {
        match inbound.channel {
            Channel::Publish => self.envelope(&inbound.payload),
            Channel::Nodes | Channel::Node(_) => self.frame(&inbound.payload),
        }
    }

    fn envelope(&mut self, json: &[u8]) {
        let metrics = &self.node.metrics;
        let envelope = match Envelope::parse(json, &self.node.config.limits) {
            Ok(envelope) => envelope,
            Err(error) => {
                metrics.invalid(Source::Channel, &error);
                metrics.dropped(Dropped::EnvelopeInvalid, 1);
                if let Some(since_last) = self.complaints.another(Instant::now()) {
                    tracing::warn!(
                        reason = error.reason(),
                        bytes = json.len(),
                        since_last,
                        "an envelope on the channel for backends was refused"
                    );
                }
                return;
            }
        };
        if envelope.id.is_some() || envelope.retain {
            metrics.dropped(Dropped::ChannelOptionIgnored, 1);
            tracing::debug!("id and retain have no meaning on the channel for backends");
        }
        let sockets = self.deliver(&Publication::new(envelope, unix_ms()));
        metrics.publish(
            Source::Channel,
            if sockets > 0 {
                Outcome::Reached
            } else {
                Outcome::Uncounted
            },
        );
    }

    fn frame(&mut self, bytes: &Bytes) {
        let Message { sender, frame } = match Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.node.metrics.dropped(error.into(), 1);
                if let Some(since_last) = self.complaints.another(Instant::now()) {
                    tracing::warn!(%error, bytes = bytes.len(), since_last, "a frame from a node cannot be read");
                }
                return;
            }
        };
        let own = sender == self.node.id;
        if !own {
            self.node.members().sign_of_life(&sender, Instant::now());
        }
        match frame {
            Frame::Publication { request, publication } => {
                self.publication(&sender, own, request, &publication)
            }
            Frame::Heartbeat { hello } if !own => self.heartbeat(&sender, hello),
            Frame::Goodbye if !own => self.node.goodbye(&sender),
            Frame::Reached { request, sockets } => {
                self.late_unless(self.node.reached.answer(request, &sender, sockets));
            }
            Frame::CensusQuestion { request } if !own => {
                let census = self.node.local.census();
                self.answer(sender, &Frame::Census { request, census });
            }
            Frame::Census { request, census } => {
                self.late_unless(self.node.census.answer(request, &sender, census))
            }
            // Our own come back to us like to everybody else. Probes are the bus' own business.
            Frame::Heartbeat { .. } | Frame::Goodbye | Frame::CensusQuestion { .. } | Frame::Probe { .. } => {
            }
        }
    }

    fn publication(&self, sender: &NodeId, own: bool, request: Option<u64>, publication: &Publication) {
        if !own {
            // The clocks of two nodes differ; an event from the future was fast.
            let lag = Duration::from_millis(unix_ms().saturating_sub(publication.published_at_ms));
            self.node.metrics.lag(lag.as_secs_f64());
        }
        let sockets = self.deliver(publication) as u64;
        match request {
            Some(request) if own => self.late_unless(self.node.reached.answer(request, sender, sockets)),
            Some(request) => self.answer(sender.clone(), &Frame::Reached { request, sockets }),
            None => {}
        }
    }

    /// The only place where something from the bus reaches sockets.
    fn deliver(&self, publication: &Publication) -> usize {
        let sockets = self.node.local.deliver(publication);
        self.node.metrics.received(sockets > 0);
        sockets
    }

    fn heartbeat(&self, sender: &NodeId, hello: bool) {
        let new = self.node.members().heartbeat(sender, Instant::now());
        if new {
            tracing::info!(node.id = %sender, "a node joined");
        }
        // To the one node and not to all, or each arrival would cost a heartbeat from everybody to everybody.
        if (new || hello) && !self.node.has_left() {
            self.answer(sender.clone(), &Frame::Heartbeat { hello: false });
        }
    }

    fn answer(&self, to: NodeId, frame: &Frame) {
        self.outbox.send(Channel::Node(to), frame.encode(&self.node.id));
    }

    fn late_unless(&self, in_time: bool) {
        if !in_time {
            self.node.metrics.dropped(Dropped::AnswerLate, 1);
        }
    }
}

/// Says when to complain: at most once in [`COMPLAINT_EVERY`].
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
    silent: u64,
}

impl Complaints {
    /// Another reason to complain. If it is time for it: how many there were since the last complaint, this one included.
    fn another(&mut self, now: Instant) -> Option<u64> {
        self.silent += 1;
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < COMPLAINT_EVERY)
        {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_rare_and_say_how_many_they_stand_for() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        assert_eq!(complaints.another(start), Some(1));
        assert_eq!(complaints.another(start), None);
        assert_eq!(
            complaints.another(start + COMPLAINT_EVERY - Duration::from_millis(1)),
            None
        );
        assert_eq!(complaints.another(start + COMPLAINT_EVERY), Some(3));
    }
}
