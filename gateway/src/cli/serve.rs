//! `roomcast serve`: configuration → telemetry → node → run until a signal → exit code.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, print};
use crate::{
    app::{App, AppError},
    config::Config,
    dev::Dev,
    settings::{Layers, ProcessEnv},
    telemetry,
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
    let mut flags = Vec::new();
    if let Some(address) = arguments.listen {
        flags.push(("listen", address.to_string()));
    }
    if let Some(address) = arguments.ops_listen {
        flags.push(("ops.listen", address.to_string()));
    }
    let layers = Layers::load(file.as_deref(), &ProcessEnv, &flags);
    let (config, dev) = if arguments.dev {
        let (config, dev) =
            Dev::prepare(layers, arguments.client_bundle.as_deref()).map_err(Failure::usage)?;
        (config, Some(dev))
    } else {
        (Config::from_layers(layers)?, None)
    };
    telemetry::start(config.telemetry);
    if dev.is_none() && config.auth.keys.has_short_secret() {
        tracing::warn!(
            "auth.jwt.hmac_secret is shorter than 32 bytes: such a secret can be guessed from a token"
        );
    }
    runtime()?.block_on(serve(config, dev))
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

async fn serve(config: Config, dev: Option<Dev>) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::unavailable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::unavailable)?;
    let extras = dev.as_ref().map(Dev::extras).unwrap_or_default();
    let app = App::build(config, extras).map_err(|error| match error {
        AppError::Redis(_) => Failure::usage(error),
        _ => Failure::unavailable(error),
    })?;
    if let Some(dev) = &dev {
        print(&dev.greeting())?;
    } else {
        let public = app.public_address().map_err(Failure::unavailable)?;
        let operations = app.operations_address().map_err(Failure::unavailable)?;
        tracing::info!(listen = %public, ops.listen = %operations, version = env!("CARGO_PKG_VERSION"), "serving");
    }
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    app.run(signals).await.map_err(Failure::unavailable)
}
