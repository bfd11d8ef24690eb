//! Stopping: clients are sent elsewhere by and by, never away.

use std::time::Duration;

use adapter_redis::MemoryHub;
use futures_util::future::join_all;
use loadtest::{Client, CloseReason};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, pause, sleep, sleep_until, timeout};

use crate::support::{Node, http, http_full, reached, token, until};

const SECOND: Duration = Duration::from_secs(1);

async fn crowd(node: &Node, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for index in 0..count {
        clients.push(node.connect(json!({"sub": format!("u{index}")})).await);
    }
    clients
}

/// When each of them sees its transport close, in seconds since `start`.
async fn closings(clients: &mut [Client], start: Instant) -> Vec<f64> {
    let closing = join_all(clients.iter_mut().map(async |client| {
        assert_eq!(client.closed().await, CloseReason::TransportClose);
        start.elapsed().as_secs_f64()
    }));
    // The clock leaps to the next moment that somebody waits for, also while bytes are on their way: it has to be near.
    let ticking = async {
        loop {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        moments = closing => moments,
        () = ticking => Vec::new(),
    }
}

/// How many of these moments are within one second, at most.
fn busiest_second(moments: &[f64]) -> usize {
    let within = |from: &f64| {
        moments
            .iter()
            .filter(|at| (*from..from + 1.0).contains(*at))
            .count()
    };
    moments.iter().map(within).max().unwrap_or(0)
}

async fn end(node: Node) {
    let ended = timeout(Duration::from_secs(30), node.ending()).await;
    ended.expect("in time").unwrap().expect("without a fault");
}

/// Nodes that know one another, each with settings of its own.
async fn nodes(settings: &[&[(&str, &str)]]) -> Vec<Node> {
    let hub = MemoryHub::new();
    let nodes: Vec<Node> = settings
        .iter()
        .map(|extra| Node::start_with(&hub, extra))
        .collect();
    for node in &nodes {
        until("the nodes know one another", async || {
            node.stats().await["cluster"]["nodes"] == settings.len()
        })
        .await;
    }
    nodes
}

#[tokio::test]
async fn first_the_load_balancer_then_the_longest_idle() {
    let node = &nodes(&[&[("DRAIN__WAIT", "5s"), ("DRAIN__RATE", "10")]])
        .await
        .remove(0);
    let mut clients = crowd(node, 40).await;
    pause();
    advance(Duration::from_secs(10)).await;
    // Every second one does something, and one of the others gets something.
    for client in clients.iter().step_by(2) {
        client.call("subscribe:contact", &[json!("1")]).await.unwrap();
    }
    node.publish(json!({"room": "user:u7", "event": "e"})).await;
    let start = Instant::now();
    node.ask_to_stop();
    let looking = async {
        sleep(SECOND).await;
        for path in ["/healthz", "/socket.io/?EIO=4&transport=polling"] {
            let (status, head, text) = http_full(node.address, "GET", path, &[], "").await;
            assert_eq!((status, text.as_str()), (503, "draining"), "{path}");
            assert!(head.to_lowercase().contains("retry-after: 1"), "{head}");
        }
        let (status, ready) = node.call("GET", "/readyz", None, "").await;
        assert_eq!((status, &ready["draining"]), (503, &json!(true)));
        assert_eq!(node.stats().await["node"]["connected"], 40);
        assert_eq!(node.metric("roomcast_drain_rate").await, 0.0);
        sleep_until(start + Duration::from_secs(7)).await;
        assert_eq!(node.metric("roomcast_drain_rate").await, 10.0);
        let closed = node.metric("roomcast_drain_closed_total{reason=\"paced\"}").await;
        let left = node.metric("roomcast_connections{transport=\"websocket\"}").await;
        assert!((18.0..=22.0).contains(&closed), "{closed}");
        assert_eq!(closed + left, 40.0);
    };
    let (moments, ()) = tokio::join!(closings(&mut clients, start), looking);
    for (index, at) in moments.iter().enumerate() {
        let is_busy = index % 2 == 0 || index == 7;
        let when = if is_busy { 6.9..9.1 } else { 5.0..7.0 };
        assert!(when.contains(at), "{index} after {at} s");
    }
    assert!(busiest_second(&moments) <= 12, "{moments:?}");
}

#[tokio::test]
async fn what_the_others_can_admit_is_the_rate() {
    let mut nodes = nodes(&[
        &[],
        &[("LIMITS__HANDSHAKES_PER_SECOND", "20")],
        &[("LIMITS__HANDSHAKES_PER_SECOND", "30")],
    ])
    .await;
    let mut clients = crowd(&nodes[0], 100).await;
    pause();
    let start = Instant::now();
    nodes[0].ask_to_stop();
    // Of 50 each second, four fifths.
    let moments = closings(&mut clients, start).await;
    let last = moments.iter().copied().fold(0.0, f64::max);
    assert!((2.3..2.8).contains(&last), "{last}");
    assert!(busiest_second(&moments) <= 42, "{moments:?}");
    end(nodes.remove(0)).await;
}

#[tokio::test]
async fn nodes_that_stop_at_once_share_it() {
    let mut nodes = nodes(&[&[], &[], &[("LIMITS__HANDSHAKES_PER_SECOND", "40")]]).await;
    let (mut first, mut second) = (crowd(&nodes[0], 100).await, crowd(&nodes[1], 50).await);
    pause();
    let start = Instant::now();
    nodes[0].ask_to_stop();
    nodes[1].ask_to_stop();
    let (mut moments, others) = tokio::join!(closings(&mut first, start), closings(&mut second, start));
    let lasts = [&moments, &others].map(|moments| moments.iter().copied().fold(0.0, f64::max));
    moments.extend(others);
    moments.retain(|at| *at > 1.0); // until the second had heard of the first
    assert!(busiest_second(&moments) <= 32 + 4, "{moments:?}");
    assert!(
        (lasts[0] - lasts[1]).abs() < 1.0,
        "both are ready at the same time: {lasts:?}"
    );
    end(nodes.remove(0)).await;
    end(nodes.remove(0)).await;
}

#[tokio::test]
async fn the_deadline_makes_it_faster() {
    let mut nodes = nodes(&[&[("DRAIN__TIMEOUT", "5s"), ("DRAIN__RATE", "1")]]).await;
    let mut clients = crowd(&nodes[0], 40).await;
    pause();
    let start = Instant::now();
    nodes[0].ask_to_stop();
    let mut moments = closings(&mut clients, start).await;
    moments.sort_by(f64::total_cmp);
    // Four of the five seconds are for clients; the last of them may only be seen to be gone a moment later.
    assert!((3.0..4.2).contains(&moments[39]), "{moments:?}");
    assert!((1.5..2.5).contains(&moments[19]), "evenly: {moments:?}");
    end(nodes.remove(0)).await;
    assert!(start.elapsed() < 5 * SECOND);
}

#[tokio::test]
async fn who_asks_again_is_in_a_hurry() {
    for wait in ["0s", "10s"] {
        let mut nodes = nodes(&[&[("DRAIN__RATE", "1"), ("DRAIN__WAIT", wait)]]).await;
        let mut clients = crowd(&nodes[0], 20).await;
        pause();
        let start = Instant::now();
        nodes[0].ask_to_stop();
        let again = async {
            sleep(3 * SECOND).await;
            nodes[0].ask_to_stop();
        };
        let (moments, ()) = tokio::join!(closings(&mut clients, start), again);
        let late = moments.iter().filter(|at| (3.0..3.1).contains(*at)).count();
        assert!(late >= 16, "{moments:?}");
        end(nodes.remove(0)).await;
        assert!(start.elapsed() < 4 * SECOND);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn who_is_still_there_hears_everything() {
    let mut nodes = nodes(&[&[("DRAIN__WAIT", "2s"), ("DRAIN__RATE", "5")], &[]]).await;
    let mut clients = crowd(&nodes[0], 20).await;
    pause();
    let start = Instant::now();
    nodes[0].ask_to_stop();
    let listening = join_all(clients.iter_mut().map(async |client| {
        let mut heard = Vec::new();
        while let Ok(event) = client.next().await {
            heard.push(event.args[0].as_u64().unwrap());
        }
        (heard, client.closed().await)
    }));
    let publishing = async {
        let mut reached = Vec::new();
        for number in 0..14_u64 {
            let (status, answer) = nodes[1]
                .publish(json!({"room": "system", "event": "n", "data": number}))
                .await;
            assert_eq!((status, &answer["complete"]), (200, &json!(true)), "{answer}");
            reached.push(answer["sockets"].as_u64().unwrap());
            let known = nodes[1].stats().await["cluster"]["nodes"].clone();
            assert_eq!(
                known,
                if number < 12 { 2 } else { known.as_u64().unwrap() },
                "no goodbye before the end"
            );
            sleep(SECOND / 2).await;
        }
        reached
    };
    let (heard, reached) = tokio::join!(listening, publishing);
    assert_eq!(
        reached[..4],
        [20; 4],
        "nobody is closed while the load balancer is waited for"
    );
    assert!(
        reached.is_sorted_by(|a, b| a >= b) && reached[8] > 0,
        "{reached:?}"
    );
    for (number, expected) in reached.iter().enumerate() {
        let got = heard
            .iter()
            .filter(|(heard, _)| heard.contains(&(number as u64)))
            .count();
        assert_eq!(got as u64, *expected, "of {number}");
    }
    assert!(
        heard
            .iter()
            .all(|(_, reason)| *reason == CloseReason::TransportClose)
    );
    assert!(start.elapsed() < 8 * SECOND);
    end(nodes.remove(0)).await;
    until("it said goodbye", async || {
        nodes[0].stats().await["cluster"]["nodes"] == 1
    })
    .await;
}

/// What the next polls bring that is no heartbeat.
async fn poll(node: &Node, session: &str) -> (u16, String) {
    loop {
        let (status, text) = http(node.address, "GET", session, &[], "").await;
        let packets: Vec<&str> = text.split('\u{1e}').filter(|packet| *packet != "2").collect();
        if !packets.is_empty() {
            return (status, packets.join(" "));
        }
        assert_eq!(http(node.address, "POST", session, &[], "3").await.0, 200);
    }
}

#[tokio::test]
async fn polling_goes_on_until_its_turn_comes() {
    let node = &nodes(&[&[("DRAIN__WAIT", "3s")]]).await.remove(0);
    let polling = "/socket.io/?EIO=4&transport=polling";
    let (_, open) = http(node.address, "GET", polling, &[], "").await;
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let session = format!("{polling}&sid={}", open["sid"].as_str().unwrap());
    let connect = format!("40{{\"token\":\"{}\"}}", token(json!({"sub": "42"})));
    assert_eq!(http(node.address, "POST", &session, &[], &connect).await.0, 200);
    let (_, text) = poll(node, &session).await;
    assert!(text.starts_with("40{"), "{text}");
    pause();
    let start = Instant::now();
    node.ask_to_stop();
    sleep(SECOND).await;
    node.publish(json!({"room": "user:42", "event": "e"})).await;
    assert_eq!(poll(node, &session).await, (200, "42[\"e\"]".to_owned()));
    // The open poll ends without a DISCONNECT packet, which would be 41.
    let (status, text) = poll(node, &session).await;
    assert!(start.elapsed() >= 3 * SECOND);
    assert!(status == 200 && !text.contains("41"), "{text}");
}

#[tokio::test]
async fn clients_see_their_transport_close() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let survivor = Node::start(&hub);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(node.connect(json!({"sub": "42"})).await);
    }
    let address = node.address;
    let ended = node.stop();
    for client in &mut clients {
        assert_eq!(client.closed().await, CloseReason::TransportClose);
    }
    timeout(Duration::from_secs(10), ended)
        .await
        .expect("in time")
        .unwrap()
        .expect("without a fault");
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody listens any more");
    let mut client = survivor.connect(json!({"sub": "42"})).await;
    let (_, answer) = survivor.publish(json!({"room": "user:42", "event": "e"})).await;
    assert_eq!(
        reached(&answer),
        json!({"nodes": 1, "sockets": 1, "complete": true}),
        "it said goodbye"
    );
    assert_eq!(client.next().await.unwrap().name, "e");
}

#[tokio::test]
async fn an_idle_poll_does_not_hold_the_node() {
    let hub = MemoryHub::new();
    let node = Node::start(&hub);
    let (status, open) = http(
        node.address,
        "GET",
        "/socket.io/?EIO=4&transport=polling",
        &[],
        "",
    )
    .await;
    assert_eq!(status, 200);
    assert!(open.starts_with("0{"), "{open}");
    let ended = node.stop();
    timeout(Duration::from_secs(10), ended)
        .await
        .expect("in time")
        .unwrap()
        .expect("without a fault");
}
