//! Notices of who connects and disconnects, on a Redis that the test starts (`ROOMCAST_TEST_REDIS=1`).

mod read;
mod script;
mod window;

use std::time::Duration;

use adapter_redis::{Announcement, Announcer, Notices, NoticesConfig, RedisConfig, SessionAbout};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::read::{Read, Reader};
use crate::support::eventually;
use crate::support::nodes::TestNode;
use crate::support::recorder::Recorded;
use crate::support::redis_server::RedisServer;

const LIMIT: Duration = Duration::from_secs(20);

/// Short, so that nodes die quickly.
const LEASE: Duration = Duration::from_millis(1_500);

struct Noticing {
    node: TestNode,
    recorded: Recorded,
    announcer: Announcer,
    notices: Notices,
    running: JoinSet<()>,
    sessions: Vec<Announcement>,
}

impl Noticing {
    async fn start(config: RedisConfig) -> Self {
        Self::with(
            config,
            NoticesConfig {
                lease: LEASE,
                ..NoticesConfig::default()
            },
        )
        .await
    }

    async fn with(config: RedisConfig, kept: NoticesConfig) -> Self {
        let redis = RedisConfig {
            command_timeout: Duration::from_millis(500),
            ..config
        };
        let node = TestNode::on_redis(redis.clone()).await;
        let recorded = Recorded::default();
        let (announcer, notices) = Notices::new(redis, kept, recorded.notices());
        let mut running = JoinSet::new();
        let (writer, cluster) = (notices.clone(), node.cluster.clone());
        running.spawn(async move { writer.run(&cluster).await });
        Self {
            node,
            recorded,
            announcer,
            notices,
            running,
            sessions: Vec::new(),
        }
    }

    /// So many clients connect.
    fn connect(&mut self, count: usize) {
        for _ in 0..count {
            let session = format!("{}-{}", self.node.id, self.sessions.len());
            let about = SessionAbout {
                session: session.into(),
                user: "ann".into(),
                tenant: Some("acme".into()),
                connected_at: 1_785_000_000_123,
            };
            self.sessions.push(self.announcer.announce(|| about));
        }
    }

    /// What a killed process does: nothing any more, and its sessions say nothing either.
    async fn kill(mut self) {
        self.running.shutdown().await;
        self.node.kill();
    }

    fn count(&self, kind: &str) -> u64 {
        self.recorded
            .value(&format!("roomcast_notices_total{{type={kind},outcome=written}}"))
    }

    /// Waits until it has counted so many connects and disconnects: a notice can be read in Redis before Redis' answer
    /// has come to who wrote it.
    async fn counted(&self, connects: u64, disconnects: u64) {
        eventually("what was written is counted", LIMIT, || {
            (self.count("connect"), self.count("disconnect")) == (connects, disconnects)
        })
        .await;
    }

    #[allow(clippy::float_cmp, reason = "a whole number")]
    fn is_idle(&self) -> bool {
        self.recorded.gauge("roomcast_notices_waiting") == 0.0
    }
}

async fn written(server: &RedisServer, what: &str, is_so: impl Fn(&Read) -> bool) -> Read {
    let mut read = Read::default();
    eventually(what, LIMIT, || {
        read = server.notices();
        is_so(&read)
    })
    .await;
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_reads_who_came_and_who_went() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut node = Noticing::start(server.config()).await;
    node.connect(2);
    written(&server, "both are announced", |read| read.connects() == 2).await;
    node.sessions[0].end("ping_timeout");
    let read = written(&server, "one is gone", |read| read.ends() == 1).await;
    let id = node.node.id.to_string();
    let (came, went) = (&read.entries[0], &read.entries[2]);
    let session = format!("{id}-0");
    let connection = came["connection"].clone();
    for (entry, expected) in [(came, "connect"), (went, "disconnect")] {
        assert_eq!(entry["type"], expected);
        assert_eq!(entry["id"], format!("{connection}:{expected}"));
        for (name, value) in [
            ("connection", &*connection),
            ("session", &*session),
            ("user", "ann"),
            ("tenant", "acme"),
            ("node", &*id),
            ("connected_at", "1785000000123"),
        ] {
            assert_eq!(entry[name], value, "{name}");
        }
        assert!(!entry.contains_key("again"));
    }
    assert_eq!(came["at"], "1785000000123");
    assert_eq!(went["reason"], "ping_timeout");
    assert!(went["at"].parse::<u64>().unwrap() > 1_600_000_000_000);
    node.counted(2, 1).await;
    assert_eq!(read.connections.len(), 2);
    assert_ne!(
        read.entries[0]["connection"], read.entries[1]["connection"],
        "names are unique"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_survivors_report_the_sessions_of_a_killed_node_once() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut victim = Noticing::start(server.config()).await;
    let mut survivors = Vec::new();
    for _ in 0..3 {
        survivors.push(Noticing::start(server.config()).await);
    }
    victim.connect(700);
    survivors[0].connect(5);
    written(&server, "all are announced", |read| read.connects() == 705).await;
    // Half of a session's life was told: its end is on its way, or is not.
    victim.sessions[0].end("transport_close");
    let id = victim.node.id.to_string();
    victim.kill().await;
    let read = written(&server, "all are reported", |read| read.ends() == 700).await;
    read.assert_paired(5);
    let lost = read
        .entries
        .iter()
        .filter(|entry| entry.get("reason").is_some_and(|r| r == "node_lost"));
    let lost: Vec<_> = lost.collect();
    assert!(
        lost.len() == 699 || lost.len() == 700,
        "{} of a node that was killed",
        lost.len()
    );
    assert!(
        lost.iter()
            .all(|entry| entry["node"] == id && entry["user"] == "ann")
    );
    eventually("what was written is counted", LIMIT, || {
        let reported: u64 = survivors.iter().map(|node| node.count("disconnect")).sum();
        reported == lost.len() as u64
    })
    .await;
    assert_eq!(server.announced(&id), 0);
    // Nothing more comes of it.
    sleep(LEASE).await;
    server.notices().assert_paired(5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_nodes_died_the_next_one_reports() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut victim = Noticing::start(server.config()).await;
    victim.connect(3);
    written(&server, "all are announced", |read| read.connects() == 3).await;
    victim.kill().await;
    let next = Noticing::start(server.config()).await;
    let read = written(&server, "all are reported", |read| read.ends() == 3).await;
    read.assert_paired(0);
    next.counted(0, 3).await;
}

/// As a survivor does that is killed in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burial_that_was_begun_is_ended_by_another() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut victim = Noticing::start(server.config()).await;
    victim.connect(3);
    let read = written(&server, "all are announced", |read| read.connects() == 3).await;
    let id = victim.node.id.to_string();
    victim.kill().await;
    server.begin_to_bury(&id);
    assert_eq!(read.ends(), 0);
    let _next = Noticing::start(server.config()).await;
    let read = written(&server, "all are reported", |read| read.ends() == 3).await;
    read.assert_paired(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_reports_its_sessions_and_leaves_nothing() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut node = Noticing::start(server.config()).await;
    node.connect(600);
    node.sessions[3].end("transport_close");
    node.notices.finish("server_shutting_down", LIMIT).await;
    let read = server.notices();
    read.assert_paired(0);
    let reasons = read
        .entries
        .iter()
        .filter(|entry| entry.get("reason").is_some_and(|r| r == "server_shutting_down"));
    assert_eq!((read.connects(), reasons.count()), (600, 599));
    assert!(node.is_idle());
    assert_eq!(server.table(), [""; 0], "nobody is known any more");
    node.sessions.clear();
    assert_eq!(
        server.notices().ends(),
        600,
        "what comes afterwards says nothing new"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_announces_its_sessions_anew() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let switch = Switch::start(server.port()).await;
    let mut node = Noticing::start(RedisConfig {
        url: switch.url(),
        ..server.config()
    })
    .await;
    let _other = Noticing::start(server.config()).await;
    node.connect(300);
    written(&server, "all are announced", |read| read.connects() == 300).await;
    switch.cut().await;
    // One goes and one comes while nobody can be told.
    node.sessions[0].end("transport_close");
    node.connect(1);
    let read = written(&server, "it is taken for dead", |read| read.ends() == 300).await;
    read.assert_paired(0);
    switch.join().await;
    let read = written(&server, "who lives is announced again", |read| {
        read.connects() == 300 + 300
    })
    .await;
    read.assert_paired(300);
    let again = read
        .entries
        .iter()
        .filter(|entry| entry.get("again").is_some_and(|again| again == "true"));
    assert_eq!(
        again.count(),
        299,
        "but for the one that ended, and the one that is new"
    );
    node.sessions.clear();
    let read = written(&server, "all are gone", |read| read.ends() == 600).await;
    read.assert_paired(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_is_told_again() {
    let Some(mut server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Noticing::start(server.config()).await);
    }
    nodes.iter_mut().for_each(|node| node.connect(10));
    let before = written(&server, "all are announced", |read| read.connects() == 20).await;
    server.command("FLUSHALL");
    let read = written(&server, "all are announced again", |read| read.connects() == 20).await;
    assert_eq!(read.connections, before.connections, "under the names of before");
    assert!(read.entries.iter().all(|entry| entry["again"] == "true"));
    // Longer than a lease: nobody is taken for dead for that.
    server.kill();
    nodes[0].sessions[0].end("transport_close");
    nodes[0].connect(1);
    sleep(LEASE * 2).await;
    server.run().await;
    let read = written(&server, "all are announced again", |read| {
        read.connects() == 21 && read.ends() == 1
    })
    .await;
    read.assert_paired(20);
    sleep(LEASE * 2).await;
    assert_eq!(server.notices().ends(), 1);
    nodes.iter_mut().for_each(|node| node.sessions.clear());
    let read = written(&server, "all are gone", |read| read.ends() == 21).await;
    read.assert_paired(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_heartbeats_lives_though_it_writes_nothing() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut mute = Noticing::start(server.config()).await;
    let other = Noticing::start(server.config()).await;
    mute.connect(3);
    written(&server, "all are announced", |read| read.connects() == 3).await;
    eventually("they know each other", LIMIT, || other.node.knows(2)).await;
    mute.running.shutdown().await;
    sleep(LEASE * 3).await;
    assert_eq!(server.notices().ends(), 0);
    mute.kill().await;
    let read = written(&server, "it is dead", |read| read.ends() == 3).await;
    read.assert_paired(0);
}

/// Nobody's lease holds when Redis is back, and one node is back before the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_back_first_gives_the_others_time() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let switch = Switch::start(server.port()).await;
    let mut late = Noticing::start(RedisConfig {
        url: switch.url(),
        ..server.config()
    })
    .await;
    let mut first = Noticing::start(server.config()).await;
    late.connect(3);
    written(&server, "all are announced", |read| read.connects() == 3).await;
    server.signal("-STOP");
    switch.cut().await;
    sleep(LEASE * 2).await;
    server.signal("-CONT");
    first.connect(1);
    written(&server, "the first is back", |read| read.connects() == 4).await;
    sleep(LEASE / 2).await;
    switch.join().await;
    late.connect(1);
    let read = written(&server, "the other is back", |read| read.connects() == 5).await;
    read.assert_paired(5);
    assert!(read.entries.iter().all(|entry| !entry.contains_key("again")));
}

/// What a node sends before Redis stands still is read afterwards, when nobody's lease holds any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_redis_stood_still_nobody_is_taken_for_dead() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Noticing::start(server.config()).await);
    }
    nodes.iter_mut().for_each(|node| node.connect(10));
    written(&server, "all are announced", |read| read.connects() == 30).await;
    // So that all of them look for the dead.
    sleep(LEASE * 2).await;
    for round in 1..=2 {
        server.signal("-STOP");
        nodes[0].connect(1);
        nodes[1].sessions[round].end("transport_close");
        sleep(LEASE * 2).await;
        server.signal("-CONT");
        let read = written(&server, "what happened meanwhile is told", |read| {
            read.connects() == 30 + round && read.ends() == round
        })
        .await;
        read.assert_paired(30);
    }
    sleep(LEASE * 2).await;
    server.notices().assert_paired(30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_and_missing_ones_write_nothing() {
    const NODE: &str = "resetchannels &roomcast:* ~roomcast:* +hello +subscribe +ssubscribe +sunsubscribe +publish \
                        +spublish +time +get +set +fcall +fcall_ro +function|load +watch +unwatch +multi +exec";
    const NOTICES: &str = "+eval +xadd +xtrim +hget +hset +hdel +hexists +hlen +hkeys +hgetall";
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let rights = |user: &str, rights: &str| {
        let set = format!("ACL SETUSER {user} reset on >pw {NODE} {rights}");
        assert_eq!(server.command(&set), "+OK\r\n", "{set}");
    };
    for missing in NOTICES.split(' ') {
        let others: Vec<_> = NOTICES.split(' ').filter(|right| *right != missing).collect();
        let user = missing.replace('+', "without-");
        rights(&user, &others.join(" "));
        let mut node = Noticing::start(server.config_of(&user)).await;
        node.connect(1);
        let tried = || server.command("ACL LOG").contains(&user);
        eventually("Redis refuses something", LIMIT, tried).await;
        assert_eq!(server.notices().entries.len(), 0, "without {missing}");
    }
    rights("node", NOTICES);
    let mut node = Noticing::start(server.config_of("node")).await;
    let mut victim = Noticing::start(server.config_of("node")).await;
    node.connect(2);
    victim.connect(2);
    let read = written(&server, "all are announced", |read| read.connects() == 4).await;
    read.assert_paired(4);
    victim.kill().await;
    node.sessions.clear();
    let read = written(&server, "all are reported", |read| read.ends() == 4).await;
    read.assert_paired(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_keeps_the_newest() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let kept = NoticesConfig {
        max_length: 200,
        lease: LEASE,
        counts_trimmed: true,
    };
    let mut node = Noticing::with(server.config(), kept).await;
    node.connect(2_000);
    eventually("all are announced", LIMIT, || {
        node.count("connect") == 2_000 && node.is_idle()
    })
    .await;
    let left = server.notices().entries.len();
    // Redis cuts off whole nodes of its tree, of 100 entries.
    assert!((200..=300).contains(&left), "{left}");
    let trimmed = node
        .recorded
        .value("roomcast_dropped_total{reason=notice_trimmed}");
    assert_eq!(trimmed, 2_000 - left as u64);
    node.sessions.clear();
    eventually("all are over", LIMIT, || node.is_idle()).await;
    assert_eq!(node.count("disconnect"), 2_000);
    assert_eq!(server.announced(node.node.id.as_str()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_is_told_in_batches() {
    let Some(server) = RedisServer::start(&[]).await else {
        return;
    };
    let mut node = Noticing::start(server.config()).await;
    let _other = Noticing::start(server.config()).await;
    let calls = || {
        let stats = server.command("INFO commandstats");
        let (_, rest) = stats.split_once("cmdstat_eval:calls=").unwrap();
        rest.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = calls();
    node.connect(10_000);
    eventually("all are announced", LIMIT, || node.count("connect") == 10_000).await;
    let used = calls() - before;
    assert!(used < 400, "{used} calls for 10,000 notices");
    node.kill().await;
    eventually("all are reported", LIMIT, || {
        server.command("XLEN roomcast:notices") == ":20000\r\n"
    })
    .await;
    server.notices().assert_paired(0);
}

/// Between a node and Redis, and can be cut.
struct Switch {
    port: u16,
    to: u16,
    open: std::sync::Mutex<JoinSet<()>>,
}

impl Switch {
    async fn start(to: u16) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let switch = Self {
            port,
            to,
            open: std::sync::Mutex::default(),
        };
        switch.join().await;
        switch
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Nothing passes any more when this is done.
    async fn cut(&self) {
        let mut open = std::mem::take(&mut *self.open.lock().unwrap());
        open.shutdown().await;
    }

    async fn join(&self) {
        let (port, to) = (self.port, self.to);
        let listener = loop {
            // The one before may not be gone yet.
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break listener;
            }
            sleep(Duration::from_millis(10)).await;
        };
        self.open.lock().unwrap().spawn(async move {
            // All in one task: with its end all of them are closed.
            let mut connections = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Ok((mut here, _)) = listener.accept() => connections.push(async move {
                        if let Ok(mut there) = TcpStream::connect(("127.0.0.1", to)).await {
                            let _ = copy_bidirectional(&mut here, &mut there).await;
                        }
                    }),
                    Some(()) = connections.next() => {}
                }
            }
        });
    }
}
