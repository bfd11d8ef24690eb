//! `roomcast-loadtest`: load scenarios for Roomcast.
//!
//! A run is decided before it begins: a scenario makes a plan of clients, rooms and a schedule. Then goose launches the
//! clients, one more user lets the acts of the plan follow each other, and everybody tells one recorder what was due and
//! what came. In the end the verdict says what the figures are worth.
//!
//! # Layout
//!
//! * `args`, `tokens`: what is asked for, and as whom.
//! * `scenarios`, `plan`, `schedule`, `mark` (pure): what will happen, when, and how it is recognized.
//! * `measure`, `verdict`, `report` (pure): what happened, and what it is worth.
//! * `client`, `backend`, `clock` (I/O): a connection, publishing, the time.
//! * `stage`, `run`, `attack`: who does what when; `attack` is where goose is started.
//! * `start`, `terminal`: from the command line to a run, and to the terminal.

mod args;
mod attack;
mod backend;
mod client;
mod clock;
mod mark;
mod measure;
mod plan;
mod report;
mod run;
mod scenarios;
mod schedule;
mod stage;
mod start;
mod terminal;
mod tokens;
mod verdict;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::Arguments;

/// Wrong arguments, as `sysexits.h` has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // When nobody reads it, there is nobody to tell.
            let _closed = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(USAGE)
            };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(start::start(arguments)),
        Err(error) => Err(start::Failure::Broken(format!("no runtime: {error}"))),
    };
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(failure) => {
            terminal::complain(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}
