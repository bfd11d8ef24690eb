//! What becomes of events, by the clock of the runtime, which is stopped; the backend is the test. What clients are told
//! is looked at in `tests/it/forward.rs`.

use adapter_redis::{Args, EventName, MemoryHub, Publication, RoomName};
use tokio::{task::JoinSet, time::advance};

use super::*;
use crate::policy::Policy;

impl Forwarding {
    /// To nowhere: for tests of what does not forward.
    pub(crate) fn nowhere(metrics: &Metrics) -> Forwarding {
        let webhook = Webhook::new(None, 0, metrics.webhook.clone()).unwrap();
        let node = NodeId::random();
        let (bus, _) = MemoryHub::new().join(&node);
        let config = Config { stream_max_length: 1 };
        channel(
            &node,
            Arc::new(bus),
            &Sockets::default(),
            &webhook,
            metrics,
            &config,
        )
        .0
    }
}

struct House {
    hub: MemoryHub,
    metrics: Metrics,
    forwarding: Forwarding,
    replies: Arc<Replies>,
    node: NodeId,
    line: Arc<Line>,
    policy: Policy,
    _tasks: JoinSet<()>,
}

const RULES: &str = r#"
[identity]
user = "claims.sub"
[[forward]]
event = "ask"
to = "stream"
timeout = "2s"
[[forward]]
event = "tell"
to = "stream"
answer = false
[[forward]]
event = "call"
to = "webhook"
"#;

impl House {
    fn new() -> House {
        let (hub, metrics, node) = (MemoryHub::new(), Metrics::new().unwrap(), NodeId::random());
        let (bus, _arrivals) = hub.join(&node);
        let webhook = Webhook::new(None, 0, metrics.webhook.clone()).unwrap();
        let config = Config {
            stream_max_length: 50,
        };
        let (forwarding, forwarder, replies) = channel(
            &node,
            Arc::new(bus),
            &Sockets::default(),
            &webhook,
            &metrics,
            &config,
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(forwarder.run());
        House {
            hub,
            metrics,
            forwarding,
            replies,
            node,
            line: Arc::default(),
            policy: Policy::parse(RULES).unwrap(),
            _tasks: tasks,
        }
    }

    fn send(&self, event: &str, data: &str, waits: bool) {
        let Some(crate::policy::Rule::Forward(rule)) = self.policy.rule(event) else {
            panic!("{event}");
        };
        let sent = Sent {
            tails: None,
            event: event.to_owned(),
            arguments: vec![data.to_owned()],
            claims: "{}".into(),
            identity: Arc::new(Identity {
                user: "42".into(),
                tenant: None,
            }),
            socket: "socket-0000000000001".parse().unwrap(),
            ack: waits.then(AckId::default),
        };
        self.forwarding.submit(sent, rule, &self.line);
    }

    async fn settled(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn counted(&self, to: &str, outcome: &str) -> u64 {
        self.number(&format!(
            "roomcast_forwarded_total{{to=\"{to}\",outcome=\"{outcome}\"}} "
        ))
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.number(&format!("roomcast_dropped_total{{reason=\"{reason}\"}} "))
    }

    fn number(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().parse().unwrap()
    }

    /// A field of each entry of the stream.
    fn entries(&self, field: &str) -> Vec<Option<String>> {
        let entries = self.hub.stream("inbound").into_iter();
        let text = |value: bytes::Bytes| String::from_utf8(value.to_vec()).unwrap();
        entries
            .map(|(_, fields)| {
                fields
                    .into_iter()
                    .find(|(n, _)| *n == field)
                    .map(|(_, v)| text(v))
            })
            .collect()
    }

    fn reply(&self, room: &RoomName, id: &str) -> Option<usize> {
        self.replies.take(&Publication {
            rooms: vec![room.clone()],
            event: EventName::new(id).unwrap(),
            args: Args::none(),
            except: Vec::new(),
            namespace: "/".to_owned(),
            volatile: false,
            published_at_ms: 0,
            stamp: None,
            trace: None,
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_stream_holds_them_in_their_order_and_only_the_newest() {
    let house = House::new();
    for number in 0..60 {
        house.send("tell", &number.to_string(), true);
    }
    house.settled().await;
    let expect: Vec<_> = (10..60).map(|number: u8| Some(number.to_string())).collect();
    assert_eq!(house.entries("data"), expect);
    assert_eq!(house.counted("stream", "accepted"), 60);
    assert!(house.entries("reply").iter().all(Option::is_none), "nobody waits");
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_counts_and_each_later_one_is_counted() {
    let house = House::new();
    house.send("ask", "1", true);
    house.settled().await;
    let room = RoomName::of_replies(&house.node);
    assert_eq!(house.entries("reply"), [Some(room.to_string())]);
    let id = house.entries("id").remove(0).unwrap();
    let other = RoomName::of_replies(&NodeId::random());
    assert_eq!(house.reply(&other, &id), Some(0), "of another node");
    assert_eq!(
        house.reply(&RoomName::new("a").unwrap(), &id),
        None,
        "for clients"
    );
    assert_eq!(house.dropped("forward_reply_late"), 0);
    assert_eq!(house.reply(&room, &id), Some(1));
    assert_eq!(house.reply(&room, &id), Some(0));
    assert_eq!(house.reply(&room, "nonsense"), Some(0));
    house.settled().await;
    assert_eq!(house.counted("stream", "answered"), 1);
    assert_eq!(house.dropped("forward_reply_late"), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_the_time_of_the_rule_the_client_or_the_node() {
    let house = House::new();
    house.send("ask", "1", true);
    house.settled().await;
    advance(Duration::from_millis(1999)).await;
    house.settled().await;
    assert_eq!(house.counted("stream", "timeout"), 0);
    advance(Duration::from_millis(2)).await;
    house.settled().await;
    assert_eq!(house.counted("stream", "timeout"), 1);
    let id = house.entries("id").remove(0).unwrap();
    assert_eq!(house.reply(&RoomName::of_replies(&house.node), &id), Some(0));

    house.send("ask", "2", true);
    house.settled().await;
    house.line.end();
    house.settled().await;
    assert_eq!(house.counted("stream", "gone"), 1);

    let other = House::new();
    other.send("ask", "3", true);
    other.settled().await;
    other.forwarding.stop().await;
    assert_eq!(other.counted("stream", "timeout"), 1);
    other.send("ask", "4", true);
    assert_eq!(other.counted("stream", "unavailable"), 1);
    assert_eq!(other.entries("data").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_client_is_bounded_and_others_have_their_turn() {
    let mut house = House::new();
    for number in 0..300 {
        house.send("ask", &number.to_string(), true);
    }
    house.settled().await;
    assert_eq!(house.counted("stream", "queue_full"), 44);
    assert_eq!(house.dropped("forward_queue_full"), 44);
    house.line = Arc::default();
    house.send("tell", "1", false);
    house.settled().await;
    assert_eq!(house.counted("stream", "accepted"), 1);
    advance(Duration::from_secs(3)).await;
    house.settled().await;
    assert_eq!(house.counted("stream", "timeout"), 256);
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_does_not_take_is_refused_at_once() {
    let house = House::new();
    house.hub.partition(&house.node);
    house.send("ask", "1", true);
    house.send("tell", "1", false);
    house.settled().await;
    assert_eq!(house.counted("stream", "unavailable"), 2);
    assert_eq!(house.dropped("forward_failed"), 1, "with nobody to tell");
}

#[tokio::test(start_paused = true)]
async fn who_asked_is_told_also_when_the_task_ends() {
    let house = House::new();
    house.send("ask", "1", true);
    house.settled().await;
    let House {
        metrics,
        forwarding,
        replies,
        _tasks,
        ..
    } = house;
    drop((_tasks, forwarding, replies));
    tokio::task::yield_now().await;
    let text = metrics.render();
    assert!(text.contains("roomcast_forwarded_total{to=\"stream\",outcome=\"timeout\"} 1\n"));
}

#[tokio::test(start_paused = true)]
async fn without_a_webhook_nothing_is_called() {
    let house = House::new();
    for _ in 0..40 {
        house.send("call", "1", true);
    }
    house.settled().await;
    let refused = house.counted("webhook", "unavailable") + house.counted("webhook", "queue_full");
    assert_eq!(refused, 40);
    assert_eq!(
        house.counted("webhook", "queue_full"),
        40 - 17,
        "one, and 16 behind it"
    );
}
