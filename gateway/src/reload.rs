//! Another configuration for a running node, without dropping a connection: read again when somebody asks for it, and
//! when a file has another content. All of it is taken over, or nothing.
//!
//! What the configuration is made of may change at any time; what is made of it is whole. `config/live.rs` says which
//! keys are live; a change of any other is named in the log, and waits for a restart.

mod apply;
mod watch;

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Notify,
    task::{JoinError, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval},
};

pub use self::apply::Live;
use self::watch::{Look, Watch};
use crate::{
    config::{self, Part},
    metrics::{Metrics, Reloaded},
    sessions::Followed,
    settings::{Fingerprint, Key, Kind, Layers, Picture, Problems, Reader},
};

const WATCH: &str = "reload.watch";
const RECHECK_ROOMS: &str = "reload.recheck_rooms";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: WATCH,
        kind: Kind::Bool,
        default: "true",
        doc: "Whether the configuration is read again when the content of its file, or of a file that it names, is another one. SIGHUP works in any case.",
    },
    Key {
        path: RECHECK_ROOMS,
        kind: Kind::Bool,
        default: "true",
        doc: "Whether clients that are connected follow another policy: they leave rooms that it no longer gives them, enter those that it gives them on connect, and reconnect where they would be another user. If not, it concerns what they do from then on.",
    },
];

/// Those that a running node takes over: all of them.
pub const LIVE: &[&str] = &[WATCH, RECHECK_ROOMS];

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When to read again, and what to do then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Whether files are looked at.
    pub watch: bool,
    /// Whether clients that are connected follow another policy.
    pub recheck_rooms: bool,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        Config {
            watch: reader.boolean(WATCH),
            recheck_rooms: reader.boolean(RECHECK_ROOMS),
        }
    }
}

/// Where the configuration comes from. Asked again for each reload.
#[derive(Clone)]
pub struct Source(Arc<dyn Fn() -> Layers + Send + Sync>);

impl Source {
    /// Files are read by `load` itself; it may be called at any time, and on any thread.
    pub fn new(load: impl Fn() -> Layers + Send + Sync + 'static) -> Source {
        Source(Arc::new(load))
    }
}

/// Asks for a reload. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Asks. Does not wait for it; who asks while another one is waited for gets the same.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// Reads the configuration again for as long as the node lives.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    asked: Reload,
    live: Live,
    metrics: Metrics,
    in_force: InForce,
    watch: Watch,
}

/// What the node does now.
#[derive(Debug)]
struct InForce {
    picture: Picture,
    watches: bool,
    /// The backends' channels that were subscribed to when the node started.
    channels: Vec<String>,
}

/// What another configuration comes to.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// The keys that are taken over.
    live: Vec<&'static str>,
    parts: Vec<Part>,
    /// What needs a restart.
    restart: Vec<String>,
}

impl Reloader {
    /// Begins with what the node started with.
    pub fn new(source: Source, asked: Reload, live: Live, metrics: Metrics, started: Started) -> Reloader {
        let Started(in_force) = started;
        Reloader {
            watch: Watch::new(in_force.picture.files()),
            source,
            asked,
            live,
            metrics,
            in_force,
        }
    }

    /// Reloads when somebody asks, and when files have another content. Never ends by itself.
    pub async fn run(mut self) -> String {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let watches = self.in_force.watches;
            let reloaded = tokio::select! {
                () = self.asked.0.notified() => self.reload().await,
                _ = looks.tick(), if watches => self.look().await,
            };
            if let Err(error) = reloaded {
                return format!("reading the configuration: {error}");
            }
        }
    }

    /// Looks at the files, and reloads when they have another content that is finished.
    async fn look(&mut self) -> Result<(), JoinError> {
        let paths = self.watch.paths();
        if paths.is_empty() {
            return Ok(());
        }
        let seen = spawn_blocking(move || look_at(paths)).await?;
        if !self.watch.look(seen) {
            return Ok(());
        }
        let (picture, config) = self.load().await?;
        if self
            .watch
            .is_finished(&picture.files(), Instant::now().into_std())
        {
            self.take(picture, config).await;
        }
        Ok(())
    }

    /// Reloads, whatever the files look like: somebody asked.
    async fn reload(&mut self) -> Result<(), JoinError> {
        let (picture, config) = self.load().await?;
        if picture.files().is_empty() {
            tracing::warn!(
                "nothing to reload: there is no configuration file, and no file that the configuration names"
            );
        }
        self.take(picture, config).await;
        Ok(())
    }

    /// Reading and compiling take longer than a task should go without a pause.
    async fn load(&self) -> Result<(Picture, Result<config::Config, Problems>), JoinError> {
        let source = self.source.clone();
        spawn_blocking(move || config::Config::read((source.0)())).await
    }

    async fn take(&mut self, picture: Picture, config: Result<config::Config, Problems>) {
        self.watch.settle(picture.files());
        let outcome = match config {
            Ok(config) => self.apply(config).await,
            Err(Problems(problems)) => {
                let all: Vec<&str> = problems.iter().map(|p| p.0.as_str()).collect();
                tracing::error!(
                    count = all.len(),
                    problems = all.join("; "),
                    "the new configuration is refused, the old one stays in force"
                );
                Reloaded::Refused
            }
        };
        self.metrics.reloaded(outcome, SystemTime::now());
    }

    async fn apply(&mut self, config: config::Config) -> Reloaded {
        let plan = self.in_force.plan(&config);
        if !plan.restart.is_empty() {
            tracing::warn!(
                keys = plan.restart.join(", "),
                "needs a restart, and stays as it is until then"
            );
        }
        if plan.live.is_empty() {
            tracing::info!("the configuration was read again: nothing that can be taken over is another one");
            return Reloaded::Unchanged;
        }
        self.in_force.picture.adopt(&plan.live, &config.picture);
        self.in_force.watches = config.reload.watch;
        let Followed {
            left,
            entered,
            reconnected,
        } = self.live.apply(config, &plan.parts).await;
        tracing::info!(
            changed = plan.live.join(", "),
            rooms.left = left,
            rooms.entered = entered,
            sockets.reconnected = reconnected,
            "the configuration was read again and is in force"
        );
        Reloaded::Applied
    }
}

/// What a node started with, as far as it matters for what comes later.
#[derive(Debug)]
pub struct Started(InForce);

impl Started {
    /// Of the node's whole configuration.
    pub fn with(config: &config::Config) -> Started {
        Started(InForce {
            picture: config.picture.clone(),
            watches: config.reload.watch,
            channels: config.rules.policy.channels(),
        })
    }
}

impl InForce {
    fn plan(&self, new: &config::Config) -> Plan {
        let changed = self.picture.changed(&new.picture);
        let (live, fixed): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| Part::of(key).is_some());
        let parts: BTreeSet<Part> = live.iter().filter_map(|key| Part::of(key)).collect();
        let channels = new.rules.policy.channels().into_iter();
        let unheard = channels
            .filter(|channel| !self.channels.contains(channel))
            .map(|channel| format!("the new [[ingest]] channel {channel} of the policy"));
        Plan {
            live,
            parts: parts.into_iter().collect(),
            restart: fixed.into_iter().map(str::to_owned).chain(unheard).collect(),
        }
    }
}

fn look_at(paths: Vec<PathBuf>) -> Look {
    let look = |path: PathBuf| (path.clone(), Fingerprint::of_file(&path));
    paths.into_iter().map(look).collect()
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

#[cfg(test)]
#[path = "reload/tests.rs"]
mod tests;
