//! Where to connect, as whom, and the handshake.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::{MaybeTlsStream, client_async_with_config, connect_async_with_config};

use crate::client::{Client, CloseReason};
use crate::codec::{Kind, Packet};
use crate::connection;

/// From the TCP connection to the socket's id.
const DEADLINE: Duration = Duration::from_secs(10);
/// Events that may wait to be fetched: more than any test sends, little enough for a machine of many clients.
const QUEUE: usize = 65_536;

/// A connection to be: `Connect::to(address).token(…).open()`.
#[derive(Clone)]
pub struct Connect {
    address: String,
    path: String,
    queries: Vec<String>,
    headers: Vec<(String, String)>,
    namespace: String,
    auth: Value,
    token: Option<String>,
    queue: usize,
    receive_buffer: Option<u32>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The namespace was refused (`connect_error` in a browser).
    #[error("refused: {message}")]
    Refused {
        /// For people.
        message: String,
        /// For programs; null when the server sent none.
        data: Value,
    },
    /// The server answered the WebSocket's handshake with another status than 101.
    #[error("HTTP status {status}")]
    Http {
        /// That status.
        status: u16,
    },
    /// The TCP connection failed, or ended before the namespace was granted.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One side said what the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// Ten seconds were not enough.
    #[error("no connection within {DEADLINE:?}")]
    Timeout,
}

impl Connect {
    /// To `host:port`, in the namespace `/`, without any credentials.
    pub fn to(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            path: "/socket.io/".to_owned(),
            queries: Vec::new(),
            headers: Vec::new(),
            namespace: "/".to_owned(),
            auth: Value::Null,
            token: None,
            queue: QUEUE,
            receive_buffer: None,
        }
    }

    /// Sends `token` in the CONNECT packet's payload: in the object given to [`Connect::auth`], or in one of
    /// its own.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The CONNECT packet's payload; null sends none.
    #[must_use]
    pub fn auth(mut self, auth: Value) -> Self {
        self.auth = auth;
        self
    }

    /// Adds a header to the HTTP request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a `key=value`, already percent-encoded, to the URL.
    #[must_use]
    pub fn query(mut self, pair: impl Into<String>) -> Self {
        self.queries.push(pair.into());
        self
    }

    /// Another path than `/socket.io/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Another namespace than `/`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Another bound than 65,536 for the events that wait to be fetched.
    #[must_use]
    pub fn queue(mut self, events: usize) -> Self {
        self.queue = events;
        self
    }

    /// Another receive buffer than the kernel's, in bytes: with a small one, a server soon notices that this client
    /// reads slowly.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects. Events that the server sends before it grants the namespace are kept and come first.
    pub async fn open(self) -> Result<Client, ConnectError> {
        tokio::time::timeout(DEADLINE, self.handshake())
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    async fn handshake(self) -> Result<Client, ConnectError> {
        let request = self.request()?;
        let (socket, _response) = match self.receive_buffer {
            None => connect_async_with_config(request, None, true).await?,
            Some(bytes) => {
                let stream = MaybeTlsStream::Plain(with_receive_buffer(&self.address, bytes).await?);
                client_async_with_config(request, stream, None).await?
            }
        };
        let (sink, mut stream) = socket.split();
        let heartbeat = connection::opened(&mut stream).await?;
        let connect = self.connect_packet();
        let (mut client, granted) =
            connection::start(sink, stream, heartbeat, self.namespace, self.queue.max(1));
        // When this fails the connection is over, and its reason is told below.
        let _over = client.send(connect, Vec::new()).await;
        match granted.await {
            Ok(answer) => (client.id, client.pid) = answer?,
            Err(_over) => return Err(client.closed().await.into()),
        }
        Ok(client)
    }

    fn request(&self) -> Result<Request, ConnectError> {
        let mut url = format!("ws://{}{}?EIO=4&transport=websocket", self.address, self.path);
        for pair in &self.queries {
            url.push('&');
            url.push_str(pair);
        }
        let mut request = url.into_client_request()?;
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().map_err(invalid)?;
            let value: HeaderValue = value.parse().map_err(invalid)?;
            request.headers_mut().append(name, value);
        }
        Ok(request)
    }

    fn connect_packet(&self) -> Packet {
        let mut auth = self.auth.clone();
        if let Some(token) = &self.token {
            match &mut auth {
                Value::Object(map) => _ = map.insert("token".to_owned(), json!(token)),
                other => *other = json!({ "token": token }),
            }
        }
        let mut packet = Packet::new(Kind::Connect, self.namespace.as_str());
        packet.data = (!auth.is_null()).then(|| auth.to_string());
        packet
    }
}

/// The buffer has to be set before connecting: the size of the window is agreed on then.
async fn with_receive_buffer(address: &str, bytes: u32) -> io::Result<TcpStream> {
    let address = lookup_host(address)
        .await?
        .next()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_recv_buffer_size(bytes)?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

fn invalid(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Protocol(error.to_string())
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(response) => Self::Http {
                status: response.status().as_u16(),
            },
            Error::Io(error) => Self::Io(error),
            other => connection::lost(&other).into(),
        }
    }
}

impl From<CloseReason> for ConnectError {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TransportClose => Self::Io(io::ErrorKind::ConnectionAborted.into()),
            CloseReason::PingTimeout => Self::Timeout,
            CloseReason::Protocol(what) => Self::Protocol(what),
            other @ (CloseReason::ServerDisconnect | CloseReason::Overflow) => {
                Self::Protocol(other.to_string())
            }
        }
    }
}
