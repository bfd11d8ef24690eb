//! The byte streams below the engine: accepted here, closed from here, cut when a peer stops reading.
//!
//! socketioxide neither closes a transport nor notices a peer whose window stays shut (its writer waits for ever,
//! and its clean-up waits for the writer). Both are done one level below, where they are simple: the stream ends.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// All open connections of a listener.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    closing: CancellationToken,
    open: TaskTracker,
}

impl Connections {
    /// Ends all streams, those to come included. Clients see the transport close and come back by themselves.
    pub fn close_all(&self) {
        self.closing.cancel();
        self.open.close();
    }

    /// Waits until every stream is gone; only after [`Connections::close_all`].
    pub async fn closed(&self) {
        self.open.wait().await;
    }
}

/// Accepts connections and keeps them within reach of [`Connections`].
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    connections: Connections,
    write_deadline: Duration,
}

impl Listener {
    /// Wraps a bound listener. A write that makes no progress for `write_deadline` ends its connection.
    pub fn new(inner: TcpListener, connections: Connections, write_deadline: Duration) -> Listener {
        Listener {
            inner,
            connections,
            write_deadline,
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((stream, peer)) => {
                    // Small frames must not wait for one another. Without it they do, and nothing else breaks.
                    let _ = stream.set_nodelay(true);
                    return (Stream::new(stream, &self.connections, self.write_deadline), peer);
                }
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

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// The other end of a connection, and a handle to end it. Every request over the connection carries one.
#[derive(Debug, Clone)]
pub struct Peer {
    address: SocketAddr,
    stream: CancellationToken,
}

impl Peer {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the connection, whatever uses it: behind a proxy that may be several clients' requests, so this is for
    /// a connection that became one client's websocket.
    pub(super) fn close(&self) {
        self.stream.cancel();
    }

    /// A connection that is open until it is closed.
    #[cfg(test)]
    pub(super) fn open(port: u16) -> Peer {
        Peer {
            address: ([127, 0, 0, 1], port).into(),
            stream: CancellationToken::new(),
        }
    }

    /// Whether the connection has ended or is about to.
    pub(super) fn is_closed(&self) -> bool {
        self.stream.is_cancelled()
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Peer {
        Peer {
            address: *stream.remote_addr(),
            stream: stream.io().own.clone(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Stream {
    inner: TcpStream,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    own: CancellationToken,
    /// Cancels it with the stream at the latest, so that who holds a [`Peer`] knows.
    _ended: DropGuard,
    write_deadline: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    _open: TaskTrackerToken,
}

impl Stream {
    fn new(inner: TcpStream, connections: &Connections, write_deadline: Duration) -> Stream {
        let token = connections.closing.child_token();
        Stream {
            inner,
            closing: Box::pin(token.clone().cancelled_owned()),
            own: token.clone(),
            _ended: token.drop_guard(),
            write_deadline,
            stalled: None,
            _open: connections.open.token(),
        }
    }

    /// Passes a write's result on, but turns a wait beyond the deadline into an error.
    fn guard<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let deadline = self.write_deadline;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(deadline)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(())); // nothing read: the end of the stream
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.guard(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.guard(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener as _;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn pair(write_deadline: Duration) -> (Stream, TcpStream, Connections) {
        let connections = Connections::default();
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = Listener::new(inner, connections.clone(), write_deadline);
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await;
        (stream, peer, connections)
    }

    #[tokio::test]
    async fn a_peer_that_stops_reading_is_cut() {
        let (mut stream, peer, connections) = pair(Duration::from_millis(50)).await;
        let chunk = vec![0; 1 << 20];
        let writing = async {
            loop {
                if let Err(error) = stream.write_all(&chunk).await {
                    return error.kind();
                }
            }
        };
        assert_eq!(timeout(PATIENCE, writing).await.unwrap(), io::ErrorKind::TimedOut);
        drop(stream);
        connections.close_all();
        timeout(PATIENCE, connections.closed())
            .await
            .expect("nothing is left open");
        drop(peer);
    }

    #[tokio::test]
    async fn a_slow_peer_that_reads_is_not_cut() {
        let (mut stream, mut peer, _connections) = pair(Duration::from_secs(5)).await;
        let sent = vec![7; 4 << 20];
        let reading = async {
            let mut received = vec![0; 4 << 20];
            peer.read_exact(&mut received).await.map(|_| received)
        };
        let (written, received) = tokio::join!(stream.write_all(&sent), timeout(PATIENCE, reading));
        written.unwrap();
        assert_eq!(received.unwrap().unwrap(), sent);
    }

    #[tokio::test]
    async fn one_connection_can_be_closed_alone() {
        let (mut stream, _peer, connections) = pair(PATIENCE).await;
        let (other, _other_peer, _connections) = pair(PATIENCE).await;
        stream.own.cancel();
        let mut buffer = [0; 16];
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap();
        assert_eq!(read.unwrap(), 0);
        assert!(!connections.closing.is_cancelled() && !other.own.is_cancelled());
        let handle = other.own.clone();
        drop(other);
        assert!(
            handle.is_cancelled(),
            "a stream that is gone is closed for everybody"
        );
    }

    #[tokio::test]
    async fn closing_ends_reading_on_both_sides() {
        let (mut stream, mut peer, connections) = pair(PATIENCE).await;
        stream.write_all(b"last words").await.unwrap();
        let mut buffer = [0; 16];
        let (read, ()) = tokio::join!(timeout(PATIENCE, stream.read(&mut buffer)), async {
            connections.close_all()
        });
        assert_eq!(read.unwrap().unwrap(), 0);
        drop(stream);
        let mut received = Vec::new();
        timeout(PATIENCE, peer.read_to_end(&mut received))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(received, b"last words");
        timeout(PATIENCE, connections.closed()).await.unwrap();
    }
}
