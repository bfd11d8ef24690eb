//! The server's end: accepts one client and then says and expects exactly what a test tells it to.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use loadtest::{Client, Connect, ConnectError};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};

pub(crate) const OPEN: &str =
    r#"0{"sid":"engine","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    pub(crate) request: Request,
}

/// Keeps the client's HTTP request.
struct Keep<'a>(&'a mut Request);

impl Callback for Keep<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        *self.0 = request.clone();
        Ok(response)
    }
}

impl Peer {
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut request = Request::default();
        let socket = tokio_tungstenite::accept_hdr_async(stream, Keep(&mut request))
            .await
            .unwrap();
        Self { socket, request }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub(crate) async fn send(&mut self, frame: Message) {
        self.socket.send(frame).await.unwrap();
    }

    pub(crate) async fn say_binary(&mut self, bytes: &'static [u8]) {
        self.send(Message::Binary(Bytes::from_static(bytes))).await;
    }

    pub(crate) async fn hear(&mut self) -> Message {
        let frame = timeout(Duration::from_secs(5), self.socket.next()).await;
        frame
            .unwrap_or_else(|_| panic!("the client says nothing"))
            .unwrap()
            .unwrap()
    }

    /// Did the TCP connection just end?
    pub(crate) async fn hears_nothing(mut self) -> bool {
        let frame = timeout(Duration::from_secs(5), self.socket.next()).await;
        matches!(
            frame.unwrap_or_else(|_| panic!("the client is still there")),
            None | Some(Err(_))
        )
    }

    pub(crate) async fn expect(&mut self, text: &str) {
        assert_eq!(self.hear().await, Message::text(text));
    }
}

/// Address of a server, and the listener to accept on.
pub(crate) async fn listen() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap().to_string(), listener)
}

/// Opens `connect`; the server sends its handshake, expects `connects` and answers with `answers`.
pub(crate) async fn open(
    listener: &TcpListener,
    connect: Connect,
    connects: &str,
    answers: &[&str],
) -> (Result<Client, ConnectError>, Peer) {
    let serve = async {
        let mut peer = Peer::accept(listener).await;
        peer.say(OPEN).await;
        peer.expect(connects).await;
        for answer in answers {
            peer.say(answer).await;
        }
        peer
    };
    tokio::join!(connect.open(), serve)
}

/// A client in the namespace `/`.
pub(crate) async fn connected() -> (Client, Peer) {
    connected_with(|connect| connect).await
}

pub(crate) async fn connected_with(with: impl FnOnce(Connect) -> Connect) -> (Client, Peer) {
    let (address, listener) = listen().await;
    let (client, peer) = open(
        &listener,
        with(Connect::to(address)),
        "40",
        &[r#"40{"sid":"socket"}"#],
    )
    .await;
    (client.unwrap(), peer)
}
