//! The receive half of a node: what arrives from the bus is applied here, and never published again.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::bus::Inbound;
use crate::channel::Channel;
use crate::cluster::{Node, unix_ms};
use crate::envelope::Envelope;
use crate::foreign::Untranslated;
use crate::intake::Arrival;
use crate::local::Later;
use crate::metrics::{Dropped, Outcome, Source};
use crate::node::NodeId;
use crate::outbox::Outbox;
use crate::publication::Publication;
use crate::question::{Acks, Answer, Question, Reply};
use crate::room::RoomName;
use crate::tap::{Passage, Way};
use crate::wire::{About, Frame, Handling, Message, Stored, StoredBody, WireError};

mod complaints;

use complaints::Complaints;

/// How many questions of other nodes may be worked on, such as events that wait for acknowledgements. One more is
/// dropped and counted, and whoever asked gets `complete: false`.
const AT_WORK: usize = 1024;

/// The longest time that sockets have for an acknowledgement, whatever a peer says.
const MAX_ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// How many publications to several rooms are remembered. Their frames come right after each other.
const REMEMBERED: usize = 4096;

/// For how long. The bus forgets ids after ten minutes, and one that is used again is another publication: better twice
/// to some socket than not at all.
const REMEMBERED_FOR: Duration = Duration::from_secs(595);

/// Applies what arrives to this node.
pub(crate) struct Receiving<'a> {
    node: &'a Node,
    outbox: Outbox,
    complaints: Complaints,
    recent: Recent,
    /// Answers that take their time.
    at_work: FuturesUnordered<Later<Served>>,
}

/// An answer that is ready.
struct Served {
    to: NodeId,
    request: u64,
    reply: Reply,
}

impl<'a> Receiving<'a> {
    pub(crate) fn new(node: &'a Node, outbox: Outbox) -> Self {
        Self {
            node,
            outbox,
            complaints: Complaints::default(),
            recent: Recent::default(),
            at_work: FuturesUnordered::new(),
        }
    }

    /// Applies one thing. Never waits.
    pub(crate) fn apply(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Gap(gap) => self.node.local.gap(&gap),
            Arrival::Message(Inbound { channel, payload }) => {
                let applied = match &channel {
                    Channel::Publish => {
                        self.envelope(Source::Channel, &payload, None, None);
                        Ok(())
                    }
                    Channel::Nodes | Channel::Node(_) => self.frame(&channel, &payload),
                    Channel::Room(room) => self.room(&channel, room, &payload),
                    Channel::Foreign(name) => {
                        self.foreign(name, &payload);
                        Ok(())
                    }
                };
                if let Err(error) = applied {
                    self.unreadable(error, payload.len());
                }
            }
        }
    }

    /// Passes one answer on that is ready; waits for ever when none is being worked on.
    pub(crate) async fn served(&mut self) {
        match self.at_work.next().await {
            Some(served) => self.serve(served),
            None => std::future::pending().await,
        }
    }

    fn envelope(&mut self, source: Source, json: &[u8], room: Option<&RoomName>, stamp: Option<u64>) {
        let metrics = &self.node.metrics;
        let envelope = match Envelope::parse_for(json, &self.node.config.limits, room) {
            Ok(envelope) => envelope,
            Err(error) => {
                metrics.invalid(source, &error);
                metrics.dropped(Dropped::EnvelopeInvalid, 1);
                self.lost(Way::of(source), error.reason(), room, json.len());
                if let Some(since_last) = self.complaints.another(Instant::now()) {
                    tracing::warn!(
                        reason = error.reason(),
                        bytes = json.len(),
                        since_last,
                        "an envelope from Redis was refused"
                    );
                }
                return;
            }
        };
        if source == Source::Channel && (envelope.id.is_some() || envelope.retain) {
            metrics.dropped(Dropped::ChannelOptionIgnored, 1);
            tracing::debug!("id and retain have no meaning on the channel for backends");
        }
        self.deliver_envelope(source, envelope, stamp);
    }

    /// What came by a foreign channel is what our translator makes of it, for the sockets of this node alone.
    fn foreign(&mut self, channel: &str, payload: &[u8]) {
        for translated in self.node.config.translate(channel, payload) {
            match translated {
                Ok(envelope) => self.deliver_envelope(Source::Foreign, envelope, None),
                Err(Untranslated { reason }) => {
                    let metrics = &self.node.metrics;
                    metrics.publish(Source::Foreign, Outcome::Invalid);
                    metrics.dropped(Dropped::Untranslated, 1);
                    self.lost(Way::of(Source::Foreign), reason, None, payload.len());
                    if let Some(since_last) = self.complaints.another(Instant::now()) {
                        let bytes = payload.len();
                        tracing::warn!(
                            reason,
                            channel,
                            bytes,
                            since_last,
                            "no envelope can be made of a message of a foreign channel"
                        );
                    }
                }
            }
        }
    }

    fn deliver_envelope(&self, source: Source, envelope: Envelope, stamp: Option<u64>) {
        let at = stamp.map_or_else(unix_ms, |stamp| stamp / 1000);
        let publication = Publication {
            stamp,
            ..Publication::new(envelope, at)
        };
        if stamp.is_some() {
            self.lag(&publication);
        }
        let sockets = self.deliver(&publication, Way::of(source));
        self.node.metrics.publish(
            source,
            if sockets > 0 {
                Outcome::Reached
            } else {
                Outcome::Uncounted
            },
        );
    }

    fn room(&mut self, channel: &Channel, room: &RoomName, payload: &Bytes) -> Result<(), WireError> {
        let (stamp, frame) = match Stored::decode(payload)? {
            None => (None, payload.clone()),
            Some(Stored {
                stamp,
                body: StoredBody::Frame(frame),
            }) => (Some(stamp), frame),
            Some(Stored {
                stamp,
                body: StoredBody::Envelope(json),
            }) => {
                // The function does not look for what is not UTF-8, and has told the backend that it took this.
                let text = String::from_utf8_lossy(&json);
                self.envelope(Source::Function, text.as_bytes(), Some(room), Some(stamp));
                return Ok(());
            }
        };
        let frame = self.node.config.keys.open(channel, &frame)?;
        let Message {
            sender,
            frame:
                Frame::Publication {
                    handling,
                    mut publication,
                },
        } = Message::decode(&frame)?
        else {
            return Err(WireError::Malformed("frame on a room's channel"));
        };
        // A frame that strayed here reaches nobody. That a frame of several rooms is a node's is for its signature to
        // prove: without keys, whoever may publish to rooms' channels is trusted like a node.
        if !publication.rooms.contains(room) {
            return Err(WireError::Malformed("rooms"));
        }
        publication.stamp = stamp;
        self.publication(sender, handling, publication);
        Ok(())
    }

    fn frame(&mut self, channel: &Channel, bytes: &Bytes) -> Result<(), WireError> {
        let Message { sender, frame } = Message::decode(&self.node.config.keys.open(channel, bytes)?)?;
        let own = sender == self.node.id;
        if !own {
            self.node.members().sign_of_life(&sender, Instant::now());
        }
        match frame {
            Frame::Publication {
                handling,
                publication,
            } => self.publication(sender, handling, publication),
            Frame::Heartbeat { hello, about } if !own => self.heartbeat(&sender, hello, about),
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
            Frame::Question { request, json } if !own => self.question(sender, request, &json),
            Frame::Answer { request, json } => self.answered(&sender, request, &json)?,
            // Our own come back to us like to everybody else. Probes are the bus' own business.
            Frame::Heartbeat { .. }
            | Frame::Goodbye
            | Frame::CensusQuestion { .. }
            | Frame::Question { .. }
            | Frame::Probe { .. } => {}
        }
        Ok(())
    }

    fn publication(&mut self, sender: NodeId, handling: Handling, publication: Publication) {
        let own = sender == self.node.id;
        if !own {
            self.lag(&publication);
        }
        let Handling {
            request,
            serial,
            local_first,
            ack_timeout_ms,
            phase,
        } = handling;
        let again = serial.is_some_and(|serial| !self.recent.first(serial, Instant::now()));
        if let (Some(request), Some(timeout)) = (request, ack_timeout_ms) {
            if again {
                self.serve(Served {
                    to: sender,
                    request,
                    reply: Reply::Acks(Acks::default()),
                });
            } else {
                self.ask_sockets(sender, request, &publication, Duration::from_millis(timeout));
            }
            return;
        }
        // Only other nodes' relays begin something that this node has to end in their place.
        let skipped = again || (own && local_first);
        let sockets = if skipped || !(own || self.node.relayed(&sender, phase, &publication)) {
            self.node.metrics.received(false);
            0
        } else {
            self.deliver(&publication, Way::frame(&sender)) as u64
        };
        match request {
            Some(request) if own => self.late_unless(self.node.reached.answer(request, &sender, sockets)),
            Some(request) => self.answer(sender, &Frame::Reached { request, sockets }),
            None => {}
        }
    }

    fn ask_sockets(&mut self, to: NodeId, request: u64, publication: &Publication, timeout: Duration) {
        let acks = self.node.local.request(publication, timeout.min(MAX_ACK_TIMEOUT));
        self.node.metrics.received(true);
        let tap = &self.node.config.tap;
        if tap.is_open() {
            tap.show(&Passage::Delivered {
                way: Way::frame(&to),
                publication,
                arrived: std::time::SystemTime::now(),
                took: Duration::ZERO,
                sockets: None,
            });
        }
        self.work(async move {
            let reply = Reply::Acks(acks.await);
            Served { to, request, reply }
        });
    }

    fn question(&mut self, to: NodeId, request: u64, json: &[u8]) {
        // What a later version asks is not known here, and said so.
        let Ok(question) = serde_json::from_slice::<Question>(json) else {
            let answer = Answer {
                unsupported: true,
                ..Answer::default()
            };
            let reply = Reply::Answer(answer);
            return self.serve(Served { to, request, reply });
        };
        let answer = self.node.local.answer(question);
        self.work(async move {
            let reply = Reply::Answer(answer.await);
            Served { to, request, reply }
        });
    }

    fn work(&mut self, work: impl Future<Output = Served> + Send + 'static) {
        if self.at_work.len() < AT_WORK {
            self.at_work.push(Box::pin(work));
        } else {
            self.node.metrics.dropped(Dropped::AnswerQueueFull, 1);
        }
    }

    fn serve(&self, Served { to, request, reply }: Served) {
        let own = &self.node.id;
        if to == *own {
            if let Reply::Acks(acks) = reply {
                self.late_unless(self.node.acks.answer(request, own, acks));
            }
            return;
        }
        // It is made of texts and numbers, so that it can be written.
        let json = serde_json::to_vec(&reply).unwrap_or_default().into();
        self.answer(to, &Frame::Answer { request, json });
    }

    fn answered(&self, from: &NodeId, request: u64, json: &[u8]) -> Result<(), WireError> {
        let reply = serde_json::from_slice(json).map_err(|_| WireError::Malformed("answer"))?;
        self.late_unless(match reply {
            Reply::Acks(acks) => self.node.acks.answer(request, from, acks),
            Reply::Answer(answer) => self.node.answers.answer(request, from, answer),
        });
        Ok(())
    }

    /// The only place where something from the bus reaches sockets.
    fn deliver(&self, publication: &Publication, way: Way<'_>) -> usize {
        let sockets = self.node.deliver(publication, way);
        self.node.metrics.received(sockets > 0);
        sockets
    }

    fn lost(&self, way: Way<'_>, reason: &'static str, room: Option<&RoomName>, bytes: usize) {
        self.node.config.tap.show(&Passage::Lost {
            way,
            reason,
            publication: None,
            room,
            bytes: Some(bytes),
        });
    }

    fn lag(&self, publication: &Publication) {
        // The clocks of two machines differ; an event from the future was fast.
        let lag = Duration::from_millis(unix_ms().saturating_sub(publication.published_at_ms));
        self.node.metrics.lag(lag.as_secs_f64());
    }

    fn heartbeat(&self, sender: &NodeId, hello: bool, about: Option<About>) {
        let new = self.node.members().heartbeat(sender, about, Instant::now());
        if new {
            tracing::info!(node.id = %sender, "a node joined");
        }
        // To the one node and not to all, or each arrival would cost a heartbeat from everybody to everybody.
        if (new || hello) && !self.node.has_left() {
            self.answer(sender.clone(), &self.node.heartbeat(false));
        }
    }

    fn answer(&self, to: NodeId, frame: &Frame) {
        let channel = Channel::Node(to);
        let payload = self.node.seal(&channel, frame.encode(&self.node.id));
        self.outbox.send(channel, payload);
    }

    fn late_unless(&self, in_time: bool) {
        if !in_time {
            self.node.metrics.dropped(Dropped::AnswerLate, 1);
        }
    }

    fn unreadable(&mut self, error: WireError, bytes: usize) {
        let dropped = Dropped::from(error);
        self.node.metrics.dropped(dropped, 1);
        let way = Way {
            source: "node",
            from: None,
        };
        self.lost(way, dropped.label(), None, bytes);
        if let Some(since_last) = self.complaints.another(Instant::now()) {
            tracing::warn!(%error, bytes, since_last, "a frame from a node cannot be read");
        }
    }
}

/// The publications to several rooms that came lately.
#[derive(Default)]
struct Recent {
    known: HashSet<u64>,
    order: VecDeque<(Instant, u64)>,
}

impl Recent {
    /// Whether this one did not come before.
    fn first(&mut self, serial: u64, now: Instant) -> bool {
        while self
            .order
            .front()
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) >= REMEMBERED_FOR)
        {
            self.forget_oldest();
        }
        if !self.known.insert(serial) {
            return false;
        }
        self.order.push_back((now, serial));
        if self.order.len() > REMEMBERED {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.order.pop_front() {
            self.known.remove(&oldest);
        }
    }
}
