//! What an event for a room costs with and without compression: `cargo bench -p gateway --bench compression`.
//!
//! The engine alone, clients on real connections over the loopback. Processor time is that of the engine's own threads, as
//! the kernel counts it, writing to the network included; on the wire is what each client got.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gateway::engine::{
    AckId, Admitted, Application, CloseReason, Config, Connections, Event, Handshake, Listener, Malformed,
    Member, Packet, Refused, Slow, Sockets, routes, serve,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

const ROOM: &str = "room";
const THREADS: &str = "engine";
const DEADLINE: Duration = Duration::from_secs(30);
/// Each is measured so often, and the quickest counts: the others were disturbed.
const ROUNDS: usize = 7;

fn main() {
    for (clients, events) in [(1, 200), (10, 200), (1000, 30)] {
        println!("an event for a room of {clients}: processor time, and bytes for each client");
        for bytes in [1024, 2048, 16_384] {
            let plain = measure(clients, events, bytes, None);
            let deflated = measure(clients, events, bytes, Some(0));
            for (what, (time, wire)) in [("plain", plain), ("compressed", deflated)] {
                let micros = time.as_nanos() as f64 / 1000.0;
                println!("  {bytes:6} bytes of JSON, {what:10} {micros:8.1} µs {wire:6} bytes");
            }
        }
    }
}

/// Each is let in, and in the one room.
struct Open;
struct Nobody;

impl Application for Open {
    type Member = Nobody;

    async fn connect(&self, _: Handshake<'_>) -> Result<Admitted<Nobody>, Refused> {
        Ok(Admitted {
            member: Arc::new(Nobody),
            rooms: vec![(ROOM.into(), Box::new(()))],
            recovery: None,
        })
    }
}

impl Member for Nobody {
    fn event(self: &Arc<Self>, _: Event<'_>, _: Option<AckId>) {}
    fn malformed(&self, _: Malformed) {}
    fn gone(&self, _: CloseReason) {}
}

/// What clients have received.
#[derive(Default)]
struct Received {
    events: AtomicU64,
    bytes: AtomicU64,
}

/// Processor time of an event, and what each client gets of it.
fn measure(clients: u64, events: u32, bytes: usize, compression: Option<usize>) -> (Duration, u64) {
    let sockets = Sockets::new(Config {
        ping_interval: Duration::from_secs(600),
        ping_timeout: Duration::from_secs(600),
        path: "/socket.io".to_owned(),
        websocket: true,
        polling: false,
        max_payload: 1 << 20,
        max_outbound: usize::MAX,
        compression,
        write_deadline: DEADLINE,
    });
    let engines = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let (router, engine) = routes(Arc::new(Open), &sockets);
    let address = engines.block_on(async {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = Listener::new(inner, Connections::default(), DEADLINE);
        let address = inner_address(&listener);
        tokio::spawn(serve(listener, router, std::future::pending()));
        tokio::spawn(engine.run());
        address
    });
    let readers = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("clients")
        .enable_all()
        .build()
        .unwrap();
    let received = Arc::new(Received::default());
    readers.block_on(async {
        for _ in 0..clients {
            let stream = connect(address).await;
            tokio::spawn(read(stream, received.clone()));
        }
    });
    until(|| sockets.members(ROOM).len() as u64 == clients);
    let text = event(bytes);
    let mut quickest = Duration::MAX;
    let mut expected = 0;
    let before = received.bytes.load(Ordering::SeqCst);
    for _ in 0..ROUNDS {
        let start = processor_time();
        for _ in 0..events {
            let (sockets, text) = (sockets.clone(), text.clone());
            engines.spawn(async move {
                let packet = Packet {
                    text,
                    attachments: Vec::new(),
                };
                sockets
                    .audience([ROOM].into_iter(), &[])
                    .send(packet, Slow::Disconnect)
            });
            expected += clients;
            until(|| received.events.load(Ordering::SeqCst) >= expected);
        }
        quickest = quickest.min(processor_time().saturating_sub(start));
    }
    let total = received.bytes.load(Ordering::SeqCst) - before;
    engines.shutdown_background();
    readers.shutdown_background();
    (quickest / events, total / expected)
}

fn inner_address(listener: &Listener) -> SocketAddr {
    use axum::serve::Listener as _;
    listener.local_addr().unwrap()
}

/// A client that has asked to be let in.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // "40", with a mask that changes nothing.
    stream
        .write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0'])
        .await
        .unwrap();
    // What opens the session, and what says that it is in.
    for _ in 0..2 {
        skip_frame(&mut stream).await.unwrap();
    }
    stream
}

async fn read(mut stream: TcpStream, received: Arc<Received>) {
    while let Ok(bytes) = skip_frame(&mut stream).await {
        received.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        received.events.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads a frame; answers how many bytes it was.
async fn skip_frame(stream: &mut TcpStream) -> std::io::Result<usize> {
    let mut head = [0; 4];
    stream.read_exact(&mut head[..2]).await?;
    let (head, length) = match head[1] {
        126 => {
            stream.read_exact(&mut head[2..]).await?;
            (4, usize::from(u16::from_be_bytes([head[2], head[3]])))
        }
        short => (2, usize::from(short)),
    };
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(head + length)
}

/// An event as a CRM has it: a list of messages.
fn event(bytes: usize) -> String {
    let mut text = r#"["message:new",{"conversationId":"4711","messages":["#.to_owned();
    let mut number = 0_u64;
    while text.len() < bytes - 4 {
        number += 1;
        let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let message = json!({
            "id": format!("{noise:016x}"),
            "from": format!("+49170{}", noise % 10_000_000),
            "text": format!("Hello, this is message number {number} of the day"),
            "timestamp": 1_763_700_000_000 + noise % 100_000_000,
            "isRead": noise.is_multiple_of(2),
        });
        let _ = write!(text, "{message},");
    }
    text.truncate(bytes - 4);
    text + "\"}]]"
}

/// Of the engine's threads.
fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let of = |path: std::path::PathBuf| -> Option<u64> {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let times = fs::read_to_string(path.join("schedstat")).ok()?;
        let first = times.split(' ').next()?.parse().ok()?;
        (name.trim() == THREADS).then_some(first)
    };
    Duration::from_nanos(tasks.filter_map(|task| of(task.ok()?.path())).sum())
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "nothing happens any more");
        std::thread::sleep(Duration::from_micros(200));
    }
}
