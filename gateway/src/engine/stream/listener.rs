//! Accepts connections, plain or by TLS. A peer that is slow to agree on TLS keeps nobody else waiting.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Connections, Stream, Tcp, Wire};

/// TLS handshakes that may be under way on a listener. One more ends the connection: its client comes back.
const HANDSHAKES: usize = 1024;

/// How long a TLS handshake may take. What a client sends next has its own deadlines.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Says how a listener speaks TLS, and hears how that goes. It is asked for each connection, so that what it says may
/// change at any time; connections that exist are not concerned.
pub trait Security: Send + Sync + 'static {
    /// What a new connection is agreed with; `None` = connections are plain.
    fn config(&self) -> Option<Arc<ServerConfig>>;

    /// A TLS handshake is over.
    fn ended(&self, outcome: TlsHandshake);
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsHandshake {
    /// Both sides agreed.
    Accepted,
    /// They did not, or the peer speaks something else, or went away.
    Failed,
    /// It took too long.
    TimedOut,
    /// It did not begin, because too many are under way.
    Refused,
}

/// Accepts connections and keeps them within reach of [`Connections`].
pub struct Listener {
    inner: TcpListener,
    connections: Connections,
    write_deadline: Duration,
    security: Option<Arc<dyn Security>>,
    /// End with the listener.
    handshakes: JoinSet<Option<(Box<TlsStream<Tcp>>, SocketAddr)>>,
    /// How many of them there may be.
    most: usize,
}

impl Listener {
    /// Wraps a bound listener of plain connections. A write that makes no progress for `write_deadline` ends its
    /// connection.
    pub fn new(inner: TcpListener, connections: Connections, write_deadline: Duration) -> Listener {
        Listener {
            inner,
            connections,
            write_deadline,
            security: None,
            most: HANDSHAKES,
            handshakes: JoinSet::new(),
        }
    }

    /// Speaks TLS whenever this says so.
    pub fn secured_by(self, security: Arc<dyn Security>) -> Listener {
        Listener {
            security: Some(security),
            ..self
        }
    }

    fn stream(&self, wire: Wire) -> Stream {
        Stream::new(wire, &self.connections)
    }

    /// Begins with a connection. A plain one is there at once.
    fn begin(&mut self, tcp: TcpStream, peer: SocketAddr) -> Option<Stream> {
        let tcp = Tcp::new(tcp, self.write_deadline);
        let secured = self.security.as_ref();
        let Some((security, config)) = secured.and_then(|s| Some((s.clone(), s.config()?))) else {
            return Some(self.stream(Wire::Plain(tcp)));
        };
        if self.handshakes.len() >= self.most {
            security.ended(TlsHandshake::Refused);
            return None;
        }
        self.handshakes.spawn(async move {
            let agreed = timeout(HANDSHAKE_DEADLINE, TlsAcceptor::from(config).accept(tcp)).await;
            security.ended(match &agreed {
                Ok(Ok(_)) => TlsHandshake::Accepted,
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "no TLS with this peer");
                    TlsHandshake::Failed
                }
                Err(_) => {
                    tracing::debug!(%peer, "no TLS with this peer: it took too long");
                    TlsHandshake::TimedOut
                }
            });
            Some((Box::new(agreed.ok()?.ok()?), peer))
        });
        None
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some((tls, peer))) = ended {
                        return (self.stream(Wire::Tls(tls)), peer);
                    }
                }
                (tcp, peer) = accept(&self.inner) => {
                    if let Some(stream) = self.begin(tcp, peer) {
                        return (stream, peer);
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // A connection that ended before it was accepted says nothing about the next one. Out of
            // descriptors does: pausing keeps this loop from burning the core that closes them.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
