//! What decisions cost, and the dearest that the bounds allow: `cargo bench -p gateway --bench policy`.
//!
//! Reading the claims' text stands on its own line, because a session does it before each decision.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    hint::black_box,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gateway::{
    auth::Claims,
    policy::{Asking, Identity, Policy, Relay, Reply, Rule, Subscription, Trail, WHATSAPP_CRM},
};
use serde_json::{Value, json};

/// How long each is repeated for.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

fn main() {
    let policy = Policy::parse(WHATSAPP_CRM).unwrap();
    println!("reading the claims of a session");
    for (name, claims) in all_claims() {
        let text = claims.to_string();
        measure(name, || serde_json::from_str::<Value>(&text).unwrap());
    }
    println!("\nroom on request: `arg in claims.whatsapp_accounts || '*' in claims.whatsapp_accounts`");
    let rule = subscription(&policy, "subscribe:whatsapp");
    for (name, claims) in all_claims() {
        for (outcome, argument) in [("allowed", json!("2")), ("refused", json!("none"))] {
            let is_allowed = outcome == "allowed" || name == "wildcard";
            let asking = asking(&claims, &argument);
            assert_eq!(rule.enter(&asking, &mut Trail::counting()).is_ok(), is_allowed);
            measure(&format!("{name}, {outcome}"), || {
                rule.enter(&asking, &mut Trail::counting()).is_ok()
            });
        }
    }
    println!("\nconnection: all rules of the bundled policy");
    for (name, claims) in all_claims() {
        let (claims, query) = (Claims::unverified(claims, 0), json!({"botId": "b1"}));
        measure(name, || {
            policy
                .admit(&claims, &query, now(), &mut Trail::counting())
                .unwrap()
        });
    }
    println!("\nevents");
    let claims = json!({"sub": "42"});
    let argument = json!({"contactId": "7", "whatsappAccountId": "w"});
    let asking = asking(&claims, &argument);
    let typing = relay(&policy, "typing:start");
    measure("is typing: room and argument", || {
        let room = typing.room(&asking, &mut Trail::counting()).unwrap();
        (room, typing.begin(&asking).unwrap())
    });
    let ping = reply(&policy, "ping");
    measure("ping: event and ack", || {
        (ping.data(&asking).unwrap(), ping.ack(&asking).unwrap())
    });
    worst();
}

/// The most work that the bounds let somebody order: loops inside of loops, over as much as is still affordable.
fn worst() {
    println!("\nthe dearest that is still evaluated, by what it does");
    for (name, condition) in [
        ("no loop: in", "arg in claims.a || '*' in claims.a"),
        (
            "no loop: comparing lists",
            "claims.a == claims.b || claims.b == claims.a",
        ),
        ("one loop", "claims.a.all(x, x >= 0)"),
        ("one loop: in", "claims.a.all(x, !(x in claims.b))"),
        ("one loop: map", "size(claims.a.map(x, x + 1)) > 0"),
        ("one loop: map of lists", "size(claims.a.map(x, claims.b)) > 0"),
        ("one loop: text", "claims.t.all(x, !x.contains('b'))"),
        ("one loop: pattern", "claims.t.all(x, !x.matches('(a|b)*c$'))"),
        ("two loops", "claims.a.all(x, claims.a.all(y, x + y >= 0))"),
        (
            "two loops: in",
            "claims.a.all(x, claims.a.all(y, !(x in claims.b)))",
        ),
        (
            "three loops",
            "claims.a.all(x, claims.a.all(y, claims.a.all(z, x + y + z >= 0)))",
        ),
        (
            "three loops: lists",
            "claims.a.all(x, claims.a.all(y, claims.a.all(z, claims.b == claims.b)))",
        ),
        (
            "three loops: map",
            "size(claims.a.map(x, claims.a.map(y, claims.a.map(z, x)))) > 0",
        ),
        (
            "loops of its own",
            "[1,2,3,4,5,6,7,8,9].all(x, [1,2,3,4,5,6,7,8,9].all(y, [1,2,3,4,5,6,7,8,9].all(z, x + y + z > 0)))",
        ),
    ] {
        let text = format!(
            "[identity]\nuser = \"claims.sub\"\n[[subscribe]]\nevent = \"e\"\nroom = \"r:{{arg}}\"\nallow = {}\n",
            json!(condition)
        );
        let policy = Policy::parse(&text).unwrap();
        let rule = subscription(&policy, "e");
        let argument = json!("x");
        let took = |size: u64| {
            let claims = large(size);
            let mut trail = Trail::counting();
            let start = Instant::now();
            let _ = black_box(rule.enter(&asking(&claims, &argument), &mut trail));
            (trail.failures() == 0).then(|| start.elapsed())
        };
        // The largest that is not refused.
        let (mut fine, mut refused) = (1, 1_000_000);
        while refused - fine > 1 {
            let middle = (fine + refused) / 2;
            match took(middle) {
                Some(_) => fine = middle,
                None => refused = middle,
            }
        }
        let best = (0..5).filter_map(|_| took(fine)).min().unwrap_or_default();
        println!("  {name:26} {:9.2} ms, lists of {fine}", best.as_secs_f64() * 1e3);
    }
}

/// Lists of a size, of numbers and of texts.
fn large(size: u64) -> Value {
    let numbers: Vec<u64> = (0..size).collect();
    let texts: Vec<String> = (0..size).map(|_| "a".repeat(15)).collect();
    json!({"sub": "u", "a": numbers, "b": numbers.iter().map(|n| n + size).collect::<Vec<_>>(), "t": texts})
}

fn measure<T>(name: &str, mut work: impl FnMut() -> T) {
    for _ in 0..100 {
        black_box(work());
    }
    let (mut times, start) = (0_u32, Instant::now());
    while start.elapsed() < LONG_ENOUGH {
        for _ in 0..100 {
            black_box(work());
        }
        times += 100;
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(times);
    println!("  {name:38} {each:9.2} µs");
}

fn all_claims() -> [(&'static str, Value); 3] {
    let claims = |accounts: Vec<String>| {
        json!({
            "sub": "42", "tenant_id": "acme", "account_id": "17", "iss": "https://id.example.com", "exp": 1_800_000_000,
            "whatsapp_accounts": accounts, "campaigns": ["1"], "contacts": ["*"], "bots": ["b1"]
        })
    };
    [
        ("3 accounts", claims(["1", "2", "3"].map(str::to_owned).into())),
        (
            "1,000 accounts",
            claims((0..1_000).map(|n| n.to_string()).collect()),
        ),
        ("wildcard", claims(vec!["*".to_owned()])),
    ]
}

fn asking<'a>(claims: &'a Value, argument: &'a Value) -> Asking<'a> {
    Asking {
        claims,
        identity: Box::leak(Box::new(Identity {
            user: "42".into(),
            tenant: Some("acme".to_owned()),
        })),
        argument,
        now: now(),
    }
}

fn subscription<'a>(policy: &'a Policy, event: &str) -> &'a Subscription {
    match policy.rule(event) {
        Some(Rule::Subscribe(rule)) => rule,
        other => panic!("{event} is {other:?}"),
    }
}

fn relay<'a>(policy: &'a Policy, event: &str) -> &'a Relay {
    match policy.rule(event) {
        Some(Rule::Relay(rule)) => rule,
        other => panic!("{event} is {other:?}"),
    }
}

fn reply<'a>(policy: &'a Policy, event: &str) -> &'a Reply {
    match policy.rule(event) {
        Some(Rule::Reply(rule)) => rule,
        other => panic!("{event} is {other:?}"),
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}
