//! Being known to live, and knowing who does.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bus::BusState;
use crate::cluster::Node;
use crate::local::Load;
use crate::node::NodeId;
use crate::wire::{About, Frame, VERSION};

/// What this build is called among nodes.
const BUILD: &str = env!("CARGO_PKG_VERSION");

/// What is known about a node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeInfo {
    /// The node.
    pub id: NodeId,
    /// Its version, for instance `0.1.0`; empty when it did not say.
    pub version: String,
    /// How much it has to do.
    #[serde(flatten)]
    pub load: Load,
    /// How long ago it was heard of, in milliseconds; 0 for this node.
    pub heard_ms_ago: u64,
    /// Whether it is the one that answers.
    pub this: bool,
}

impl Node {
    /// One heartbeat each interval, and one at once when the link comes up. That one asks for answers: the others may
    /// not have noticed that this node was away, while it forgot them.
    pub(crate) async fn heartbeats(&self) {
        let mut state = self.bus.state();
        let mut ticks = interval(self.config.heartbeat_interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hello = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = state.changed() => {}
            }
            let connected = *state.borrow_and_update() == BusState::Connected;
            self.metrics.connected(connected);
            if !connected {
                hello = true;
            } else if !self.has_left() {
                match self.say(&self.heartbeat(hello)).await {
                    Ok(_) => hello = false,
                    Err(error) => tracing::debug!(%error, "a heartbeat was not sent"),
                }
            }
        }
    }

    pub(crate) fn heartbeat(&self, hello: bool) -> Frame {
        Frame::Heartbeat {
            hello,
            about: Some(About {
                wire: VERSION,
                version: BUILD.to_owned(),
                load: self.local.load(),
            }),
        }
    }

    pub(crate) async fn bury_the_dead(&self) {
        /// In how many of the rounds it is also looked for what nobody needs any more: as often as a heartbeat times out.
        const TIDY: u32 = 10;
        let mut ticks = interval((self.config.heartbeat_interval / 4).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u32;
        loop {
            ticks.tick().await;
            let dead = self.members().expire(Instant::now());
            for peer in dead {
                tracing::warn!(node.id = %peer, "a node was not heard of for too long");
                self.reached.died(&peer);
                self.acks.died(&peer);
                self.census.died(&peer);
                self.answers.died(&peer);
                self.relays.gone(&peer);
            }
            self.end_relays_of_strangers();
            round = (round + 1) % TIDY;
            if round == 0 {
                self.forget_relays();
            }
        }
    }

    /// What is known of the nodes that live, this one included, sorted by id.
    pub(crate) fn infos(&self) -> Vec<NodeInfo> {
        let mut infos: Vec<_> = self.members().infos(Instant::now()).collect();
        infos.push(NodeInfo {
            id: self.id.clone(),
            version: BUILD.to_owned(),
            load: self.local.load(),
            heard_ms_ago: 0,
            this: true,
        });
        infos.sort_by(|one, other| one.id.cmp(&other.id));
        infos
    }
}
