//! The command line. Every mistake that a person can make here ends with a sentence that says how to mend it, and
//! with exit code 64; never with a panic.

mod explain;
mod health;
mod http;
mod publish;
mod revoke;
mod serve;
mod stats;
mod tail;
mod token;

use std::{ffi::OsString, fmt, io::Write, path::PathBuf, process::ExitCode, time::SystemTime};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::Config,
    settings::{Problems, ProcessEnv},
};

/// Exit code of bad arguments and bad configuration (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// Exit code when something that is needed is not there (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;

#[derive(Debug, Parser)]
#[command(
    name = "roomcast",
    version,
    about = "A Socket.IO server that nobody has to program",
    after_help = "Try it: roomcast serve --dev"
)]
struct Cli {
    /// Configuration file (.toml, .yaml or .json)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (also what happens without a command)
    Serve(serve::Arguments),
    /// Check a configuration file and the policy it names, and report everything that is wrong
    CheckConfig(CheckConfig),
    /// Print the reference of all configuration keys as Markdown
    ConfigDoc,
    /// Sign a token with the configured secret
    Token(token::Arguments),
    /// Explain what the policy decides for a client: which rule, on which claims, with which outcome
    Explain(explain::Arguments),
    /// Publish an event to a room, through Redis or the API
    Publish(publish::Arguments),
    /// Revoke a token or a user's tokens on all nodes: who is connected with one goes, and it is refused
    Revoke(revoke::Arguments),
    /// Show what the cluster holds now
    Stats(stats::Arguments),
    /// Show what passes nodes, live: events with their hops, refusals, drops
    Tail(tail::Arguments),
    /// Ask whether a node is alive: exit code 0, or 69 when it does not answer
    Health(health::Arguments),
}

#[derive(Debug, Args)]
struct CheckConfig {
    /// The file to check
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Why a command did not do its work.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn usage(message: impl fmt::Display) -> Failure {
        Failure {
            code: USAGE,
            message: message.to_string(),
        }
    }

    fn unavailable(message: impl fmt::Display) -> Failure {
        Failure {
            code: UNAVAILABLE,
            message: message.to_string(),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Failure {
        let count = problems.0.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        Failure::usage(
            format!("the configuration has {count} {noun}:\n{problems}")
                .trim_end()
                .to_owned(),
        )
    }
}

/// Runs a command line and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes. A closed pipe has nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "roomcast: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let config = cli.config;
    match cli.command.unwrap_or(Command::Serve(serve::Arguments::default())) {
        Command::Serve(arguments) => serve::run(config, arguments),
        Command::CheckConfig(arguments) => {
            let file = arguments.file.or(config);
            let file = file.ok_or_else(|| Failure::usage("check-config needs the file to check"))?;
            let config = Config::load(Some(&file), &ProcessEnv, &[])?;
            let warnings = config.rules.policy.warnings().iter().map(ToString::to_string);
            for warning in warnings.chain(config.tls.warnings(SystemTime::now())) {
                print(&format!("warning: {warning}"))?;
            }
            print(&format!("{}: ok", file.display()))
        }
        Command::ConfigDoc => print(crate::config::markdown().trim_end()),
        Command::Token(arguments) => token::run(config, arguments),
        Command::Explain(arguments) => return explain::run(config, arguments),
        Command::Publish(arguments) => publish::run(config, arguments),
        Command::Revoke(arguments) => revoke::run(config, arguments),
        Command::Stats(arguments) => stats::run(config, arguments),
        Command::Tail(arguments) => tail::run(config, arguments),
        Command::Health(arguments) => health::run(config, arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a line to standard output. A reader that went away (`roomcast config-doc | head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::unavailable(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// The runtime for commands that talk to somebody once.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unavailable(format!("cannot start: {error}")))?
        .block_on(work)
}
