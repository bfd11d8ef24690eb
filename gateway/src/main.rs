//! The binary `roomcast`: command line in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::main(std::env::args_os())
}
