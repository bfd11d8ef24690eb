//! How long a large room takes, with one core and with two: `cargo bench -p gateway --bench fanout`.
//!
//! An engine by itself, with real sockets whose clients are in this process and asleep. From the call that puts an event down
//! for all of them until the last one has it. What the system does for the receiving side is done by the sender on loopback,
//! so that it is part of the figure.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs
)]

use std::{
    io::{Read, Write},
    iter::once,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use gateway::engine::{
    AckId, Admitted, Application, CloseReason, Connections, Event, Handshake, Listener, Malformed, Member,
    Packet, Refused, Slow, Sockets, routes, serve,
};
use tokio::{net::TcpListener, runtime::Builder};

/// Each is a descriptor on both sides.
const CLIENTS: usize = 8000;
const EVENTS: usize = 60;
/// Of the one and the other, by turns.
const ROUNDS: usize = 3;
const ROOM: &str = "all";

struct Door;

struct Nobody;

impl Application for Door {
    type Member = Nobody;

    async fn connect(&self, _: Handshake<'_>) -> Result<Admitted<Nobody>, Refused> {
        Ok(Admitted {
            member: Arc::new(Nobody),
            rooms: vec![(Arc::from(ROOM), Box::new(()))],
            recovery: None,
        })
    }
}

impl Member for Nobody {
    fn event(self: &Arc<Self>, _: Event<'_>, _: Option<AckId>) {}
    fn malformed(&self, _: Malformed) {}
    fn gone(&self, _: CloseReason) {}
}

fn main() {
    let mut medians = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for cores in [1, 2] {
            medians[cores - 1].push(round(cores));
        }
    }
    let [one, two] = medians.map(median);
    println!(
        "an event for a room of {CLIENTS}: {one:.1?} with one core, {two:.1?} with two, {:.2} of it",
        two.as_secs_f64() / one.as_secs_f64()
    );
}

/// The median of how long an event takes until everybody has it.
fn round(cores: usize) -> Duration {
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()
        .unwrap();
    let sockets = Sockets::default();
    let (router, engine) = routes(Arc::new(Door), &sockets);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Listener::new(listener, Connections::default(), Duration::from_secs(30));
    runtime.spawn(engine.run());
    runtime.spawn(serve(listener, router, std::future::pending()));
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    assert_eq!(sockets.count(), CLIENTS);
    let took = (0..EVENTS).map(|_| event(&runtime, &sockets, &mut clients));
    median(took.collect())
}

fn event(runtime: &tokio::runtime::Runtime, sockets: &Sockets, clients: &mut [TcpStream]) -> Duration {
    let text = format!(r#"["tick","{}"]"#, "x".repeat(200));
    let length = text.len() + 2 + 4;
    let mut bytes = vec![0; length];
    let sockets = sockets.clone();
    let publishing = runtime.spawn(async move {
        let began = Instant::now();
        let packet = Packet {
            text,
            attachments: Vec::new(),
        };
        let reached = sockets
            .audience(once(ROOM), &[])
            .send(packet, Slow::Disconnect)
            .reached;
        (began, reached)
    });
    // A room is written in the order in which it was joined, by each core from its own beginning on.
    for last in [CLIENTS / 2 - 1, CLIENTS - 1] {
        clients[last].read_exact(&mut bytes).unwrap();
    }
    let over = Instant::now();
    let (began, reached) = runtime.block_on(publishing).unwrap();
    assert_eq!(reached, CLIENTS);
    for (number, client) in clients.iter_mut().enumerate() {
        if number + 1 != CLIENTS / 2 && number + 1 != CLIENTS {
            client.set_nonblocking(true).unwrap();
            // Everybody else had it before.
            client.read_exact(&mut bytes).unwrap();
            client.set_nonblocking(false).unwrap();
        }
    }
    over - began
}

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(b"\x81\x82\x00\x00\x00\x0040").unwrap();
    let mut seen = Vec::new();
    // It is in when it is told so.
    while !seen.windows(8).any(|part| part == b"40{\"sid\"") || !seen.ends_with(b"}") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    stream
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
