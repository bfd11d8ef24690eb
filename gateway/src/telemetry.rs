//! Logs: info for connections, debug for emits and joins, error for failures; never a token.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::settings::{Key, Kind, Reader};

const LEVEL: &str = "log.level";
const FORMAT: &str = "log.format";

/// The keys of this module.
pub const KEYS: &[Key] = &[
    Key {
        path: LEVEL,
        kind: Kind::String,
        default: "info",
        doc: "`error`, `warn`, `info`, `debug` or `trace`.",
    },
    Key {
        path: FORMAT,
        kind: Kind::String,
        default: "auto",
        doc: "`json`, `pretty`, or `auto`: pretty on a terminal, JSON elsewhere.",
    },
];

/// Those that a running node takes over.
pub const LIVE: &[&str] = &[LEVEL];

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The least important level that is written.
    pub level: LevelFilter,
    /// Whether lines are JSON.
    pub json: bool,
}

impl Config {
    /// Reads this module's part.
    pub fn read(reader: &mut Reader) -> Config {
        let level = reader.string(LEVEL);
        let format = reader.string(FORMAT);
        let parsed = match level.as_str() {
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            other => {
                reader.problem(LEVEL, other, "error, warn, info, debug or trace");
                LevelFilter::INFO
            }
        };
        let json = match format.as_str() {
            "json" => true,
            "pretty" => false,
            "auto" => !std::io::stderr().is_terminal(),
            other => {
                reader.problem(FORMAT, other, "json, pretty or auto");
                true
            }
        };
        Config { level: parsed, json }
    }
}

/// How much is logged, while the process runs. The default is that of a process whose log is somebody else's: nothing
/// can be set there.
#[derive(Debug, Clone, Default)]
pub struct LogLevel(Option<reload::Handle<Targets, Registry>>);

impl LogLevel {
    /// From now on this is logged. Answers whether there is a log of ours.
    pub fn set(&self, level: LevelFilter) -> bool {
        self.0
            .as_ref()
            .is_some_and(|log| log.reload(targets(level)).is_ok())
    }
}

/// Starts logging to standard error. Does nothing when the process logs already.
pub fn start(config: Config) -> LogLevel {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let layer = if config.json {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter)
            .boxed()
    };
    let started = tracing_subscriber::registry().with(layer).try_init();
    LogLevel(started.is_ok().then_some(handle))
}

/// Libraries below info are noise, and some of them would write what a client sent.
fn targets(level: LevelFilter) -> Targets {
    let ours = ["gateway", "roomcast", "adapter_redis"].map(|target| (target, level));
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // What it says of each attempt to connect is said by us, once.
        .with_target("lapin", LevelFilter::OFF)
        .with_targets(ours)
}
