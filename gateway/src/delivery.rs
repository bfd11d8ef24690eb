//! This node's sockets, as the cluster sees them: publications to them, and what other nodes ask and order.

mod acks;
mod orders;
mod slow;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use adapter_redis::{
    Acks, Answer, Census, Gap, Interests, Later, Load, LocalSockets, Publication, Question, RoomName,
};

use self::{orders::Orders, slow::Slows};
use crate::{
    drain::Offer,
    engine::{Audience, Packet, Sockets},
    forwarding::Replies,
    metrics::{Dropped, Metrics},
    population::Population,
    revocation::Ending,
    rules::Rules,
    tail::{Kind, Sight, Tails},
};

/// The receiving end of the bus on this node.
#[derive(Debug)]
pub struct Delivery {
    sockets: Sockets,
    population: Arc<Population>,
    interests: Interests,
    ending: Ending,
    slows: Slows,
    replies: Arc<Replies>,
    tails: Tails,
    offer: Offer,
    metrics: Metrics,
}

impl Delivery {
    /// Brings the parts together, for the sockets and the population that revocations end.
    pub(crate) fn new(
        interests: Interests,
        ending: Ending,
        rules: Rules,
        replies: Arc<Replies>,
        tails: Tails,
        offer: Offer,
        metrics: Metrics,
    ) -> Delivery {
        Delivery {
            sockets: ending.sockets.clone(),
            population: ending.population.clone(),
            interests,
            ending,
            slows: Slows::new(rules),
            replies,
            tails,
            offer,
            metrics,
        }
    }

    /// Who is here of those that a publication is for, and the packet that they get; `None` = nobody.
    fn local(&self, publication: &Publication) -> Option<(Audience, Packet)> {
        if publication.namespace != "/" {
            self.metrics.dropped(Dropped::UnknownNamespace, 1);
            self.show_lost(publication, Dropped::UnknownNamespace, 0);
            return None;
        }
        // Most nodes have nobody in most rooms: the payload is not even looked at then.
        let rooms = publication.rooms.iter().map(RoomName::as_str);
        let audience = self.sockets.audience(rooms, &publication.except);
        if audience.is_empty() {
            return None;
        }
        let packet = publication.args.to_packet(&publication.event);
        let packet = Packet {
            text: packet.text,
            attachments: packet.attachments,
        };
        Some((audience, packet))
    }

    fn show_lost(&self, publication: &Publication, reason: Dropped, sockets: usize) {
        self.tails
            .show(|| Sight::lost(publication, reason.as_str(), sockets));
    }
}

impl LocalSockets for Delivery {
    fn deliver(&self, publication: &Publication) -> usize {
        if let Some(given) = self.replies.take(publication) {
            return given;
        }
        let Some((audience, packet)) = self.local(publication) else {
            return 0;
        };
        let size = packet.size();
        let sent = audience.send(packet, self.slows.of(publication));
        self.metrics.events_out.increment(sent.reached as u64);
        self.metrics.bytes_out.increment((size * sent.reached) as u64);
        // Those that are only lost are counted with those that had to go for others.
        self.metrics.dropped(Dropped::SlowConsumer, sent.full);
        self.metrics.dropped(Dropped::SocketGone, sent.gone);
        for (reason, count) in [
            (Dropped::SlowConsumer, sent.full + sent.lost),
            (Dropped::SocketGone, sent.gone),
        ] {
            if count > 0 {
                self.show_lost(publication, reason, count);
            }
        }
        self.metrics
            .delivery_latency
            .record(seconds_since(publication.published_at_ms));
        tracing::debug!(
            event = publication.event.as_str(),
            room = publication.rooms.first().map(RoomName::as_str),
            room.count = publication.rooms.len(),
            socket.count = sent.reached,
            trace.id = publication.trace.map(|trace| format!("{trace:032x}")),
            "delivered"
        );
        sent.reached
    }

    fn request(&self, publication: &Publication, timeout: Duration) -> Later<Acks> {
        let Some((audience, packet)) = self.local(publication) else {
            return Box::pin(async { Acks::default() });
        };
        let size = packet.size();
        let asked = audience.ask(packet, timeout);
        tracing::debug!(
            event = publication.event.as_str(),
            socket.count = asked.socket_count(),
            "asked"
        );
        self.metrics
            .delivery_latency
            .record(seconds_since(publication.published_at_ms));
        Box::pin(acks::collect(asked, size, self.metrics.clone()))
    }

    fn answer(&self, question: Question) -> Later<Answer> {
        let orders = Orders {
            sockets: self.sockets.clone(),
            population: self.population.clone(),
            interests: self.interests.clone(),
            ending: self.ending.clone(),
        };
        Box::pin(async move { orders.answer(question).await })
    }

    fn gap(&self, gap: &Gap) {
        self.tails.show(|| Sight {
            kind: Kind::Gap,
            rooms: match gap {
                Gap::All => Vec::new(),
                Gap::Rooms(rooms) => rooms.iter().map(RoomName::as_str).collect(),
            },
            is_everywhere: *gap == Gap::All,
            ..Sight::default()
        });
        match gap {
            Gap::All => {
                self.ending.revocations.doubt();
                // The node is in rooms of its own, for answers of backends; those alone make no gap.
                let count = self.sockets.room_count();
                if count > 0 {
                    self.metrics.gaps_everywhere.increment(1);
                    tracing::warn!(room.count = count, "events for any room may have been lost");
                }
            }
            Gap::Rooms(rooms) => {
                let is_inhabited = |room: &&RoomName| self.sockets.is_anybody_in([room.as_str()].into_iter());
                let count = rooms.iter().filter(is_inhabited).count();
                if count > 0 {
                    self.metrics.gaps_in_rooms.increment(count as u64);
                    tracing::warn!(room.count = count, "events for some rooms may have been lost");
                }
            }
        }
    }

    fn load(&self) -> Load {
        Load {
            connected: self.population.connected() as u64,
            rooms: self.sockets.room_count() as u64,
            admission: Some(self.offer.admission(Instant::now())),
        }
    }

    fn census(&self) -> Census {
        let hashed = |names: &mut dyn Iterator<Item = u64>| {
            let mut hashes: Vec<u64> = names.collect();
            hashes.sort_unstable();
            hashes.dedup();
            hashes
        };
        Census {
            connected: self.population.connected() as u64,
            users: hashed(&mut self.population.user_names().iter().map(|u| Census::hash(u))),
            rooms: hashed(&mut self.sockets.rooms().iter().map(|r| Census::hash(r))),
        }
    }
}

/// Clocks of two machines differ: a publication from the future took no time.
fn seconds_since(published_at_ms: u64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    now.saturating_sub(published_at_ms) as f64 / 1000.0
}
