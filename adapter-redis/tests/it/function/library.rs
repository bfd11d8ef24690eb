//! Loading the function: after it was lost, next to other versions of it, and by many nodes at once.

use super::{LIMIT, World, delivered, envelope};
use crate::support::backend::Said;
use crate::support::eventually;
use crate::support::nodes::{TestNode, event};
use crate::support::redis_server::RedisServer;

/// A library that says to be of that version, and whose publications all have the offset 777.
fn other_library(version: u64) -> String {
    format!(
        "#!lua name=roomcast
redis.register_function('roomcast_publish', function() return {{ '777', 0, 0 }} end)
redis.register_function{{
  function_name = 'roomcast_version',
  callback = function() return {version} end,
  flags = {{ 'no-writes' }},
}}"
    )
}

async fn offset(node: &TestNode) -> Option<String> {
    let uncounted = crate::support::nodes::envelope(r#"{"room":"r","event":"e","data":0,"count":false}"#);
    node.cluster.publish(uncounted).await.unwrap().offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_function_is_loaded_again_by_the_next_publication_of_a_node() {
    let Some(World {
        server: _server,
        node,
        mut backend,
    }) = World::start().await
    else {
        return;
    };
    for round in 1..=3 {
        assert_eq!(backend.ask(&["FUNCTION", "FLUSH"]), Said::Text("OK".into()));
        assert!(
            backend
                .publish("r", envelope("1"))
                .error()
                .contains("Function not found")
        );
        let sent = (0..100).map(|_| node.cluster.publish(event("r", "2")));
        for published in futures_util::future::join_all(sent).await {
            assert!(published.unwrap().offset.is_some());
        }
        assert!(backend.publish("r", envelope("3")).accepted().is_some());
        assert_eq!(delivered(&node, round * 101).await.len(), round * 101);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_a_newer_library_and_replaces_an_older_one() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut backend = server.backend();
    let mut load = |version| {
        assert_eq!(
            backend.ask(&["FUNCTION", "LOAD", "REPLACE", &other_library(version)]),
            Said::Text("roomcast".into())
        );
    };
    load(999);
    let node = TestNode::on_redis(server.config()).await;
    assert_eq!(
        offset(&node).await.as_deref(),
        Some("777"),
        "it is newer and stays"
    );
    load(0);
    assert_eq!(
        offset(&node).await.as_deref(),
        Some("777"),
        "replaced with a link and not before"
    );
    server.command("CLIENT KILL TYPE pubsub");
    eventually("the link is missed", LIMIT, || {
        node.cluster.bus_state() != adapter_redis::BusState::Connected
    })
    .await;
    node.connected().await;
    assert_ne!(offset(&node).await.as_deref(), Some("777"));
    let second = TestNode::on_redis(server.config()).await;
    assert_ne!(offset(&second).await.as_deref(), Some("777"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_load_the_function_at_once_without_harm() {
    const NODES: usize = 12;
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let nodes: Vec<_> = (0..NODES).map(|_| TestNode::starting(server.config())).collect();
    for node in &nodes {
        node.connected().await;
        node.sockets.join("r", 1).await;
    }
    let sent = nodes.iter().map(|node| node.cluster.publish(event("r", "1")));
    let mut offsets: Vec<_> = futures_util::future::join_all(sent)
        .await
        .into_iter()
        .map(|published| published.unwrap().offset.unwrap())
        .collect();
    offsets.sort();
    offsets.dedup();
    assert_eq!(offsets.len(), NODES);
    for node in &nodes {
        delivered(node, NODES).await;
    }
    let loads = server.command("INFO commandstats");
    assert!(
        !loads.contains("cmdstat_script|load"),
        "no node fell back to the script"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_of_its_own_is_a_cluster_of_its_own() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let named = |prefix: &str| adapter_redis::RedisConfig {
        prefix: prefix.to_owned(),
        ..server.config()
    };
    let one = TestNode::on_redis(named("one")).await;
    let other = TestNode::on_redis(named("other:two")).await;
    for node in [&one, &other] {
        node.sockets.join("r", 1).await;
    }
    let mut backend = server.backend();
    for (key, data) in [("one:{r}", "1"), ("other:two:{r}", "2")] {
        let said = backend.ask(&["FCALL", "roomcast_publish", "1", key, &envelope(data)]);
        assert_eq!(
            said.accepted().map(|(_, receivers)| receivers),
            Some(1),
            "{said:?}"
        );
    }
    assert_eq!(delivered(&one, 1).await, ["1"]);
    assert_eq!(delivered(&other, 1).await, ["2"]);
}

/// A call that was on its way when its node gave it up must not overtake what the node published since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_comes_after_its_deadline_does_nothing() {
    let Some(World {
        server: _server,
        node: _node,
        mut backend,
    }) = World::start().await
    else {
        return;
    };
    let mut call = |id: &str, deadline: &str| {
        let key = "roomcast:{r}";
        backend.ask(&["FCALL", "roomcast_publish", "1", key, "x", "frame", id, deadline])
    };
    let (past, future) = ("1785000000000000", "9000000000000000");
    for id in ["", "i"] {
        match call(id, past) {
            Said::Error(error) => assert!(error.starts_with("ROOMCAST expired:"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    let Said::List(first) = call("i", future) else {
        panic!("refused")
    };
    assert_eq!(
        first[2],
        Said::Number(0),
        "nothing was remembered of the late one"
    );
    // What is known already is answered at any time.
    let Said::List(again) = call("i", past) else {
        panic!("refused")
    };
    assert_eq!((&again[0], &again[2]), (&first[0], &Said::Number(1)));
}

/// A node believes the server's clock, and asks for it again when it was set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_are_by_the_clock_of_the_server() {
    let Some(World {
        server: _server,
        node,
        mut backend,
    }) = World::start().await
    else {
        return;
    };
    // A library whose clock is an hour ahead from the second call on, as it were: the first deadline is refused.
    let library = "#!lua name=roomcast
local calls = 0
redis.register_function('roomcast_publish', function(keys, args)
  calls = calls + 1
  if calls == 1 then return { err = 'ROOMCAST expired: the call came after its deadline' } end
  return { '777', 0, 0 }
end)
redis.register_function{ function_name = 'roomcast_version', callback = function() return 999 end, flags = { 'no-writes' } }";
    backend.ask(&["FUNCTION", "LOAD", "REPLACE", library]);
    assert_eq!(
        offset(&node).await.as_deref(),
        Some("777"),
        "asked again, with the right time"
    );
}
