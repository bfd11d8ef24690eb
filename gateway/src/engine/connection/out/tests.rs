//! Peers that stop reading, over real sockets and on a paused clock.

use std::{future::poll_fn, time::Duration};

use http::Request;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::*;
use crate::engine::{Config, Packet, Sockets, opening::Opening};

const DEADLINE: Duration = Duration::from_secs(2);
/// How much later than that it may be.
const LATE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);

/// A session whose peer is the stream, and what works for it.
async fn session(max_outbound: usize) -> (Arc<Connection>, TcpStream, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let config = Config {
        max_outbound,
        write_deadline: DEADLINE,
        ..Sockets::default().0.config.clone()
    };
    let hub = Sockets::new(config).0;
    let (request, ()) = Request::new(()).into_parts();
    let opening = Box::new(Opening { request, peer: None });
    let connection = Connection::websocket(&hub, opening, None, Some(stream), false).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { hub.keep_time().await });
    let reading = connection.clone();
    tasks.spawn(async move {
        let mut buffer = [0; 64];
        while poll_fn(|cx| reading.poll_direct(cx, &mut buffer))
            .await
            .is_ok_and(|count| count > 0)
        {}
    });
    (connection, peer, tasks)
}

fn event(length: usize) -> Outgoing {
    let text = format!(r#"["event","{}"]"#, "x".repeat(length));
    Outgoing::event(
        Packet {
            text,
            attachments: Vec::new(),
        },
        None,
    )
}

/// Sends until the peer takes no more, and so much that this stays so whatever the kernel finds room for.
async fn block(connection: &Arc<Connection>) -> Instant {
    let event = event(64 * 1024);
    while connection.waiting().1 < 8 << 20 {
        assert!(connection.send(&event));
        tokio::task::yield_now().await;
    }
    Instant::now()
}

async fn gone(connection: &Connection) -> Instant {
    while connection.transport().is_some() {
        sleep(TICK).await;
    }
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_gone_at_the_deadline() {
    let (connection, _peer, _tasks) = session(usize::MAX).await;
    let since = block(&connection).await;
    let took = gone(&connection).await - since;
    assert!(took >= DEADLINE && took <= DEADLINE + LATE, "{took:?}");
    assert_eq!(connection.waiting(), (None, 0), "what waited is forgotten");
}

#[tokio::test(start_paused = true)]
async fn who_takes_something_has_time_again() {
    let (connection, mut peer, _tasks) = session(usize::MAX).await;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..3 {
        let since = block(&connection).await;
        sleep(DEADLINE * 3 / 4).await;
        assert!(connection.transport().is_some(), "{:?}", since.elapsed());
        while connection.out().is_blocked {
            let read = tokio::time::timeout(TICK, peer.read(&mut buffer)).await;
            assert!(!matches!(read, Ok(Ok(0) | Err(_))));
        }
    }
    let since = block(&connection).await;
    let took = gone(&connection).await - since;
    assert!(took >= DEADLINE && took <= DEADLINE + LATE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_lost_closes_no_connection() {
    let (connection, _peer, _tasks) = session(256 * 1024).await;
    // One after the other, so that not too much waits.
    while !connection.out().is_blocked {
        assert!(connection.send(&event(64 * 1024)));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    let (large, small) = (event(100 * 1024), event(1));
    for _ in 0..10 {
        let pushed = connection.push_event(&large, Slow::DropOldest);
        assert!(!matches!(pushed, Pushed::Full(_) | Pushed::Gone), "{pushed:?}");
    }
    assert!(connection.send(&small), "what may not be lost finds room");
    assert!(connection.waiting().1 <= 256 * 1024);
    let lost = connection.hub.losses.take();
    assert!(lost.dropped >= 7 && lost.superseded == 0, "{lost:?}");
    for _ in 0..3 {
        connection.push_event(&event(1), Slow::Latest(7));
    }
    assert_eq!(connection.hub.losses.take().superseded, 2);
    let closes = (0..10).any(|_| matches!(connection.push_event(&large, Slow::Disconnect), Pushed::Full(_)));
    assert!(
        closes && connection.transport().is_some(),
        "by whoever writes next"
    );
    connection.take_turn();
    assert_eq!(connection.waiting(), (None, 0));
}
