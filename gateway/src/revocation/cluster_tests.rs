//! Several nodes on a paused clock, with a bus that is cut and emptied. What becomes of live sockets is seen in
//! `tests/it/revocation.rs`.

use std::{sync::Arc, time::Duration};

use adapter_redis::{
    Cluster, ClusterConfig, Item, LocalSockets, MemoryBus, MemoryHub, NodeId, SharedSets, Tokens,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    delivery::Delivery,
    drain::{Drain, Offer},
    engine::Sockets,
    forwarding::Replies,
    limits::{Admissions, CurrentLimits},
    metrics::Metrics,
    policy::Policy,
    rules::{InForce, Rules},
};

struct TestNode {
    id: NodeId,
    sets: Arc<MemoryBus>,
    revocations: Revocations,
    revoker: Revoker,
    _tasks: JoinSet<String>,
}

impl TestNode {
    fn start(hub: &MemoryHub) -> TestNode {
        TestNode::start_with(hub, Config::default(), NodeId::random())
    }

    fn start_with(hub: &MemoryHub, config: Config, id: NodeId) -> TestNode {
        let (bus, arrivals) = hub.join(&id);
        let (sets, metrics) = (Arc::new(bus), Metrics::new().unwrap());
        let revocations = Revocations::new(config, Counts::noop());
        let ending = Ending {
            revocations: revocations.clone(),
            roster: Arc::default(),
            population: Arc::default(),
            sockets: Sockets::default(),
        };
        let interests = adapter_redis::Interests::new(Duration::ZERO);
        let policy = Policy::parse("[identity]\nuser = \"claims.sub\"").unwrap();
        let in_force = InForce {
            policy: Arc::new(policy),
            shadow: None,
        };
        let rules = Rules::new(in_force, metrics.clone());
        let local: Arc<dyn LocalSockets> = Arc::new(Delivery::new(
            interests,
            ending.clone(),
            rules,
            Arc::new(Replies::new(&id, metrics.clone())),
            crate::tail::Tails::default(),
            Offer::new(Drain::default(), Admissions::new(CurrentLimits::default())),
            metrics.clone(),
        ));
        let cluster = Cluster::new(
            id.clone(),
            sets.clone(),
            local,
            ClusterConfig::default(),
            metrics.bus,
        );
        let revoker = Revoker::new(cluster.clone(), sets.clone(), revocations.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(Keeper::new(ending, revoker.clone()).run());
        tasks.spawn(async move {
            cluster.run(arrivals).await;
            String::new()
        });
        TestNode {
            id,
            sets,
            revocations,
            revoker,
            _tasks: tasks,
        }
    }

    fn refuses(&self, id: &str) -> bool {
        let token = token(Some(id), None);
        self.revocations.check("ann", &token, SystemTime::now()).is_err()
    }

    async fn revoke(&self, id: &str) -> (bool, Vec<NodeId>) {
        let answers = self.revoker.revoke(jti(id), None).await.unwrap();
        (answers.complete, answers.missing)
    }

    /// Waits until the node refuses this; how long that took.
    async fn refusing(&self, id: &str) -> Duration {
        let began = Instant::now();
        let refusing = async {
            while !self.refuses(id) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let refused = timeout(Duration::from_secs(120), refusing).await;
        assert!(refused.is_ok(), "{id} is not refused");
        began.elapsed()
    }

    async fn shared(&self) -> Vec<String> {
        let items = self.sets.read(SHARED, None).await.unwrap().items;
        let text = |item: Item| String::from_utf8(item.text.to_vec()).unwrap();
        items.into_iter().map(text).collect()
    }
}

fn token(id: Option<&str>, issued_at: Option<u64>) -> Credential {
    Credential {
        id: id.map(Into::into),
        issued_at,
        expires_at: u64::MAX,
    }
}

fn jti(jti: &str) -> Tokens {
    Tokens::Jti { jti: jti.to_owned() }
}

fn user(issued_before: u64) -> Tokens {
    Tokens::User {
        user: "ann".to_owned(),
        issued_before,
    }
}

/// Nodes that know each other, and whose first looks are over.
async fn cluster<const N: usize>(hub: &MemoryHub) -> [TestNode; N] {
    let nodes = std::array::from_fn(|_| TestNode::start(hub));
    sleep(Duration::from_secs(5)).await;
    nodes
}

const SOON: Duration = Duration::from_secs(1);
const NEXT_LOOK: Duration = Duration::from_secs(32);

#[tokio::test(start_paused = true)]
async fn every_node_refuses_what_was_revoked_on_one() {
    let hub = MemoryHub::new();
    let [one, two, three] = cluster(&hub).await;
    assert_eq!(two.revoke("a").await, (true, vec![]));
    for node in [&one, &two, &three] {
        assert!(node.refuses("a") && !node.refuses("b"), "when it is answered");
    }
    assert_eq!(one.shared().await, [r#"{"jti":"a"}"#]);
    assert_eq!(one.revoke("a").await, (true, vec![]), "it may be repeated");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_knows_it_when_its_link_is_back() {
    let hub = MemoryHub::new();
    let [one, two] = cluster(&hub).await;
    hub.partition(&two.id);
    assert_eq!(one.revoke("a").await, (false, vec![two.id.clone()]));
    sleep(Duration::from_secs(60)).await;
    assert!(!two.refuses("a"), "how should it");
    hub.heal(&two.id);
    assert!(two.refusing("a").await < SOON);
}

#[tokio::test(start_paused = true)]
async fn what_was_revoked_on_a_node_that_was_cut_off_is_told_when_its_link_is_back() {
    let hub = MemoryHub::new();
    let [one, two] = cluster(&hub).await;
    hub.partition(&one.id);
    sleep(Duration::from_secs(10)).await;
    assert!(!one.revoke("a").await.0, "nobody else has it");
    assert!(one.refuses("a") && !two.refuses("a"));
    hub.heal(&one.id);
    // And not with its next look.
    assert!(two.refusing("a").await < SOON);
    assert_eq!(two.shared().await, [r#"{"jti":"a"}"#]);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_the_answer_has_revoked_all_the_same() {
    let hub = MemoryHub::new();
    let [one, two] = cluster(&hub).await;
    one.revocations.merge(&jti("a"), Item::LATEST);
    // As if the future were dropped before anything was sent.
    drop(revoking::Begun {
        revoker: &one.revoker,
        untold: Some((jti("a"), Item::LATEST)),
    });
    assert!(two.refusing("a").await < Duration::from_secs(3));
    assert_eq!(one.shared().await, [r#"{"jti":"a"}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_knows_before_it_lets_anybody_in() {
    let hub = MemoryHub::new();
    let [one] = cluster(&hub).await;
    one.revoke("a").await;
    for number in 0..3_000 {
        let items = [Item {
            text: format!("{{\"jti\":\"{number}\"}}").into(),
            until_ms: Item::LATEST,
        }];
        one.sets.put(SHARED, &items).await.unwrap();
    }
    let late = TestNode::start(&hub);
    assert!(!late.refuses("a"), "it has not run yet");
    let began = Instant::now();
    late.revocations.known().await;
    assert!(late.refuses("a") && late.refuses("2999") && began.elapsed() < SOON);
    // All nodes of a cluster begin anew, and the shared set stayed.
    drop((one, late));
    let [again] = cluster(&hub).await;
    assert!(again.refuses("a"));
}

#[tokio::test(start_paused = true)]
async fn without_a_link_a_node_lets_in_after_a_moment_and_learns_later() {
    let hub = MemoryHub::new();
    let [one] = cluster(&hub).await;
    one.revoke("a").await;
    let late = TestNode::start(&hub);
    hub.partition(&late.id);
    let began = Instant::now();
    late.revocations.known().await;
    assert_eq!(began.elapsed().as_secs(), 2);
    assert!(!late.refuses("a"));
    hub.heal(&late.id);
    assert!(late.refusing("a").await < SOON);
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_has_forgotten_is_written_by_whoever_remembers() {
    let hub = MemoryHub::new();
    let [one, two] = cluster(&hub).await;
    one.revoke("a").await;
    one.revoker.revoke(user(100), None).await.unwrap();
    hub.forget_sets();
    drop(one);
    sleep(NEXT_LOOK).await;
    let mut there = two.shared().await;
    there.sort();
    assert_eq!(there, [r#"{"jti":"a"}"#, r#"{"user":"ann","issued_before":100}"#]);
    // It restarts without what it knew, and every node sees its link made anew.
    hub.partition(&two.id);
    hub.forget_sets();
    hub.heal(&two.id);
    let late = TestNode::start(&hub);
    assert!(late.refusing("a").await < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn much_that_is_missing_is_written_once() {
    let hub = MemoryHub::new();
    let nodes: [TestNode; 3] = cluster(&hub).await;
    for number in 0..2_500 {
        for node in &nodes {
            node.revocations.merge(&jti(&number.to_string()), Item::LATEST);
        }
    }
    sleep(NEXT_LOOK + Duration::from_secs(5)).await;
    let late = TestNode::start(&hub);
    late.revocations.known().await;
    assert_eq!(late.revocations.len(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_lost_is_made_up_for() {
    let hub = MemoryHub::new();
    let [one, two] = cluster(&hub).await;
    hub.drop_next(1);
    let (complete, missing) = one.revoke("a").await;
    assert_eq!((complete, missing), (false, vec![two.id.clone()]));
    assert!(two.refusing("a").await < NEXT_LOOK);
}

#[tokio::test(start_paused = true)]
async fn of_a_user_the_last_revocation_stays_in_the_shared_set() {
    let hub = MemoryHub::new();
    let [one, two] = cluster(&hub).await;
    for time in [100, 300, 200] {
        one.revoker.revoke(user(time), None).await.unwrap();
    }
    let foreign = [Item {
        text: "{\"v\":9}".into(),
        until_ms: Item::LATEST,
    }];
    one.sets.put(SHARED, &foreign).await.unwrap();
    let over = [Item {
        text: "{\"jti\":\"over\"}".into(),
        until_ms: 1,
    }];
    one.sets.put(SHARED, &over).await.unwrap();
    sleep(NEXT_LOOK).await;
    let mut there = two.shared().await;
    there.sort();
    assert_eq!(
        there,
        [r#"{"user":"ann","issued_before":300}"#, r#"{"v":9}"#],
        "what another version wrote is left alone"
    );
    assert_eq!(one.revocations.len(), 1, "what is over is not taken in");
    for (issued_at, refused) in [(299, true), (300, false)] {
        let checked = two
            .revocations
            .check("ann", &token(None, Some(issued_at)), SystemTime::now());
        assert_eq!(checked.is_err(), refused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_no_place_is_missing_and_one_that_is_asked_says_so() {
    let hub = MemoryHub::new();
    let small = Config {
        max: 1,
        ..Config::default()
    };
    let one = TestNode::start(&hub);
    let two = TestNode::start_with(&hub, small, NodeId::random());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(one.revoke("a").await, (true, vec![]));
    assert_eq!(one.revoke("b").await, (false, vec![two.id.clone()]));
    assert!(one.refuses("b") && two.refuses("a") && !two.refuses("b"));
    assert_eq!(two.revoker.revoke(jti("c"), None).await, Err(Full));
    assert!(!one.refuses("c"), "nothing was done");
    assert!(two.revoke("a").await.0);
}
