//! The outbound half of a node: the ways by which a publication goes out, and what became of it.

use bytes::Bytes;
use futures_util::future::join_all;

use crate::bus::{BusError, BusState, Receipt};
use crate::census::Census;
use crate::channel::Channel;
use crate::cluster::{Node, PublishError, Published, Requested, unix_ms};
use crate::envelope::Envelope;
use crate::metrics::{Outcome, Source};
use crate::publication::Publication;
use crate::question::Acks;
use crate::reach::Counting;
use crate::room::RoomName;
use crate::tap::{Journey, Way};
use crate::wire::{Frame, Handling};
use std::time::Duration;

/// What the bus did with the frames of one publication.
struct Sent {
    /// The stamp of the last room's frame.
    stamp: Option<u64>,
    /// Those of all rooms' frames, if somebody looks.
    stamps: Vec<u64>,
    receivers: u64,
    /// All of it was there already.
    repeated: bool,
    /// How many sockets of this node had it before.
    here: u64,
    /// Some of it may not have been sent.
    failed: bool,
}

/// Why nothing is known to have been sent.
enum Unsent {
    /// There is no link: nothing was.
    NoLink,
    Failed(PublishError),
}

impl Node {
    pub(crate) async fn publish(&self, envelope: Envelope) -> Result<(Outcome, Published), PublishError> {
        let (count, id) = (envelope.count, envelope.id.clone());
        let publication = Publication::new(envelope, unix_ms());
        let mut journey = self.config.tap.journey();
        let result = self
            .publish_one(&publication, count, id.as_deref(), journey.as_mut())
            .await;
        if let Some(journey) = journey {
            let outcome = match &result {
                Ok((outcome, _)) => *outcome,
                Err(PublishError::Timeout) => Outcome::Timeout,
                Err(PublishError::Refused(_)) => Outcome::Refused,
            };
            self.config
                .tap
                .published(Source::Api, &publication, journey, outcome);
        }
        result
    }

    async fn publish_one(
        &self,
        publication: &Publication,
        count: bool,
        id: Option<&str>,
        mut journey: Option<&mut Journey>,
    ) -> Result<(Outcome, Published), PublishError> {
        let counting = count.then(|| {
            self.reached
                .open(publication.rooms.len(), self.is_among(publication))
        });
        let request = counting.as_ref().map(Counting::number);
        let sent = if publication.volatile && id.is_none() {
            self.send_local_first(publication, request).await
        } else {
            self.send(publication, request, None, id).await
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(Unsent::NoLink) => return self.publish_here(publication, count).await,
            Err(Unsent::Failed(error)) => return Err(error),
        };
        if let Some(journey) = &mut journey {
            journey.by_bus(sent.stamps, sent.receivers);
            journey.is_complete = !count && !sent.failed;
        }
        let offset = sent.stamp.map(|stamp| stamp.to_string());
        let Some(counting) = counting.filter(|_| !sent.repeated) else {
            let published = Published {
                offset,
                nodes: sent.receivers,
                sockets: 0,
                complete: !count && !sent.failed,
                repeated: sent.repeated,
            };
            let outcome = if sent.repeated {
                Outcome::Repeated
            } else {
                Outcome::Uncounted
            };
            return Ok((outcome, published));
        };
        let counted = counting.wait(sent.receivers, self.config.answer_timeout).await;
        if let Some(journey) = journey {
            let here = (sent.here > 0).then(|| (self.id.clone(), sent.here));
            for (node, sockets) in counted.answers.iter().chain(&here) {
                journey.reached(node, *sockets);
            }
            journey.is_complete = counted.complete && !sent.failed;
        }
        let mut nodes: Vec<_> = counted
            .answers
            .iter()
            .filter(|(_, sockets)| *sockets > 0)
            .map(|(node, _)| node)
            .collect();
        if sent.here > 0 {
            nodes.push(&self.id);
        }
        nodes.sort();
        nodes.dedup();
        let published = Published {
            offset,
            nodes: nodes.len() as u64,
            sockets: sent.here + counted.answers.iter().map(|(_, sockets)| sockets).sum::<u64>(),
            complete: counted.complete && !sent.failed,
            repeated: false,
        };
        let outcome = match (published.sockets, published.complete) {
            (1.., _) => Outcome::Reached,
            (0, false) => Outcome::Uncounted,
            (0, true) => {
                self.metrics.unreached();
                tracing::debug!(rooms = ?publication.rooms, "a publication reached nobody");
                Outcome::Unreached
            }
        };
        Ok((outcome, published))
    }

    /// By the bus or not at all, whatever the envelope says of being volatile or counted.
    pub(crate) async fn publish_by_bus(&self, source: Source, envelope: Envelope) -> Outcome {
        let id = envelope.id.clone();
        let publication = Publication::new(envelope, unix_ms());
        let journey = self.config.tap.journey();
        let sent = self.send(&publication, None, None, id.as_deref()).await;
        let outcome = match &sent {
            Ok(Sent { repeated: true, .. }) => Outcome::Repeated,
            Ok(_) => Outcome::Uncounted,
            Err(Unsent::Failed(PublishError::Refused(_))) => Outcome::Refused,
            Err(Unsent::NoLink | Unsent::Failed(PublishError::Timeout)) => Outcome::Timeout,
        };
        if let Some(mut journey) = journey {
            if let Ok(sent) = sent {
                journey.by_bus(sent.stamps, sent.receivers);
                journey.is_complete = true;
            }
            self.config.tap.published(source, &publication, journey, outcome);
        }
        outcome
    }

    pub(crate) async fn request(
        &self,
        envelope: Envelope,
        timeout: Duration,
    ) -> Result<Requested, PublishError> {
        let publication = Publication::new(envelope, unix_ms());
        let mut journey = self.config.tap.journey();
        let mut counting = self
            .acks
            .open(publication.rooms.len(), self.is_among(&publication));
        let ack_timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let (receivers, complete) = match self
            .send(&publication, Some(counting.number()), Some(ack_timeout), None)
            .await
        {
            Ok(sent) => {
                if let Some(journey) = &mut journey {
                    journey.by_bus(sent.stamps, sent.receivers);
                }
                (sent.receivers, self.members().oldest_wire() >= 2)
            }
            Err(Unsent::NoLink) => {
                counting = self.acks.open(1, true);
                let handling = Handling {
                    request: Some(counting.number()),
                    ack_timeout_ms: Some(ack_timeout),
                    ..Handling::default()
                };
                self.loop_back(&publication, handling)?;
                (1, false)
            }
            Err(Unsent::Failed(error)) => return Err(error),
        };
        let counted = counting
            .wait(receivers, timeout + self.config.answer_timeout)
            .await;
        let mut requested = Requested {
            acks: Vec::new(),
            missing: 0,
            complete: complete && counted.complete,
        };
        for (node, Acks { acks, missing }) in counted.answers {
            if let Some(journey) = &mut journey {
                journey.reached(&node, acks.len() as u64 + missing);
            }
            requested.acks.extend(acks);
            requested.missing += missing;
        }
        if let Some(mut journey) = journey {
            journey.is_complete = requested.complete;
            let outcome = if journey.nodes.iter().any(|(_, sockets)| *sockets > 0) {
                Outcome::Reached
            } else {
                Outcome::Uncounted
            };
            self.config
                .tap
                .published(Source::Api, &publication, journey, outcome);
        }
        Ok(requested)
    }

    /// Publishes to each room in one step of the bus, which decides about order and repetition.
    async fn send(
        &self,
        publication: &Publication,
        request: Option<u64>,
        ack_timeout_ms: Option<u64>,
        id: Option<&str>,
    ) -> Result<Sent, Unsent> {
        let handling = Handling {
            request,
            serial: serial(&publication.rooms, id),
            ack_timeout_ms,
            ..Handling::default()
        };
        let frame = Frame::Publication {
            handling,
            publication: publication.clone(),
        };
        // Nodes that do not know rooms' channels know nothing of acknowledgements either.
        if self.members().oldest_wire() < 2 && ack_timeout_ms.is_none() {
            return self.send_to_nodes(&frame).await;
        }
        let stored = publication.rooms.iter().map(|room| {
            let payload = self.seal(&Channel::Room(room.clone()), frame.encode(&self.id));
            self.bus.store(room, payload, id)
        });
        // All are on their way, in the order of the rooms, before the first answer is waited for.
        let results = join_all(stored).await;
        let is_watched = self.config.tap.is_open();
        let mut sent = Sent {
            stamp: None,
            stamps: Vec::new(),
            receivers: 0,
            repeated: true,
            here: 0,
            failed: false,
        };
        let receipts = all(results)?;
        sent.repeated = receipts.iter().all(|receipt| receipt.repeated);
        for Receipt {
            stamp,
            receivers,
            repeated,
        } in receipts
        {
            sent.stamp = sent.stamp.max(Some(stamp));
            if is_watched {
                sent.stamps.push(stamp);
            }
            // Those of a repetition have answered the first time; they are waited for only if nothing is new.
            if sent.repeated || !repeated {
                sent.receivers += receivers;
            }
        }
        Ok(sent)
    }

    /// What need not be kept and may overtake: its own sockets have it before anybody is asked.
    async fn send_local_first(
        &self,
        publication: &Publication,
        request: Option<u64>,
    ) -> Result<Sent, Unsent> {
        if *self.bus.state().borrow() != BusState::Connected || self.members().oldest_wire() < 2 {
            return self.send(publication, request, None, None).await;
        }
        let here = self.deliver(publication, Way::here(Source::Api, &self.id)) as u64;
        let frame = Frame::Publication {
            handling: Handling {
                request,
                serial: serial(&publication.rooms, None),
                local_first: true,
                ..Handling::default()
            },
            publication: publication.clone(),
        };
        let channels: Vec<_> = publication.rooms.iter().cloned().map(Channel::Room).collect();
        let published = channels.iter().map(|channel| {
            self.bus
                .publish(channel, self.seal(channel, frame.encode(&self.id)))
        });
        let results = join_all(published).await;
        // What fails is lost to the others, as volatile events may be; and it is said.
        let failed = results.iter().any(Result::is_err);
        let receivers = results.into_iter().flatten().sum::<u64>();
        Ok(Sent {
            stamp: None,
            stamps: Vec::new(),
            receivers,
            repeated: false,
            here,
            failed,
        })
    }

    /// For a cluster with nodes that know nothing of rooms' channels: to all.
    async fn send_to_nodes(&self, frame: &Frame) -> Result<Sent, Unsent> {
        let payload = self.seal(&Channel::Nodes, frame.encode_for(&self.id, 1));
        let receivers = all(vec![self.bus.publish(&Channel::Nodes, payload).await])?;
        Ok(Sent {
            stamp: None,
            stamps: Vec::new(),
            receivers: receivers.into_iter().sum(),
            repeated: false,
            here: 0,
            failed: false,
        })
    }

    /// Without a bus there is nobody else. It takes its place behind what came from the bus before.
    /// Whether what is published to the rooms comes to this node as well.
    fn is_among(&self, publication: &Publication) -> bool {
        let interests = self.bus.interests();
        publication
            .rooms
            .iter()
            .any(|room| interests.is_live(room.as_str()))
    }

    async fn publish_here(
        &self,
        publication: &Publication,
        count: bool,
    ) -> Result<(Outcome, Published), PublishError> {
        let counting = self.reached.open(1, true);
        let handling = Handling {
            request: count.then_some(counting.number()),
            ..Handling::default()
        };
        self.loop_back(publication, handling)?;
        let sockets = if count {
            let counted = counting.wait(1, self.config.answer_timeout).await;
            counted.answers.iter().map(|(_, sockets)| sockets).sum()
        } else {
            0
        };
        let published = Published {
            offset: None,
            nodes: u64::from(sockets > 0),
            sockets,
            complete: false,
            repeated: false,
        };
        Ok((Outcome::Local, published))
    }

    fn loop_back(&self, publication: &Publication, handling: Handling) -> Result<(), PublishError> {
        let Some(room) = publication.rooms.first() else {
            return Ok(());
        };
        let channel = Channel::Room(room.clone());
        let frame = Frame::Publication {
            handling,
            publication: publication.clone(),
        };
        let payload = self.seal(&channel, frame.encode(&self.id));
        if self.bus.loop_back(channel, payload) {
            Ok(())
        } else {
            Err(PublishError::Refused("this node has too much to do".to_owned()))
        }
    }

    pub(crate) fn seal(&self, channel: &Channel, frame: Bytes) -> Bytes {
        self.config.keys.seal(channel, frame)
    }
}

/// The results, unless one of them leaves something unknown.
fn all<T>(results: Vec<Result<T, BusError>>) -> Result<Vec<T>, Unsent> {
    let mut refused = None;
    let (mut timed_out, mut no_link) = (false, 0);
    let mut taken = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(result) => taken.push(result),
            Err(BusError::Disconnected) => no_link += 1,
            Err(BusError::Timeout) => timed_out = true,
            Err(BusError::Refused(why)) => refused = Some(why),
        }
    }
    match refused {
        Some(why) => Err(Unsent::Failed(PublishError::Refused(why))),
        // Some rooms have it and others have not: a repetition with the same id completes it.
        None if timed_out || (no_link > 0 && !taken.is_empty()) => Err(Unsent::Failed(PublishError::Timeout)),
        None if no_link > 0 => Err(Unsent::NoLink),
        None => Ok(taken),
    }
}

/// What the frames of one publication have in common when there are several, and those of its repetition too.
pub(crate) fn serial(rooms: &[RoomName], id: Option<&str>) -> Option<u64> {
    if rooms.len() < 2 {
        return None;
    }
    let Some(id) = id else {
        let mut serial = [0; 8];
        // Without randomness two publications might be taken for one: better twice to some socket than not at all.
        return getrandom::fill(&mut serial)
            .ok()
            .map(|()| u64::from_le_bytes(serial));
    };
    let rooms = rooms.iter().map(RoomName::as_str);
    Some(rooms.fold(Census::hash(id), |serial, room| {
        serial.rotate_left(5) ^ Census::hash(room)
    }))
}
