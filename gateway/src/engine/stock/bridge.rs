//! socketioxide's own local adapter, within reach: it hides the way to send an encoded packet.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use socketioxide::adapter::Emitter;
use socketioxide_core::{
    adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter},
    packet::Packet as SioPacket,
};

use super::{Shared, Sockets};

/// The adapter that the library is given.
pub(super) struct Bridge {
    pub(super) local: CoreLocalAdapter<Emitter>,
    sockets: Weak<Shared>,
}

impl CoreAdapter<Emitter> for Bridge {
    type Error = Infallible;
    type State = Sockets;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(sockets: &Sockets, local: CoreLocalAdapter<Emitter>) -> Self {
        Bridge {
            local,
            sockets: Arc::downgrade(&sockets.0),
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        if let Some(shared) = self.sockets.upgrade() {
            // Set once: there is one namespace, and a `Sockets` belongs to one engine.
            let _ = shared.adapter.set(self.clone());
        }
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: SioPacket,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Bridge {}
