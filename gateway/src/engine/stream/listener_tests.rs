//! TLS connections next to plain ones: the same ends, and nobody waits for anybody.

use std::sync::Mutex;

use axum::serve::Listener as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// One certificate, and all outcomes in their order.
struct Always {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    outcomes: Mutex<Vec<TlsHandshake>>,
}

impl Security for Always {
    fn config(&self) -> Option<Arc<ServerConfig>> {
        Some(self.server.clone())
    }

    fn ended(&self, outcome: TlsHandshake) {
        self.outcomes.lock().unwrap().push(outcome);
    }
}

impl Always {
    fn new() -> Arc<Always> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(Always {
            server: server
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap()
                .into(),
            client: client.with_root_certificates(roots).with_no_client_auth().into(),
            outcomes: Mutex::default(),
        })
    }

    async fn listen(self: &Arc<Self>, connections: &Connections, write_deadline: Duration) -> Listener {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Listener::new(inner, connections.clone(), write_deadline).secured_by(self.clone())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<client::TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.client.clone()).connect(name, tcp).await
    }

    async fn pair(
        self: &Arc<Self>,
        write_deadline: Duration,
    ) -> (Stream, client::TlsStream<TcpStream>, Connections) {
        let connections = Connections::default();
        let mut listener = self.listen(&connections, write_deadline).await;
        let address = listener.local_addr().unwrap();
        let (peer, (stream, _)) = tokio::join!(self.connect(address), listener.accept());
        (stream, peer.unwrap(), connections)
    }

    fn outcomes(&self) -> Vec<TlsHandshake> {
        self.outcomes.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn what_is_sent_arrives_and_a_peer_that_stops_reading_is_cut() {
    let (mut stream, mut peer, connections) = Always::new().pair(Duration::from_millis(50)).await;
    let mut buffer = [0; 5];
    let (written, read) = tokio::join!(
        async {
            stream.write_all(b"hello").await?;
            stream.flush().await
        },
        timeout(PATIENCE, peer.read_exact(&mut buffer))
    );
    written.unwrap();
    read.unwrap().unwrap();
    assert_eq!(&buffer, b"hello");
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
}

#[tokio::test]
async fn closing_ends_reading_on_both_sides_with_a_farewell() {
    let (mut stream, mut peer, connections) = Always::new().pair(PATIENCE).await;
    stream.write_all(b"last words").await.unwrap();
    let mut buffer = [0; 16];
    let (read, ()) = tokio::join!(timeout(PATIENCE, stream.read(&mut buffer)), async {
        connections.close_all()
    });
    assert_eq!(read.unwrap().unwrap(), 0);
    stream.shutdown().await.unwrap();
    drop(stream);
    let mut received = Vec::new();
    let read = timeout(PATIENCE, peer.read_to_end(&mut received)).await.unwrap();
    read.expect("TLS says that this is the end");
    assert_eq!(received, b"last words");
    timeout(PATIENCE, connections.closed()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_goes_without_a_farewell_is_gone_like_any_other() {
    let (mut stream, mut peer, _connections) = Always::new().pair(PATIENCE).await;
    // The end of the TCP stream alone.
    peer.get_mut().0.shutdown().await.unwrap();
    let read = timeout(PATIENCE, stream.read(&mut [0; 16])).await.unwrap();
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn nobody_waits_for_who_is_slow_or_speaks_something_else() {
    let security = Always::new();
    let mut listener = security.listen(&Connections::default(), PATIENCE).await;
    let address = listener.local_addr().unwrap();
    let silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let connecting = async {
        let mut answer = Vec::new();
        // An alert, and the end.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        security.connect(address).await.unwrap()
    };
    let (peer, (stream, from)) = timeout(PATIENCE, async { tokio::join!(connecting, listener.accept()) })
        .await
        .unwrap();
    assert_eq!(peer.get_ref().0.local_addr().unwrap(), from);
    drop((stream, silent));
    assert_eq!(
        security.outcomes(),
        [TlsHandshake::Failed, TlsHandshake::Accepted]
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_ends_in_time_and_too_many_do_not_begin() {
    let security = Always::new();
    let mut listener = security.listen(&Connections::default(), PATIENCE).await;
    listener.most = 2;
    let address = listener.local_addr().unwrap();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let closed = async {
        for peer in silent.iter_mut().rev() {
            // The last one is closed at once, the others when their time is over.
            assert_eq!(peer.read(&mut [0; 1]).await.unwrap_or_default(), 0);
        }
    };
    tokio::select! {
        () = closed => {}
        _ = listener.accept() => panic!("nobody has connected"),
    }
    assert_eq!(
        security.outcomes(),
        [
            TlsHandshake::Refused,
            TlsHandshake::TimedOut,
            TlsHandshake::TimedOut
        ]
    );
}
