//! From a publication that the bus brought to the sockets of this node.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use adapter_redis::{Census, LocalSockets, Publication, RoomName};

use crate::{
    engine::{Packet, Sockets},
    metrics::{Dropped, Metrics},
    sessions::Population,
};

/// The receiving end of the bus on this node.
#[derive(Debug)]
pub struct Delivery {
    sockets: Sockets,
    population: Arc<Population>,
    metrics: Metrics,
}

impl Delivery {
    /// Brings the parts together.
    pub fn new(sockets: Sockets, population: Arc<Population>, metrics: Metrics) -> Delivery {
        Delivery {
            sockets,
            population,
            metrics,
        }
    }
}

impl LocalSockets for Delivery {
    fn deliver(&self, publication: &Publication) -> usize {
        if publication.namespace != "/" {
            self.metrics.dropped(Dropped::UnknownNamespace, 1);
            return 0;
        }
        let rooms = publication.rooms.iter().map(RoomName::as_str);
        // Most nodes have nobody in most rooms: the payload is not even looked at then.
        if !self.sockets.is_anybody_in(rooms.clone()) {
            return 0;
        }
        let packet = publication.args.to_packet(&publication.event);
        let packet = Packet {
            text: packet.text,
            attachments: packet.attachments,
        };
        let size = packet.size();
        let sent = self.sockets.broadcast(rooms, &publication.except, packet);
        self.metrics.events_out.increment(sent.reached as u64);
        self.metrics.bytes_out.increment((size * sent.reached) as u64);
        self.metrics.dropped(Dropped::SlowConsumer, sent.full);
        self.metrics.dropped(Dropped::SocketGone, sent.gone);
        self.metrics
            .delivery_latency
            .record(seconds_since(publication.published_at_ms));
        tracing::debug!(
            event = publication.event.as_str(),
            room = publication.rooms.first().map(RoomName::as_str),
            room.count = publication.rooms.len(),
            socket.count = sent.reached,
            "delivered"
        );
        sent.reached
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
