//! `roomcast health`: whether a node is alive, for containers, which have no other program that could ask.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, block_on, http, print};
use crate::{
    admin, config,
    settings::{Layers, Problems, ProcessEnv, Reader},
    tls,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A node's operations listener, such as http://127.0.0.1:3001 or https://node.example:3001; without it the one of the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let (url, problems) = match arguments.url {
        Some(url) => (url, Ok(())),
        None => configured(file.as_deref()),
    };
    match block_on(http::ask(&url, "/livez")) {
        Ok((status, answer)) if status.is_success() => print(String::from_utf8_lossy(&answer).trim_end()),
        Ok((status, _)) => Err(Failure::unavailable(format!("{url} answered {status}"))),
        Err(failure) => {
            problems?;
            Err(failure)
        }
    }
}

/// Where the operations listener is, and what is wrong with the configuration as far as that takes reading it.
///
/// A node goes on with its old configuration while a file is wrong: nobody may take it for dead then. So a problem
/// counts when there is no answer, as what may explain that. Policies, keys and certificates are not looked at.
fn configured(file: Option<&Path>) -> (String, Result<(), Problems>) {
    let layers = Layers::load(file, &ProcessEnv, &[]);
    let mut reader = Reader::new(layers, config::keys().collect());
    let listen = admin::listen(&mut reader);
    let by_tls = tls::on_operations(&mut reader);
    (http::url_of(by_tls, listen), reader.finish())
}
