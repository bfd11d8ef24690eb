//! A node's tasks, and the order in which it ends.

use std::{io, sync::Arc, time::Duration};

use adapter_redis::Cluster;
use tokio::{task::JoinSet, time::timeout};

use super::{App, AppError};
use crate::{
    admin::Readiness,
    engine::{Connections, Listener, Peer, WRITE_DEADLINE},
    metrics::Metrics,
};

/// How long a stopping node tries to hand streams and queues over to another one.
const HAND_OVER: Duration = Duration::from_secs(2);

impl App {
    /// Serves until `shutdown` completes, then drains. Clients come back by themselves, elsewhere.
    ///
    /// # Errors
    /// [`AppError::PartEnded`] when a part of the node ended before that.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        let App {
            public,
            operations,
            certificates,
            cluster,
            arrivals,
            joins,
            forwarding: (forwarding, forwarder),
            users,
            keeper,
            expiry,
            redis,
            ingest,
            key_fetcher,
            readers,
            notices,
            tails,
            connections,
            sockets,
            drain,
            reloader,
            ..
        } = self;
        let mut parts = JoinSet::new();
        let served =
            Listener::new(public.0, connections.clone(), WRITE_DEADLINE).secured_by(certificates.public);
        let begun = drain.clone();
        parts.spawn(async move {
            let service = public.1.into_make_service_with_connect_info::<Peer>();
            let result =
                axum::serve(served, service).with_graceful_shutdown(async move { begun.begun().await });
            describe("the public listener", result.await)
        });
        let served = Listener::new(operations.0, Connections::default(), WRITE_DEADLINE)
            .secured_by(certificates.operations);
        parts.spawn(async move {
            let result = axum::serve(served, operations.1).await;
            describe("the operations listener", result)
        });
        let receiving = cluster.clone();
        parts.spawn(async move {
            receiving.run(arrivals).await;
            "the bus' receiver".to_owned()
        });
        let reader = ingest.clone();
        if let Some(ingest) = ingest {
            parts.spawn(async move {
                ingest.run().await;
                "the reader of the stream of envelopes".to_owned()
            });
        }
        let reading = readers.clone();
        parts.spawn(async move {
            reading.run().await;
            "the readers of backends' streams and queues".to_owned()
        });
        let (noticing, here) = (notices.clone(), cluster.clone());
        parts.spawn(async move {
            noticing.run(&here).await;
            "the notices to backends".to_owned()
        });
        parts.spawn(async move {
            joins.run().await;
            "the rooms that are being entered".to_owned()
        });
        parts.spawn(async move {
            forwarder.run().await;
            "the events for the backend".to_owned()
        });
        let counting = cluster.clone();
        parts.spawn(async move {
            users.run(counting).await;
            "the limit of a user's sockets".to_owned()
        });
        parts.spawn(key_fetcher.run());
        parts.spawn(expiry.run());
        if let Some(reloader) = reloader {
            parts.spawn(reloader.run());
        }
        parts.spawn(keeper.run());
        parts.spawn(watch_bus(cluster.clone(), self.readiness));
        parts.spawn(keep_up(self.metrics.clone()));

        let ended = tokio::select! {
            () = shutdown => None,
            ended = parts.join_next() => {
                Some(ended.map_or_else(String::new, |e| e.unwrap_or_else(|error| error.to_string())))
            }
        };
        tracing::info!(timeout = ?self.drain_timeout, "stopping");
        self.metrics.draining.set(1.0);
        drain.begin();
        let stopped = timeout(self.drain_timeout, async {
            let envelopes = async {
                if let Some(reader) = reader {
                    reader.hand_over(HAND_OVER).await;
                }
            };
            tokio::join!(envelopes, readers.hand_over(HAND_OVER));
            forwarding.stop().await;
            cluster.leave().await;
            sockets.begin_closing();
            connections.close_all();
            connections.closed().await;
            notices.finish().await;
            tails.finish().await;
            if let Some(redis) = redis {
                redis.close().await;
            }
        });
        if stopped.await.is_err() {
            tracing::warn!("some connections were still open at the deadline");
        }
        tracing::info!("stopped");
        ended.map_or(Ok(()), |part| Err(AppError::PartEnded(part)))
    }
}

fn describe(part: &str, result: io::Result<()>) -> String {
    match result {
        Ok(()) => part.to_owned(),
        Err(error) => format!("{part}: {error}"),
    }
}

async fn watch_bus(cluster: Cluster, readiness: Arc<Readiness>) -> String {
    let mut state = cluster.watch_bus();
    loop {
        let now = *state.borrow_and_update();
        readiness.note(now);
        tracing::info!(bus.state = now.as_str(), "bus");
        if state.changed().await.is_err() {
            return "the bus".to_owned();
        }
    }
}

async fn keep_up(metrics: Metrics) -> String {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}
