//! Streams of others, which nodes read in turn and leave as they are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_redis::{
    Consume, GroupStream, NodeId, RedisConfig, RefusedEntry, StreamEntry, StreamReader, Verdict,
};
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::redis_server::RedisServer;

const LIMIT: Duration = Duration::from_secs(20);
const STREAM: &str = "crm.events";
const REFUSED: &str = "roomcast:ingest:refused";

/// Writes down what it was given. Numbers are dealt with; what is no number is refused.
#[derive(Default)]
struct Consumer {
    got: Mutex<Vec<usize>>,
    /// How often a number is sent back before it is dealt with.
    stubborn: Mutex<HashMap<usize, usize>>,
    /// It takes entries, and never says what became of them.
    hangs: AtomicBool,
    seen: Mutex<usize>,
}

struct Reader {
    consumer: Arc<Consumer>,
    reader: StreamReader,
    tasks: JoinSet<()>,
}

impl Consume for Consumer {
    /// Pauses after each tenth entry.
    async fn consume(&self, entries: &[StreamEntry]) -> Vec<Verdict> {
        *self.seen.lock().unwrap() += entries.len();
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        entries.iter().take(10).map(|entry| self.judge(entry)).collect()
    }
}

impl Consumer {
    fn judge(&self, entry: &StreamEntry) -> Verdict {
        let text = entry.field("n").unwrap().clone();
        let Ok(number) = std::str::from_utf8(&text).unwrap().parse() else {
            return Verdict::Refused(RefusedEntry {
                reason: "no_number".into(),
                name: "n",
                text,
            });
        };
        if let Some(left) = self.stubborn.lock().unwrap().get_mut(&number)
            && *left > 0
        {
            *left -= 1;
            return Verdict::NotNow;
        }
        self.got.lock().unwrap().push(number);
        Verdict::Done
    }

    fn got(&self) -> Vec<usize> {
        self.got.lock().unwrap().clone()
    }
}

impl Reader {
    fn start(server: &RedisServer, consumer: Consumer) -> Self {
        let config = RedisConfig {
            command_timeout: Duration::from_millis(500),
            ..server.config()
        };
        Self::with(config, consumer)
    }

    fn with(config: RedisConfig, consumer: Consumer) -> Self {
        let stream = GroupStream::of_others(&config.prefix, STREAM);
        let reader = StreamReader::new(NodeId::random(), config, stream);
        let consumer = Arc::new(consumer);
        let mut tasks = JoinSet::new();
        let (reading, consuming) = (reader.clone(), consumer.clone());
        tasks.spawn(async move { reading.run(&*consuming).await });
        Self {
            consumer,
            reader,
            tasks,
        }
    }
}

fn add(server: &RedisServer, text: impl std::fmt::Display) {
    server.command(&format!("XADD {STREAM} * n {text}"));
}

fn length(server: &RedisServer) -> String {
    server.command(&format!("XLEN {STREAM}"))
}

async fn nothing_is_in_hand(server: &RedisServer) {
    eventually("nothing is in hand", LIMIT, || {
        let pending = server.command(&format!("XPENDING {STREAM} roomcast"));
        pending.starts_with("*4\r\n:0\r\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_reads_all_of_it_in_order_and_deletes_nothing() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    for number in 0..20 {
        add(&server, number);
    }
    let readers = [(); 2].map(|()| Reader::start(&server, Consumer::default()));
    for number in 20..300 {
        add(&server, number);
    }
    let got = || readers.iter().flat_map(|r| r.consumer.got()).collect::<Vec<_>>();
    eventually("all were read", LIMIT, || got().len() >= 300).await;
    nothing_is_in_hand(&server).await;
    let expected: Vec<_> = (0..300).collect();
    assert!(readers.iter().any(|reader| reader.consumer.got() == expected));
    assert_eq!(got().len(), 300, "by one of them");
    assert_eq!(length(&server), ":300\r\n", "others may read them, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_had_in_hand_comes_first_at_the_next() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    for number in 0..5 {
        add(&server, number);
    }
    let hanging = Consumer {
        hangs: AtomicBool::new(true),
        ..Consumer::default()
    };
    let mut victim = Reader::start(&server, hanging);
    eventually("it has them in hand", LIMIT, || {
        *victim.consumer.seen.lock().unwrap() == 5
    })
    .await;
    victim.tasks.shutdown().await;
    for number in 5..10 {
        add(&server, number);
    }
    // One of those in hand is deleted before anybody dealt with it.
    let first = server.command(&format!("XRANGE {STREAM} - + COUNT 1"));
    let id = first.lines().find(|line| line.contains("-0")).unwrap().to_owned();
    assert_eq!(server.command(&format!("XDEL {STREAM} {id}")), ":1\r\n");
    let heir = Reader::start(&server, Consumer::default());
    eventually("the heir has all", LIMIT, || heir.consumer.got().len() >= 9).await;
    nothing_is_in_hand(&server).await;
    assert_eq!(heir.consumer.got(), (1..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_entries_are_put_aside_and_those_for_later_come_again() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let consumer = Consumer {
        stubborn: Mutex::new(HashMap::from([(1, 2), (3, 1)])),
        ..Consumer::default()
    };
    for text in ["0", "1", "two", "3", "4"] {
        add(&server, text);
    }
    let reader = Reader::start(&server, consumer);
    eventually("all were dealt with", LIMIT, || reader.consumer.got().len() >= 4).await;
    nothing_is_in_hand(&server).await;
    assert_eq!(reader.consumer.got(), [0, 4, 3, 1], "each when it was its time");
    let refused = server.command(&format!("XRANGE {REFUSED} - +"));
    for part in ["\r\ntwo\r\n", "no_number", "source", "stream:crm.events"] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert_eq!(server.command(&format!("XLEN {REFUSED}")), ":1\r\n");
    assert_eq!(length(&server), ":5\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_stopped_ends_and_another_goes_on() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut first = Reader::start(&server, Consumer::default());
    let lease = || server.command("GET roomcast:ingest:lease:crm.events");
    eventually("it reads", LIMIT, || lease() != "$-1\r\n").await;
    first.reader.hand_over(LIMIT).await;
    assert_eq!(lease(), "$-1\r\n");
    first.tasks.join_next().await.unwrap().unwrap();
    let second = Reader::start(&server, Consumer::default());
    add(&server, 1);
    eventually("the other one reads", LIMIT, || second.consumer.got() == [1]).await;
}

/// What docs/protocol.md names is enough, and `XDEL` is not needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    server.command(&format!(
        "ACL SETUSER few reset on >pw ~roomcast:* ~{STREAM} +hello +get +set +del +xgroup|create +xreadgroup +xack +xadd +pexpire"
    ));
    let reader = Reader::with(server.config_of("few"), Consumer::default());
    for text in ["0", "one", "2"] {
        add(&server, text);
    }
    eventually("all were dealt with", LIMIT, || reader.consumer.got() == [0, 2]).await;
    nothing_is_in_hand(&server).await;
    assert_eq!(server.command(&format!("XLEN {REFUSED}")), ":1\r\n");
    reader.reader.hand_over(LIMIT).await;
    assert_eq!(server.command("GET roomcast:ingest:lease:crm.events"), "$-1\r\n");
}
