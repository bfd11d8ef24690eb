//! Identity providers by script, and a verifier that uses them, on a clock that stands still until everybody waits.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    super::{
        Config, Keys, Material, Verifier,
        test_keys::{self, set},
    },
    *,
};
use crate::refusal::Refusal;

pub(super) const S: Duration = Duration::from_secs(1);
pub(super) const A: &str = "https://a.example/keys?secret=1";
pub(super) const B: &str = "https://b.example/keys";

/// What an identity provider does when it is asked.
#[derive(Clone)]
pub(super) enum Doing {
    Answers(String, Option<Duration>),
    Takes(Duration, String),
    Fails(FetchOutcome),
    Stalls,
}

/// Identity providers that do as they are told.
#[derive(Default)]
struct Script {
    doing: Mutex<HashMap<&'static str, Doing>>,
    asked: AtomicUsize,
}

impl Source for Script {
    async fn fetch(&self, url: &Uri, _: Duration) -> Result<Fetched, Missed> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let doing = self.doing.lock().unwrap().get(url.to_string().as_str()).cloned();
        let answer = |text: String, max_age| {
            Ok(Fetched {
                text: text.into(),
                max_age,
            })
        };
        match doing {
            Some(Doing::Answers(text, max_age)) => answer(text, max_age),
            Some(Doing::Takes(long, text)) => {
                tokio::time::sleep(long).await;
                answer(text, None)
            }
            Some(Doing::Fails(outcome)) => Err(Missed(outcome, "as the script says".to_owned())),
            Some(Doing::Stalls) => std::future::pending().await,
            None => Err(Missed(FetchOutcome::Unreachable, "nobody".to_owned())),
        }
    }
}

/// A verifier whose key sets are fetched from a script.
pub(super) struct Stage {
    script: Arc<Script>,
    metrics: Metrics,
    pub(super) verifier: Verifier,
    _task: JoinSet<String>,
}

impl Stage {
    pub(super) fn new(config: Config, doing: &[(&'static str, Doing)]) -> Stage {
        let (script, metrics) = (Arc::new(Script::default()), Metrics::new().unwrap());
        let (sets, KeyFetcher { wanted, .. }) = key_sets(&metrics);
        let mut task = JoinSet::new();
        let (source, counting) = (script.clone(), metrics.clone());
        task.spawn(async move { fetch_all(&wanted, &*source, &counting).await });
        let stage = Stage {
            script,
            metrics,
            verifier: Verifier::fetching(config, sets),
            _task: task,
        };
        for (url, doing) in doing {
            stage.now(url, doing.clone());
        }
        stage
    }

    /// With one URL, which answers with these keys. They have been fetched.
    pub(super) async fn with(keys: &[Value]) -> Stage {
        let stage = Stage::new(config(&[A], &[], |_| {}), &[(A, answers(keys))]);
        stage.fetches(1).await;
        stage
    }

    pub(super) fn now(&self, url: &'static str, doing: Doing) {
        self.script.doing.lock().unwrap().insert(url, doing);
    }

    pub(super) fn asked(&self) -> usize {
        self.script.asked.load(Ordering::SeqCst)
    }

    /// Until so many fetches were made in all, and the last has had its moment.
    pub(super) async fn fetches(&self, count: usize) {
        while self.asked() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// What becomes of a token, and how long that takes.
    pub(super) async fn verify(&self, token: &str) -> (Option<Refusal>, Duration) {
        let began = Instant::now();
        let refused = self.verifier.verify(token, test_keys::now()).await.err();
        (refused, began.elapsed())
    }

    /// As for a token whose key is here: let in without any time passing.
    pub(super) async fn lets_in_at_once(&self, token: &str) {
        assert_eq!(self.verify(token).await, (None, Duration::ZERO));
    }

    pub(super) fn sample(&self, name: &str) -> f64 {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }
}

pub(super) fn answers(keys: &[Value]) -> Doing {
    Doing::Answers(set(keys), None)
}

pub(super) fn config(urls: &[&str], issuers: &[&str], change: impl FnOnce(&mut Material<'_>)) -> Config {
    let mut material = Material {
        urls: urls.iter().map(|url| url.parse().unwrap()).collect(),
        ..Material::default()
    };
    change(&mut material);
    Config {
        keys: Keys::of(material, &[]).unwrap(),
        issuers: issuers.iter().map(|issuer| (*issuer).to_owned()).collect(),
        audiences: vec![],
        leeway: Duration::ZERO,
        query_token: false,
    }
}
