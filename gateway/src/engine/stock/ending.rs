//! Ending one client's connection, in both ways: for good, and so that the client comes back by itself.

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use http::header::CONTENT_TYPE;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use socketioxide::{SocketIo, TransportType, extract::SocketRef, socket::Sid};

use super::{
    super::{CloseReason, Peer},
    Bridge, SocketId, Sockets,
    link::Ending,
};

/// The engine's own endpoint, for requests of the node itself.
pub(super) struct Endpoint {
    path: String,
    routes: Router,
}

impl Endpoint {
    pub(super) fn new(path: &str, routes: Router) -> Endpoint {
        Endpoint {
            path: path.to_owned(),
            routes,
        }
    }

    /// Ends a polling session as its client would: the library has no other way to end one. The open poll is
    /// answered with nothing to do, and the next one with "Session ID unknown".
    async fn close(&self, session: Sid) {
        let uri = format!("{}/?EIO=4&transport=polling&sid={session}", self.path);
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "text/plain; charset=UTF-8")
            .body(Body::from("1"));
        if let Ok(request) = request {
            // The answer says only whether the session was there.
            let _ = TowerToHyperService::new(self.routes.clone()).call(request).await;
        }
    }
}

impl Sockets {
    /// Sends a client away with a DISCONNECT packet: the official client does not come back by itself after it. The
    /// socket is out of its rooms when this returns. Answers whether there was a socket: one that was not told yet that it
    /// is in would see the two in the wrong order, and is none yet.
    pub async fn disconnect(&self, socket: SocketId) -> bool {
        let Some(found) = self.find(socket).filter(|found| found.connected()) else {
            return false;
        };
        self.forget(found.id);
        found.extensions.insert(Ending(CloseReason::ServerDisconnect));
        if found.clone().disconnect().is_err() {
            // It could not be told, because it takes nothing any more.
            self.end_transport(&found).await;
        }
        true
    }

    /// Closes a client's transport without a word of Socket.IO: the official client comes back by itself. The socket
    /// is out of its rooms when this returns. Answers whether there was a socket.
    ///
    /// A websocket's connection ends at once. A polling session ends, too, but its client notices with its next
    /// poll, and takes it for an error of the transport.
    pub async fn close(&self, socket: SocketId) -> bool {
        self.close_because(socket, CloseReason::ServerClose).await
    }

    /// As [`Sockets::close`], because the server is being stopped.
    pub async fn shut_down(&self, socket: SocketId) -> bool {
        self.close_because(socket, CloseReason::ServerShutdown).await
    }

    async fn close_because(&self, socket: SocketId, reason: CloseReason) -> bool {
        let Some(found) = self.find(socket) else {
            return false;
        };
        self.forget(found.id);
        found.extensions.insert(Ending(reason));
        self.end_transport(&found).await;
        true
    }

    /// Remembers over which connection a polling session goes on as a websocket.
    pub(super) fn note_upgrade(&self, request: &Request) {
        let query = request.uri().query().unwrap_or_default();
        if !query.split('&').any(|pair| pair == "transport=websocket") {
            return;
        }
        let session = query.split('&').find_map(|pair| pair.strip_prefix("sid="));
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        if let (Some(Ok(session)), Some(peer)) = (session.map(str::parse::<Sid>), peer) {
            // A second request cannot take a websocket over.
            let is_websocket = self
                .find(SocketId(session))
                .is_some_and(|s| s.transport_type() == TransportType::Websocket);
            if !is_websocket {
                self.0.upgrades.note(session, peer.0.clone());
            }
        }
    }

    fn find(&self, socket: SocketId) -> Option<SocketRef<Bridge>> {
        self.0
            .io
            .get()
            .and_then(|io: &SocketIo<Bridge>| io.get_socket(socket.0))
    }

    async fn end_transport(&self, socket: &SocketRef<Bridge>) {
        if socket.transport_type() == TransportType::Polling {
            if let Some(endpoint) = self.0.endpoint.get() {
                endpoint.close(socket.id).await;
            }
            return;
        }
        let moved = self.0.upgrades.of(&socket.id);
        let opened = socket.req_parts().extensions.get::<ConnectInfo<Peer>>();
        if let Some(peer) = moved.or_else(|| opened.map(|c| c.0.clone())) {
            peer.close();
        }
    }
}
