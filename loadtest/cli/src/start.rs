//! From the command line to a run, and from a run to its outcome.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Map;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::args::{API_KEY, Arguments, SECRET};
use crate::attack::attack;
use crate::backend::{Api, Backend, KeyRefused, Redis, RedisError};
use crate::client::{Client, Door};
use crate::clock::{self, Watch};
use crate::measure::Recorder;
use crate::plan::{Plan, Seat};
use crate::report::{self, Circumstances, Report, Request};
use crate::run::Run;
use crate::stage::Stage;
use crate::terminal;
use crate::tokens::Profile;
use crate::verdict::{Limits, Outcome, judge};

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something that was asked for cannot be.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(String),
    /// Something of the machine or of goose.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => crate::USAGE,
            Self::Unreachable(_) => 69,
            Self::Broken(_) => 70,
        }
    }
}

/// The whole program.
pub(crate) async fn start(arguments: Arguments) -> Result<Outcome, Failure> {
    let profiles = profiles(&arguments)?;
    let plan = arguments
        .scenario
        .plan(&profiles, &arguments.load())
        .map_err(Failure::Usage)?;
    for path in &arguments.reports {
        // Better now than after half an hour.
        write(path, "")?;
    }
    let doors: Vec<Door> = arguments
        .targets
        .iter()
        .map(|target| Door {
            target: target.clone(),
            path: arguments.path.clone(),
        })
        .collect();
    let backend = backend(&arguments, &plan).await?;
    knock(&doors, &profiles, &plan).await?;

    let run = Arc::new(Run {
        id: RandomState::new().build_hasher().finish() as u32,
        recorder: Recorder::new(&plan.labels),
        plan,
        profiles,
        doors,
        backend,
        payload: arguments.payload as usize,
        polling_percent: arguments.polling,
        grace: arguments.grace,
        stage: Stage::default(),
    });
    let (began, processor) = (SystemTime::now(), clock::processor_time());
    let watch = Arc::new(Watch::start());
    let mut ticking = JoinSet::new();
    ticking.spawn(tick(Arc::clone(&run), Arc::clone(&watch), arguments.quiet));
    // Users of a storm wait for their turn, so they have to be there before it.
    let storm = run.plan.arrival.map_or(0, |rate| (rate * 2.0).ceil() as u32);
    let requests = attack(
        Arc::clone(&run),
        &arguments.scenario.name(),
        arguments.ramp_up.max(storm),
    )
    .await;
    let requests = requests.map_err(|error| Failure::Broken(format!("goose: {error}")))?;
    ticking.shutdown().await;
    let point = run.recorder.tick(watch.elapsed());
    let circumstances = Circumstances {
        users: run.profiles.len() as u64,
        elapsed: watch.elapsed(),
        processor: clock::processor_time().saturating_sub(processor),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        clock_moved_ms: watch.moved_ms(),
        interrupted: run.is_interrupted(),
    };
    if !arguments.quiet {
        let (due, delivered) = run.recorder.balance();
        terminal::tell(&report::progress(&point, due, delivered));
    }
    let report = gather(&arguments, &run, &circumstances, began, requests);
    for path in &arguments.reports {
        write(path, &report.file(path))?;
    }
    terminal::show(&report::console(&report));
    Ok(report.verdict.outcome)
}

/// Who the clients are.
fn profiles(arguments: &Arguments) -> Result<Vec<Profile>, Failure> {
    let users = arguments.users as usize;
    if let Some(path) = &arguments.tokens {
        let text = read(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let read: Result<Vec<Profile>, Failure> = (1..)
            .zip(lines)
            .take(users)
            .map(|(number, line)| {
                Profile::read(line)
                    .map_err(|why| Failure::Usage(format!("{}: token {number} {why}", path.display())))
            })
            .collect();
        let profiles = read?;
        return if profiles.len() == users {
            Ok(profiles)
        } else {
            Err(Failure::Usage(format!(
                "{} has {} tokens for {users} users: add some, or say --users {}",
                path.display(),
                profiles.len(),
                profiles.len()
            )))
        };
    }
    let secret = secret(arguments.secret_file.as_deref(), SECRET).ok_or_else(|| {
        Failure::Usage(format!(
            "there is nothing to sign tokens with: set {SECRET} or --secret-file to the nodes' auth.jwt.hmac_secret, or give \
             --tokens"
        ))
    })??;
    let more: Map<_, _> = arguments.claims.iter().cloned().collect();
    // Long enough for the run, and for whoever is late.
    let lifetime = arguments.duration * 2 + Duration::from_secs(3600);
    let expires = clock::now() / 1_000_000 + lifetime.as_secs();
    let groups = arguments.rooms as usize;
    Ok((0..users)
        .map(|number| Profile::made(secret.as_bytes(), number, number % groups.max(1), expires, &more))
        .collect())
}

/// From a file, or from the environment; nothing when neither is there.
fn secret(file: Option<&Path>, variable: &str) -> Option<Result<String, Failure>> {
    match file {
        Some(path) => Some(read(path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())),
        None => std::env::var(variable)
            .ok()
            .filter(|value| !value.is_empty())
            .map(Ok),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::Usage(format!("{} cannot be written: {error}", path.display())))
}

/// What publishes, where the plan needs it; made sure of before anybody connects.
async fn backend(arguments: &Arguments, plan: &Plan) -> Result<Option<Backend>, Failure> {
    if !plan.has_publications() {
        return Ok(None);
    }
    if let Some(url) = &arguments.redis {
        let redis = Redis::open(url, &arguments.redis_prefix)
            .await
            .map_err(|error| match error {
                RedisError::Url => Failure::Usage(error.to_string()),
                RedisError::Unreachable => Failure::Unreachable(error.to_string()),
            })?;
        return Ok(Some(Backend::Redis(redis)));
    }
    let key = secret(arguments.api_key_file.as_deref(), API_KEY).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no API key to publish with: set {API_KEY} or --api-key-file to one of the nodes' api.keys, or give \
             --redis"
        ))
    })??;
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build();
    let http = http.map_err(|error| Failure::Broken(format!("no HTTP client: {error}")))?;
    let api = Api::new(http, &arguments.apis, &key);
    api.check().await.map_err(|error| match error {
        KeyRefused::Unreachable(_) => {
            Failure::Unreachable(format!("{error}: is a node's operations listener there (--api)?"))
        }
        KeyRefused::Refused(_) => {
            Failure::Usage(format!("{error}: {API_KEY} has to be one of the nodes' api.keys"))
        }
    })?;
    Ok(Some(Backend::Api(api)))
}

/// One client to each target, and away again: what is wrong with all of them is better said once.
async fn knock(doors: &[Door], profiles: &[Profile], plan: &Plan) -> Result<(), Failure> {
    let (Some(profile), Some(seat)) = (profiles.first(), plan.seats.first()) else {
        return Ok(());
    };
    let seat = Seat {
        slow: false,
        ..seat.clone()
    };
    for door in doors {
        match Client::by_websocket(door, &profile.token, &seat).await {
            Ok(client) => client.close().await,
            Err(why) if why.starts_with("refused: ") => {
                return Err(Failure::Usage(format!(
                    "{} refuses the first client: {why}",
                    door.target
                )));
            }
            Err(why) if why.contains("was refused") => {
                return Err(Failure::Usage(format!(
                    "{} refuses what this scenario's clients ask for: {why}; does the node run the scenario's policy?",
                    door.target
                )));
            }
            Err(why) => {
                return Err(Failure::Unreachable(format!(
                    "{} cannot be reached: {why}: is a node's public listener there (--target)?",
                    door.target
                )));
            }
        }
    }
    Ok(())
}

/// A point of the series, and a line for who waits, each second.
async fn tick(run: Arc<Run>, watch: Arc<Watch>, quiet: bool) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds.tick().await;
    loop {
        seconds.tick().await;
        let point = run.recorder.tick(watch.elapsed());
        if !quiet {
            let (due, delivered) = run.recorder.balance();
            terminal::tell(&report::progress(&point, due, delivered));
        }
    }
}

fn gather(
    arguments: &Arguments,
    run: &Run,
    circumstances: &Circumstances,
    began: SystemTime,
    requests: Vec<Request>,
) -> Report {
    let limits = Limits {
        max_lag: arguments.max_lag,
        max_cpu: arguments.max_cpu,
    };
    run.recorder.read(|counts| {
        let figures = report::figures(counts, circumstances);
        Report {
            scenario: arguments.scenario.name(),
            version: env!("CARGO_PKG_VERSION"),
            began: humantime::format_rfc3339_seconds(began).to_string(),
            settings: settings(arguments),
            verdict: judge(&figures, &limits, &arguments.thresholds()),
            figures,
            deliveries: report::deliveries(counts),
            times: report::times(counts),
            connect_failures: counts.connect_failures.clone(),
            publish_failures: counts.publish_failures.clone(),
            losses: counts.losses.clone(),
            slow_losses: counts.slow_losses.clone(),
            to_slow_clients: counts.aside,
            foreign: counts.foreign,
            requests,
            series: counts.series.clone(),
        }
    })
}

/// What was asked for. A URL of Redis may have a password in it, and is not among it.
fn settings(arguments: &Arguments) -> Vec<(&'static str, String)> {
    let load = arguments.load();
    let fail_if: Vec<String> = arguments.thresholds().iter().map(ToString::to_string).collect();
    let published = if arguments.redis.is_some() { "Redis" } else { "API" };
    vec![
        ("targets", arguments.targets.join(", ")),
        ("published by", published.to_owned()),
        ("users", arguments.users.to_string()),
        ("rooms", arguments.rooms.to_string()),
        ("polling, %", arguments.polling.to_string()),
        ("rate, 1/s", load.rate.to_string()),
        ("duration", humantime::format_duration(load.duration).to_string()),
        ("payload, bytes", load.payload.to_string()),
        ("fail if", fail_if.join(", ")),
    ]
}
