//! The byte streams below the engine: accepted here, closed from here, cut when a peer stops reading.
//!
//! A connection that becomes a plain websocket leaves this file: the engine writes to its socket directly. What was said
//! last in HTTP waits for the websocket's first word, and goes out together with it: what is sent costs a connection more
//! than all else that is done for it.

mod listener;
mod serve;
mod tcp;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

pub use self::listener::{Listener, Security, TlsHandshake};
pub use self::serve::serve;
use self::tcp::Tcp;

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
    }

    /// Waits until every stream is gone: by itself, or by [`Connections::close_all`].
    pub async fn closed(&self) {
        self.open.close();
        self.open.wait().await;
    }
}

/// The other end of a connection. Every request over the connection carries one.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    address: SocketAddr,
}

impl Peer {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer { address }
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Peer {
        Peer::from(*stream.remote_addr())
    }
}

/// One connection.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    /// The answer that ended HTTP, see [`Stream::take_switch`]; `None` = it was taken.
    switch: Option<Vec<u8>>,
    /// Whoever answers requests has answered with it: what is written from now on waits.
    is_switching: Arc<AtomicBool>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    _open: TaskTrackerToken,
}

/// What a connection's bytes go through. A plain connection pays nothing for those with TLS.
#[derive(Debug)]
enum Wire {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

impl Stream {
    fn new(wire: Wire, connections: &Connections) -> Stream {
        Stream {
            wire,
            switch: Some(Vec::new()),
            is_switching: Arc::default(),
            closing: Box::pin(connections.closing.clone().cancelled_owned()),
            _open: connections.open.token(),
        }
    }

    /// The answer by which HTTP ended on this connection. It was not sent: whoever has the connection now says it before
    /// anything else.
    pub(super) fn take_switch(&mut self) -> Vec<u8> {
        self.switch.take().unwrap_or_default()
    }

    /// To be set when HTTP ends with the answer that is about to be written. Not by looking at what is written: that may be
    /// anybody's text.
    fn switching(&self) -> Arc<AtomicBool> {
        self.is_switching.clone()
    }

    /// Where to put what is about to be written, when it is the end of HTTP.
    fn switch(&mut self) -> Option<&mut Vec<u8>> {
        let is_switching = self.is_switching.load(Ordering::Relaxed);
        self.switch.as_mut().filter(|_| is_switching)
    }

    /// The socket itself, when nothing is between it and what is sent; or the stream.
    pub(super) fn split(self) -> (Option<TcpStream>, Option<Box<Stream>>) {
        match self.wire {
            Wire::Plain(tcp) => (Some(tcp.into_inner()), None),
            Wire::Tls(_) => (None, Some(Box::new(self))),
        }
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
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            // Peers go without TLS' farewell every day. HTTP and websockets tell a message that was cut from one that
            // was not by themselves, so that this is an end like that of a plain connection.
            Wire::Tls(tls) => match Pin::new(tls.as_mut()).poll_read(cx, buf) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                result => result,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(switch) = self.switch() {
            switch.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Wire::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(switch) = self.switch() {
            let before = switch.len();
            for part in bufs {
                switch.extend_from_slice(part);
            }
            return Poll::Ready(Ok(switch.len() - before));
        }
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Wire::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(tcp) => tcp.is_write_vectored(),
            Wire::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::serve::Listener as _;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
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

    #[test]
    fn tls_costs_plain_connections_nothing() {
        assert_eq!(size_of::<Wire>(), size_of::<Tcp>());
    }

    #[tokio::test]
    async fn what_ends_http_waits_for_what_comes_behind_it() {
        let (mut stream, mut peer, _connections) = pair(PATIENCE).await;
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
        // What only looks like it is anybody's.
        stream.write_all(switch).await.unwrap();
        stream.switching().store(true, Ordering::Relaxed);
        stream.write_all(&switch[..20]).await.unwrap();
        stream.write_all(&switch[20..]).await.unwrap();
        stream.flush().await.unwrap();
        let held = stream.take_switch();
        assert_eq!(held, switch);
        assert!(stream.take_switch().is_empty(), "it is said once");
        stream.write_all(b"first, ").await.unwrap();
        stream.write_all(switch).await.unwrap();
        drop(stream);
        let mut received = Vec::new();
        timeout(PATIENCE, peer.read_to_end(&mut received))
            .await
            .unwrap()
            .unwrap();
        let expect = [&switch[..], b"first, ", switch].concat();
        assert_eq!(received, expect, "whoever took it may write it");
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
