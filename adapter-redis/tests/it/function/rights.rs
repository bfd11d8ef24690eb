//! With few rights: nodes that may not load the function, and backends that may publish to some rooms alone.

use adapter_redis::PublishError;

use super::{delivered, envelope};
use crate::support::backend::{Backend, Said};
use crate::support::nodes::{TestNode, event};
use crate::support::redis_server::RedisServer;

/// What every node needs.
const NODE: &str = "resetchannels &roomcast:* ~roomcast:* +hello +subscribe +ssubscribe +sunsubscribe +publish \
                    +spublish +time +get +set";

fn user(server: &RedisServer, name: &str, rights: &str) {
    assert_eq!(
        server.command(&format!("ACL SETUSER {name} reset on >pw {rights}")),
        "+OK\r\n",
        "{rights}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_documented_rights_loads_the_function() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let rights = format!("{NODE} +fcall +fcall_ro +function|load +watch +unwatch +multi +exec");
    user(&server, "node", &rights);
    let node = TestNode::on_redis(server.config_of("node")).await;
    node.sockets.join("r", 1).await;
    assert!(
        node.cluster
            .publish(event("r", "1"))
            .await
            .unwrap()
            .offset
            .is_some()
    );
    assert!(server.backend().publish("r", envelope("2")).accepted().is_some());
    assert_eq!(delivered(&node, 2).await, ["1", "2"]);
    // From now on another node needs no right to load it.
    user(&server, "poor", &format!("{NODE} +fcall"));
    let poor = TestNode::on_redis(server.config_of("poor")).await;
    assert!(
        poor.cluster
            .publish(event("r", "3"))
            .await
            .unwrap()
            .offset
            .is_some()
    );
    assert_eq!(delivered(&node, 3).await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_stands_in_for_the_function() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let script = format!("{NODE} +script|load +evalsha");
    for (name, rights) in [
        ("few", script.clone()),
        (
            "more",
            format!("{script} +watch +unwatch +multi +exec +fcall_ro +fcall"),
        ),
    ] {
        user(&server, name, &rights);
        let node = TestNode::on_redis(server.config_of(name)).await;
        node.sockets.join("r", 1).await;
        let mut last = 0;
        for number in 0..40 {
            if number % 10 == 5 {
                assert_eq!(server.command("SCRIPT FLUSH"), "+OK\r\n");
            }
            let with_id = format!(r#"{{"room":"r","event":"e","data":{number},"id":"{name}-{number}"}}"#);
            let with_id = || crate::support::nodes::envelope(&with_id);
            let published = node.cluster.publish(with_id()).await.unwrap();
            assert_eq!((published.sockets, published.repeated), (1, false));
            let offset: u64 = published.offset.clone().unwrap().parse().unwrap();
            assert!(offset > last, "{offset} after {last}");
            last = offset;
            let again = node.cluster.publish(with_id()).await.unwrap();
            assert_eq!((again.offset, again.repeated), (published.offset, true));
        }
        assert_eq!(delivered(&node, 40).await.len(), 40);
        assert!(
            server
                .backend()
                .publish("r", envelope("1"))
                .error()
                .contains("Function not found"),
            "there is no function"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_not_publish_still_receives() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    user(&server, "reader", NODE);
    let reader = TestNode::on_redis(server.config_of("reader")).await;
    reader.sockets.join("r", 1).await;
    let refused = reader.cluster.publish(event("r", "1")).await;
    assert!(
        matches!(&refused, Err(PublishError::Refused(why)) if why.contains("NOPERM")),
        "{refused:?}"
    );
    let node = TestNode::on_redis(server.config()).await;
    node.cluster.publish(event("r", "2")).await.unwrap();
    assert!(server.backend().publish("r", envelope("3")).accepted().is_some());
    assert_eq!(delivered(&reader, 2).await, ["2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_publishes_to_the_rooms_that_it_may_and_to_no_others() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let node = TestNode::on_redis(server.config()).await;
    for room in ["user:1", "user:2", "admin"] {
        node.sockets.join(room, 1).await;
    }
    user(
        &server,
        "backend",
        "resetchannels &roomcast:{user:*} ~roomcast:* +fcall +spublish +time +get +set",
    );
    let mut backend = Backend::login(server.port(), "backend");
    assert!(backend.publish("user:1", envelope("1")).accepted().is_some());
    let with_id = r#"{"event":"e","data":2,"id":"x"}"#;
    for refused in [
        backend.publish("admin", envelope("3")),
        backend.publish("admin", with_id),
        backend.ask(&["FCALL", "roomcast_publish", "1", "other:{user:1}", &envelope("3")]),
        backend.ask(&["SPUBLISH", "roomcast:{admin}", "x"]),
        backend.ask(&["PUBLISH", "roomcast:publish", "x"]),
        backend.ask(&["FUNCTION", "FLUSH"]),
    ] {
        let error = refused.error();
        assert!(
            // Redis 7.0 says it in other words inside of a function.
            ["NOPERM", "ACL failure", "can't publish", "can't access"]
                .iter()
                .any(|words| error.contains(words)),
            "{refused:?}"
        );
    }
    assert!(backend.publish("user:2", with_id).accepted().is_some());
    assert_eq!(delivered(&node, 2).await, ["1", "2"]);
    let mut anybody = server.backend();
    assert_eq!(
        anybody.ask(&["EXISTS", "roomcast:{admin}:id:x"]),
        Said::Number(0),
        "what was refused is not remembered"
    );
}
