//! Another configuration for a running node: what becomes of who is connected, and of who comes.

use adapter_redis::{MemoryHub, Question, RoomName, Target};
use gateway::{
    reload::Reload,
    settings::{Layers, MapEnv},
};
use loadtest::{Client, CloseReason, ConnectError};
use serde_json::{Value, json};

use crate::{
    config::Folder,
    support::{API_KEY, Node, SECRET, token_by, until},
};

const OTHER_SECRET: &str = "another-secret-of-more-than-32-bytes-for-tests";
const HEAD: &str = "[identity]\nuser = \"claims.sub\"\n";
const CONFIG: &str = "listen = \"127.0.0.1:0\"\npolicy = \"policy.toml\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
    [auth.jwt]\nhmac_secret_file = \"secret\"\n[api]\nkeys = [\"test-key\"]\n[reload]\nwatch = false\n";

/// A node with a folder that it is configured from.
struct House {
    folder: Folder,
    node: Node,
    reload: Reload,
}

impl House {
    fn start(name: &str, rules: &str) -> House {
        House::start_with(name, rules, CONFIG)
    }

    fn start_with(name: &str, rules: &str, config: &str) -> House {
        let folder = Folder::new(&format!("reload-{name}"));
        let file = folder.file("roomcast.toml", config);
        folder.file("policy.toml", &format!("{HEAD}{rules}"));
        folder.file("secret", SECRET);
        let load = move || Layers::load(Some(&file), &MapEnv::default(), &[]);
        let (node, reload) = Node::start_from(&MemoryHub::new(), load);
        House { folder, node, reload }
    }

    async fn count(&self, outcome: &str) -> f64 {
        let line = format!("roomcast_reload_total{{outcome=\"{outcome}\"}}");
        self.node.metric(&line).await
    }

    /// Another text of a file, and the end of the reload.
    async fn change(&self, file: &str, text: &str, outcome: &str) {
        self.folder.file(file, text);
        let before = self.count(outcome).await;
        self.reload.ask();
        until(outcome, async || self.count(outcome).await == before + 1.0).await;
    }

    async fn policy(&self, rules: &str) {
        self.change("policy.toml", &format!("{HEAD}{rules}"), "applied")
            .await;
    }

    /// Publishes to a room and says how many sockets that reached.
    async fn reached(&self, room: &str) -> Value {
        let (_, answer) = self.node.publish(json!({"room": room, "event": room})).await;
        answer["sockets"].clone()
    }

    async fn order(&self, question: Question) {
        assert_eq!(self.node.local.answer(question).await.count, 1);
    }

    /// What has arrived, up to a last event.
    async fn events(&self, client: &mut Client) -> Vec<String> {
        let target = format!("user:{}", client.id());
        self.order(Question::Join {
            target: Target::Session(client.id().to_owned()),
            rooms: vec![RoomName::new(&target).unwrap()],
        })
        .await;
        let (_, answer) = self.node.publish(json!({"room": target, "event": "last"})).await;
        assert_eq!(answer["sockets"], 1);
        let mut names = Vec::new();
        loop {
            match client.next().await.unwrap().name.as_str() {
                "last" => return names,
                name => names.push(name.to_owned()),
            }
        }
    }
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn refusal(outcome: Result<Client, ConnectError>) -> String {
    match outcome.map(|_| ()) {
        Err(ConnectError::Refused { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn limits_hold_for_who_is_connected() {
    let house = House::start("limits", "[[reply]]\nevent = \"p\"\nack = \"data\"\n");
    let client = house.node.connect(json!({"sub": "ann"})).await;
    let ask = async || client.call("p", &[json!(1)]).await.unwrap();
    for _ in 0..5 {
        assert_eq!(ask().await, [json!(1)]);
    }
    let limited = format!("{CONFIG}[limits]\nevents_per_second = 1\n");
    house.change("roomcast.toml", &limited, "applied").await;
    ask().await;
    until("there is a limit", async || {
        ask().await[0]["code"] == "rate_limited"
    })
    .await;
    house.change("roomcast.toml", CONFIG, "applied").await;
    for _ in 0..5 {
        assert_eq!(ask().await, [json!(1)], "there is none any more");
    }
}

#[tokio::test]
async fn keys_rotate_and_who_is_connected_stays() {
    let house = House::start("keys", "[[join]]\nroom = \"a\"\n");
    let mut client = house.node.connect(json!({"sub": "ann"})).await;
    house.change("secret", OTHER_SECRET, "applied").await;
    for (secret, is_good) in [(SECRET, false), (OTHER_SECRET, true)] {
        let opened = house
            .node
            .connecting(&token_by(secret, json!({"sub": "bob"})))
            .open()
            .await;
        match is_good {
            true => drop(opened.expect("the new key")),
            false => assert_eq!(refusal(opened), "the token's signature is not valid"),
        }
    }
    house.reached("a").await;
    assert_eq!(client.next().await.unwrap().name, "a");
    assert_eq!(
        house
            .node
            .metric("roomcast_disconnects_total{reason=\"server_transport_close\"}")
            .await,
        0.0
    );

    let rotated = CONFIG.replace("test-key", "new-key");
    house.change("roomcast.toml", &rotated, "applied").await;
    for (key, status) in [(API_KEY, 401), ("new-key", 200)] {
        assert_eq!(
            house.node.call("GET", "/api/v1/nodes", Some(key), "").await.0,
            status
        );
    }
}

#[tokio::test]
async fn clients_follow_another_policy_without_a_new_connection() {
    let before = "[[join]]\nroom = \"stays\"\n[[join]]\nroom = \"goes\"\n[[join]]\nroom = \"taken\"\n\
        [[subscribe]]\nevent = \"s\"\nroom = \"wish:{arg}\"\nallow = \"true\"\n";
    let after = "[[join]]\nroom = \"stays\"\n[[join]]\nroom = \"comes\"\n[[join]]\nroom = \"taken\"\n\
        [[subscribe]]\nevent = \"s\"\nroom = \"wish:{arg}\"\nallow = \"arg == '1'\"\n";
    let house = House::start("rooms", before);
    let mut client = house.node.connect(json!({"sub": "ann"})).await;
    for wish in ["1", "2"] {
        client.call("s", &[json!(wish)]).await.unwrap();
    }
    let target = || Target::Session(client.id().to_owned());
    let rooms = |name| vec![room(name)];
    house
        .order(Question::Join {
            target: target(),
            rooms: rooms("given"),
        })
        .await;
    house
        .order(Question::Leave {
            target: target(),
            rooms: rooms("taken"),
        })
        .await;

    house.policy(after).await;
    for (room, expect) in [
        ("stays", 1),
        ("goes", 0),
        ("comes", 1),
        ("given", 1),
        ("taken", 0),
        ("wish:1", 1),
        ("wish:2", 0),
    ] {
        assert_eq!(house.reached(room).await, expect, "{room}");
    }
    let events = house.events(&mut client).await;
    assert_eq!(events, ["stays", "comes", "given", "wish:1"]);

    house.policy(before).await;
    for (room, expect) in [
        ("stays", 1),
        ("goes", 1),
        ("comes", 0),
        ("given", 1),
        ("wish:1", 1),
        ("wish:2", 0),
    ] {
        assert_eq!(house.reached(room).await, expect, "{room}: and back");
    }
}

#[tokio::test]
async fn who_would_be_somebody_else_connects_anew() {
    let house = House::start("identity", "");
    let mut same = house.node.connect(json!({"sub": "ann", "name": "ann"})).await;
    let mut other = house.node.connect(json!({"sub": "bob", "name": "robert"})).await;
    let mut nobody = house.node.connect(json!({"sub": "cid"})).await;
    let text = "[identity]\nuser = \"claims.name\"\n";
    house.change("policy.toml", text, "applied").await;
    assert_eq!(
        other.closed().await,
        CloseReason::TransportClose,
        "it comes back by itself"
    );
    assert_eq!(
        nobody.closed().await,
        CloseReason::TransportClose,
        "and is refused then"
    );
    assert_eq!(house.events(&mut same).await, Vec::<String>::new());
    assert_eq!(house.node.local.load().connected, 1);
}

#[tokio::test]
async fn without_a_recheck_another_policy_is_for_what_comes() {
    let config = CONFIG.replace("watch = false", "watch = false\nrecheck_rooms = false");
    let house = House::start_with("no-recheck", "[[join]]\nroom = \"a\"\n", &config);
    let _first = house.node.connect(json!({"sub": "ann"})).await;
    house.policy("[[join]]\nroom = \"b\"\n").await;
    let _second = house.node.connect(json!({"sub": "bob"})).await;
    assert_eq!(
        (house.reached("a").await, house.reached("b").await),
        (json!(1), json!(1))
    );
}

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let house = House::start("wrong", "[[join]]\nroom = \"a\"\n");
    let mut client = house.node.connect(json!({"sub": "ann"})).await;
    let started = house
        .node
        .metric("roomcast_reload_last_success_timestamp_seconds")
        .await;
    assert!(started > 1.7e9);
    let good = format!("{HEAD}[[join]]\nroom = \"a\"\n");
    // One mistake anywhere keeps all of it from being taken over: the secret is another one, too.
    house.folder.file("secret", OTHER_SECRET);
    for (file, bad, good) in [
        ("policy.toml", "[identity]\n", good.as_str()),
        ("policy.toml", "half a li", good.as_str()),
        ("roomcast.toml", "listn = 1\n", CONFIG),
        ("roomcast.toml", "", CONFIG),
        ("secret", "", OTHER_SECRET),
    ] {
        house.change(file, bad, "refused").await;
        house.folder.file(file, good);
    }
    let last = house
        .node
        .metric("roomcast_reload_last_success_timestamp_seconds")
        .await;
    assert!(last == started, "{last} {started}");
    drop(house.node.connect(json!({"sub": "bob"})).await);
    house.reached("a").await;
    assert_eq!(client.next().await.unwrap().name, "a");

    house.change("secret", SECRET, "unchanged").await;
    assert!(
        house
            .node
            .metric("roomcast_reload_last_success_timestamp_seconds")
            .await
            > started
    );
    let moved = CONFIG.replacen("127.0.0.1:0", "127.0.0.1:1", 1);
    house.change("roomcast.toml", &moved, "unchanged").await;
    assert_eq!(house.count("applied").await, 0.0, "an address needs a restart");
}
