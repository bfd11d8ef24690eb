//! What this client does, for whoever looks.

use adapter_redis::{EventName, Relayed, RoomName};

use super::{Session, answers::shortened};
use crate::tail::{Kind, Sight, sight::identity};

impl Session {
    /// Shows something of this client; `more` is said of it by whoever knows.
    #[inline]
    pub(super) fn show<'a>(&'a self, kind: Kind, more: impl FnOnce(&mut Sight<'a>)) {
        self.common.tails.show(|| {
            let mut sight = Sight {
                kind,
                source: Some("client"),
                user: Some(&self.identity.user),
                session: Some(self.socket),
                ..Sight::default()
            };
            more(&mut sight);
            sight
        });
    }

    pub(super) fn show_refusal<'a>(&'a self, event: &'a str, code: &'a str) {
        self.show(Kind::Refusal, |sight| {
            // A client may call it anything, of any length.
            sight.event = Some(shortened(event));
            sight.reason = Some(code);
        });
    }

    pub(super) fn show_room<'a>(&'a self, kind: Kind, event: &'a str, room: &'a RoomName) {
        self.show(kind, |sight| {
            sight.event = Some(event);
            sight.rooms = vec![room.as_str()];
        });
    }

    /// A relay has the same name on all nodes, so that it can be followed there.
    pub(super) fn show_relay<'a>(
        &'a self,
        event: &'a str,
        emit: &'a EventName,
        room: &'a RoomName,
        relayed: Relayed,
    ) {
        let node = self.common.tails.node().as_str();
        self.show(Kind::Relay, |sight| {
            sight.event = Some(event);
            sight.emit = Some(emit.as_str());
            sight.rooms = vec![room.as_str()];
            sight.from = Some(node);
            sight.publication = Some(identity(node, relayed.at_ms, emit.as_str(), Some(room)));
            sight.sockets = Some(relayed.sockets);
            sight.outcome = Some(if relayed.queued { "queued" } else { "local" });
        });
    }
}
