//! `roomcast serve`: configuration → telemetry → node → run until a signal → exit code.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use futures_util::stream;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, print};
use crate::{
    app::{App, AppError},
    config::Config,
    dev::Dev,
    reload::Source,
    settings::{Layers, ProcessEnv},
    telemetry::{self, LogLevel},
};

#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// Run without any configuration: no Redis, loopback only, a demo page, a ready token
    #[arg(long)]
    dev: bool,
    /// Address of the public listener
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of the operations listener
    #[arg(long, value_name = "ADDR")]
    ops_listen: Option<SocketAddr>,
    /// Serve this build of socket.io-client to the demo page instead of the one from the CDN
    #[arg(long, value_name = "PATH", requires = "dev")]
    client_bundle: Option<PathBuf>,
}

pub(super) fn run(file: Option<PathBuf>, arguments: Arguments) -> Result<(), Failure> {
    let mut flags: Vec<(&str, String)> = Vec::new();
    if let Some(address) = arguments.listen {
        flags.push(("listen", address.to_string()));
    }
    if let Some(address) = arguments.ops_listen {
        flags.push(("ops.listen", address.to_string()));
    }
    let load = move || Layers::load(file.as_deref(), &ProcessEnv, &flags);
    let (config, dev, source) = if arguments.dev {
        let (config, dev) =
            Dev::prepare(load(), arguments.client_bundle.as_deref()).map_err(Failure::usage)?;
        let made_up = dev.made_up();
        (config, Some(dev), Source::new(move || made_up.add_to(load())))
    } else {
        (Config::from_layers(load())?, None, Source::new(load))
    };
    let log = telemetry::start(config.telemetry);
    config.auth.keys.warn_if_weak();
    config.rules.log_warnings();
    config.tls.log_warnings();
    runtime()?.block_on(serve(config, dev, source, log))
}

/// One thread where there is one core: nothing has to be handed from thread to thread then.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let one_core = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
    let mut builder = match one_core {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::unavailable(format!("cannot start: {error}")))
}

async fn serve(config: Config, dev: Option<Dev>, source: Source, log: LogLevel) -> Result<(), Failure> {
    let terminate = signal(SignalKind::terminate()).map_err(Failure::unavailable)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(Failure::unavailable)?;
    let hangup = signal(SignalKind::hangup()).map_err(Failure::unavailable)?;
    let extras = dev.as_ref().map(Dev::extras).unwrap_or_default();
    let mut app = App::build(config, extras).map_err(|error| match error {
        AppError::Redis(_) => Failure::usage(error),
        _ => Failure::unavailable(error),
    })?;
    let reload = app.reload_from(source, log);
    if let Some(dev) = &dev {
        print(&dev.greeting())?;
    } else {
        let public = app.public_address().map_err(Failure::unavailable)?;
        let operations = app.operations_address().map_err(Failure::unavailable)?;
        tracing::info!(listen = %public, ops.listen = %operations, version = env!("CARGO_PKG_VERSION"), "serving");
    }
    let signals = stream::unfold((terminate, interrupt, hangup), async |mut signals| {
        let (terminate, interrupt, hangup) = &mut signals;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Some(((), signals)),
                _ = interrupt.recv() => return Some(((), signals)),
                Some(()) = hangup.recv() => reload.ask(),
            }
        }
    });
    app.run(signals).await.map_err(Failure::unavailable)
}
