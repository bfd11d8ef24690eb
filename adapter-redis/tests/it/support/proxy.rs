//! A TCP proxy that makes a link deaf: connections stay open, commands go through, and messages do not arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) struct Proxy {
    port: u16,
    deaf: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deaf = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, to, Arc::clone(&deaf)));
        Self {
            port,
            deaf,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on the connections that have subscribed, and those that will, bring nothing.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, to: u16, deaf: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        connections.spawn(forward(client, to, Arc::clone(&deaf)));
    }
}

/// Ends when either side closes.
async fn forward(mut client: TcpStream, to: u16, deaf: Arc<AtomicBool>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else {
        return;
    };
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut subscriber = false;
    loop {
        let sent = tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    subscriber |= up[..length].windows(9).any(|word| word == b"SUBSCRIBE");
                    server.write_all(&up[..length]).await
                }
            },
            read = server.read(&mut down) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if subscriber && deaf.load(Ordering::SeqCst) => Ok(()),
                Ok(length) => client.write_all(&down[..length]).await,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}
