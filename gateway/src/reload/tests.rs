//! What another configuration comes to.

use std::collections::BTreeMap;

use super::*;
use crate::settings::MapEnv;

const SECRET: &str = "a-secret-of-more-than-32-bytes-for-tests";

fn node(extra: &[(&str, &str)]) -> config::Config {
    let usual = [
        ("AUTH__JWT__HMAC_SECRET", SECRET),
        ("POLICY", "builtin:whatsapp-crm"),
    ];
    let values = usual.iter().chain(extra);
    let env: BTreeMap<String, String> = values
        .map(|(name, value)| (format!("ROOMCAST__{name}"), (*value).to_owned()))
        .collect();
    config::Config::from_layers(Layers::load(None, &MapEnv(env), &[])).unwrap()
}

#[test]
fn what_is_live_is_taken_over_and_all_else_is_named() {
    let Started(in_force) = Started::with(&node(&[]));
    for (change, live, parts, restart) in [
        (vec![], vec![], vec![], vec![]),
        (vec![("LOG__LEVEL", "info")], vec![], vec![], vec![]),
        (
            vec![("LOG__LEVEL", "debug")],
            vec!["log.level"],
            vec![Part::LogLevel],
            vec![],
        ),
        (
            vec![
                ("AUTH__JWT__HMAC_SECRET", "another secret"),
                ("AUTH__JWT__ISSUER", "me"),
            ],
            vec!["auth.jwt.hmac_secret", "auth.jwt.issuer"],
            vec![Part::Tokens],
            vec![],
        ),
        (
            vec![("API__READ_KEYS", "k")],
            vec!["api.read_keys"],
            vec![Part::ApiKeys],
            vec![],
        ),
        (
            vec![("SHADOW_POLICY", "builtin:whatsapp-crm")],
            vec!["shadow_policy"],
            vec![Part::ShadowPolicy],
            vec![],
        ),
        (
            vec![("RELOAD__WATCH", "false")],
            vec!["reload.watch"],
            vec![Part::Reload],
            vec![],
        ),
        (
            vec![
                ("LISTEN", "127.0.0.1:9"),
                ("REDIS__PREFIX", "other"),
                ("API__KEYS", "k"),
            ],
            vec!["api.keys"],
            vec![Part::ApiKeys],
            vec!["listen", "redis.prefix"],
        ),
        (
            vec![
                ("LIMITS__EVENTS_PER_SECOND", "5"),
                ("LIMITS__MAX_EVENT_BYTES", "1KiB"),
            ],
            vec!["limits.events_per_second"],
            vec![Part::Limits],
            vec!["limits.max_event_bytes"],
        ),
        (vec![("DRAIN__TIMEOUT", "25000ms")], vec![], vec![], vec![]),
    ] {
        let plan = in_force.plan(&node(&change));
        let restart = restart.into_iter().map(str::to_owned).collect();
        assert_eq!(plan, Plan { live, parts, restart }, "{change:?}");
    }
}

#[test]
fn what_needs_a_restart_is_named_until_it_is_taken_back() {
    let Started(mut in_force) = Started::with(&node(&[]));
    let other = node(&[("LISTEN", "127.0.0.1:9"), ("LOG__LEVEL", "debug")]);
    let plan = in_force.plan(&other);
    in_force.picture.adopt(&plan.live, &other.picture);
    let again = in_force.plan(&other);
    assert_eq!((again.live, again.restart), (vec![], vec!["listen".to_owned()]));
    let back = in_force.plan(&node(&[]));
    assert_eq!((back.live, back.restart), (vec!["log.level"], vec![]));
}

#[test]
fn another_channel_of_backends_waits_for_a_restart() {
    let folder = std::env::temp_dir().join(format!("roomcast-channels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let with = |channel: &str| {
        let file = folder.join(channel);
        let text = format!(
            "[identity]\nuser = \"claims.sub\"\n[[ingest]]\nsource = \"channel:{channel}\"\nroom = \"r\"\nevent = \"e\"\n"
        );
        std::fs::write(&file, text).unwrap();
        node(&[("POLICY", file.to_str().unwrap())])
    };
    let Started(in_force) = Started::with(&with("one"));
    let plan = in_force.plan(&with("two"));
    assert_eq!(plan.parts, [Part::Policy]);
    assert_eq!(plan.restart.len(), 1);
    assert!(plan.restart[0].contains("two"), "{plan:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
