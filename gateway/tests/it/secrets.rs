//! No secret is shown by what holds it. That none stands in the output of running nodes is looked for after the suites of
//! the official client.

use std::collections::BTreeMap;

use gateway::{
    config::{Config, keys},
    settings::{Env as _, Kind, Layers, MapEnv, Reader},
};

use crate::{config::Folder, tls::certificate};

/// Every place for a secret, with one of its own in it: in the environment, and in files.
fn environment(folder: &Folder) -> (MapEnv, Vec<String>) {
    let (chain, key) = certificate("localhost");
    folder.file("tls.pem", &chain);
    folder.file("tls.key", &key);
    folder.file(
        "cluster.key",
        "hunter2-cluster-0123456789\nhunter2-cluster-before-0123",
    );
    let env = [
        ("POLICY", "builtin:whatsapp-crm"),
        ("AUTH__JWT__HMAC_SECRET", "hunter2-hmac-0123456789-0123456789"),
        (
            "AUTH__JWT__HMAC_PREVIOUS_SECRET",
            "hunter2-before-0123456789-0123456789",
        ),
        ("API__KEYS", "hunter2-admin,hunter2-admin-2"),
        ("API__PUBLISH_KEYS", "hunter2-publish"),
        ("API__READ_KEYS", "hunter2-read"),
        ("REDIS__URL", "redis://user:hunter2-redis@127.0.0.1:6379"),
        ("CLUSTER__SECRET_FILE", "cluster.key"),
        ("WEBHOOK__URL", "https://127.0.0.1/hook?key=hunter2-webhook"),
        ("WEBHOOK__SECRET", "hunter2-webhook-0123456789"),
        ("WEBHOOK__PREVIOUS_SECRET", "hunter2-webhook-before-0123456789"),
        ("AMQP__URL", "amqp://user:hunter2-amqp@127.0.0.1"),
        ("SERVER__TLS_CERT_FILE", "tls.pem"),
        ("SERVER__TLS_KEY_FILE", "tls.key"),
        ("OPS__TLS_CERT_FILE", "tls.pem"),
        ("OPS__TLS_KEY_FILE", "tls.key"),
    ];
    let value = |name: &str, value: &str| match name.strip_suffix("_FILE") {
        Some(_) => folder.0.join(value).display().to_string(),
        None => value.to_owned(),
    };
    let env: BTreeMap<String, String> = env
        .iter()
        .map(|(name, text)| (format!("ROOMCAST__{name}"), value(name, text)))
        .collect();
    let mut secrets: Vec<String> = key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::to_owned)
        .collect();
    assert!(!secrets.is_empty());
    secrets.push("hunter2".to_owned());
    (MapEnv(env), secrets)
}

fn assert_silent(what: &str, shown: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!shown.contains(secret), "{what} shows a secret: {shown}");
    }
}

#[test]
fn what_holds_secrets_does_not_show_them() {
    let folder = Folder::new("secrets");
    let (env, secrets) = environment(&folder);
    let is_secret = |kind: Kind| kind.is_secret();
    for key in keys().filter(|key| is_secret(key.kind)) {
        assert!(
            env.with_prefix(&key.env_name()).len() == 1,
            "{} is a secret, and not part of this test",
            key.path
        );
    }
    let layers = || Layers::load(None, &env, &[]);
    let reader = Reader::new(layers(), keys().collect());
    let config = Config::from_layers(layers()).expect("a valid configuration");
    for (what, shown) in [
        ("the environment", format!("{env:?}")),
        ("the layers", format!("{:?}", layers())),
        ("the reader", format!("{reader:?}")),
        ("the configuration", format!("{config:?} {config:#?}")),
        (
            "the keys of tokens",
            format!("{:?} {:?}", config.auth, config.auth.keys),
        ),
        ("the API's keys", format!("{:?}", config.admin.api_keys)),
        ("the cluster", format!("{:?}", config.cluster)),
        ("the certificates", format!("{:?}", config.tls)),
        ("the webhook", format!("{:?}", config.webhook)),
        ("queues", format!("{:?}", config.ingest)),
    ] {
        assert!(!shown.is_empty());
        assert_silent(what, &shown, &secrets);
    }
}

#[test]
fn problems_repeat_no_secret() {
    let folder = Folder::new("secrets-bad");
    let (MapEnv(mut env), secrets) = environment(&folder);
    folder.file("cluster.key", "hunter2");
    folder.file("tls.pem", &certificate("other").0);
    for (name, value) in [
        ("API__READ_KEYS", "hunter2 read"),
        ("REDIS__URL", "redis://user:hunter2-redis@[no-host"),
        ("WEBHOOK__URL", "ftp://user:hunter2-webhook@127.0.0.1"),
        ("WEBHOOK__SECRET", "hunter2"),
        ("AMQP__URL", "amqp://user:hunter2-amqp@[no-host"),
        ("AUTH__JWT__ALGORITHMS", "RS256"),
    ] {
        env.insert(format!("ROOMCAST__{name}"), value.to_owned());
    }
    let problems = Config::from_layers(Layers::load(None, &MapEnv(env), &[]))
        .map(|_| ())
        .unwrap_err();
    assert!(problems.0.len() >= 9, "{problems}");
    assert_silent("the list of problems", &problems.to_string(), &secrets);
    assert_silent("the list of problems", &format!("{problems:?}"), &secrets);
}
