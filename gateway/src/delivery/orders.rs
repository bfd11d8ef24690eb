//! What any node asks about the sockets of this one, and orders to be done with them.

use std::sync::Arc;

use adapter_redis::{Answer, Census, Interests, MAX_LISTED, Question, Refused, RoomName, SocketInfo, Target};
use futures_util::future::try_join_all;

use crate::{
    engine::{SocketId, Sockets},
    policy::Identity,
    population::Population,
    revocation::Ending,
};

/// Answers for this node.
pub(super) struct Orders {
    pub(super) sockets: Sockets,
    pub(super) population: Arc<Population>,
    pub(super) interests: Interests,
    pub(super) ending: Ending,
}

impl Orders {
    pub(super) async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Sockets { target, list } => self.list(&target, list.min(MAX_LISTED)),
            Question::Join { target, rooms } => Answer {
                count: self.join(&target, &rooms).await,
                ..Answer::default()
            },
            Question::Leave { target, rooms } => Answer {
                count: self.leave(&target, &rooms),
                ..Answer::default()
            },
            Question::Disconnect {
                target,
                reason,
                reconnect,
            } => Answer {
                count: self.disconnect(&target, &reason, reconnect).await,
                ..Answer::default()
            },
            Question::Revoke { tokens, until_ms } => {
                let ended = self.ending.revoke(&tokens, until_ms).await;
                Answer {
                    count: ended.unwrap_or_default(),
                    unsupported: ended.is_none(),
                    ..Answer::default()
                }
            }
        }
    }

    fn list(&self, target: &Target, most: usize) -> Answer {
        // Who is just going away belongs to nobody any more.
        let found: Vec<(SocketId, Arc<Identity>)> = self
            .targets(target)
            .into_iter()
            .filter_map(|socket| Some((socket, self.population.identity(socket)?)))
            .collect();
        let mut users: Vec<u64> = found.iter().map(|(_, i)| Census::hash(&i.user)).collect();
        users.sort_unstable();
        users.dedup();
        let sockets = found.iter().take(most).map(|(s, i)| self.describe(*s, i));
        Answer {
            count: found.len() as u64,
            users,
            sockets: sockets.collect(),
            unsupported: false,
        }
    }

    fn describe(&self, socket: SocketId, identity: &Identity) -> SocketInfo {
        let mut rooms: Vec<String> = self
            .sockets
            .rooms_of(socket)
            .iter()
            .map(ToString::to_string)
            .collect();
        rooms.sort_unstable();
        SocketInfo {
            id: socket.to_string(),
            user: identity.user.to_string(),
            tenant: identity.tenant.clone(),
            connected_at_ms: self.population.connected_at_ms(socket),
            rooms,
        }
    }

    /// How many sockets are in all the rooms afterwards.
    async fn join(&self, target: &Target, rooms: &[RoomName]) -> u64 {
        // A node without such a socket does not ask the bus for rooms.
        if self.targets(target).is_empty() {
            return 0;
        }
        let opened = match try_join_all(rooms.iter().map(|room| self.interests.hold(room))).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, room.count = rooms.len(), "cannot put sockets into rooms");
                return 0;
            }
        };
        let mut count = 0;
        // Looked up again: the wait may have been long.
        for socket in self.targets(target) {
            match self.join_one(socket, rooms).await {
                Ok(()) if self.is_in_all(socket, rooms) => count += 1,
                Ok(()) => {}
                Err(error) => tracing::error!(socket.id = %socket, %error, "cannot put a socket into rooms"),
            }
        }
        // Held until here, so that each of the sockets found its rooms open.
        drop(opened);
        tracing::info!(room.count = rooms.len(), socket.count = count, "put into rooms");
        count
    }

    async fn join_one(&self, socket: SocketId, rooms: &[RoomName]) -> Result<(), Refused> {
        for room in rooms {
            let interest = self.interests.hold(room).await?;
            self.sockets
                .join(socket, &Arc::from(room.as_str()), Box::new(interest));
        }
        Ok(())
    }

    fn is_in_all(&self, socket: SocketId, rooms: &[RoomName]) -> bool {
        let is_in = self.sockets.rooms_of(socket);
        self.sockets.is_known(socket)
            && rooms
                .iter()
                .all(|room| is_in.iter().any(|r| **r == *room.as_str()))
    }

    /// How many sockets are in none of the rooms afterwards.
    fn leave(&self, target: &Target, rooms: &[RoomName]) -> u64 {
        let sockets = self.targets(target);
        for socket in &sockets {
            let session = self.ending.roster.find(*socket);
            for room in rooms {
                let _ = match &session {
                    // It ends what it has begun there.
                    Some(session) => session.leave(room),
                    None => self.sockets.leave(*socket, room.as_str()),
                };
            }
        }
        if !sockets.is_empty() {
            tracing::info!(
                room.count = rooms.len(),
                socket.count = sockets.len(),
                "taken out of rooms"
            );
        }
        sockets.len() as u64
    }

    async fn disconnect(&self, target: &Target, reason: &str, reconnect: bool) -> u64 {
        let mut count = 0;
        for socket in self.targets(target) {
            let ended = if reconnect {
                self.sockets.close(socket).await
            } else {
                self.sockets.disconnect(socket).await
            };
            if ended {
                tracing::info!(socket.id = %socket, reason, reconnect, "disconnected by order");
                count += 1;
            }
        }
        count
    }

    fn targets(&self, target: &Target) -> Vec<SocketId> {
        match target {
            Target::Room(room) => self.sockets.members(room.as_str()),
            Target::User(user) => self.population.sockets_of(user),
            Target::Session(id) => id
                .parse()
                .into_iter()
                .filter(|socket| self.sockets.is_known(*socket))
                .collect(),
        }
    }
}
