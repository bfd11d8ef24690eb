//! A node's tasks, and the order in which it ends.

use std::{io, pin::pin, sync::Arc, time::Duration};

use adapter_redis::Cluster;
use futures_util::{Stream, StreamExt as _};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{App, AppError};
use crate::{
    admin::Readiness,
    drain::End,
    engine::{Connections, Listener, serve},
    metrics::Metrics,
};

/// How long a stopping node tries to hand streams and queues over to another one.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long answers that are on their way when nobody is left may take.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long closed streams may take to end, until the others are told without them.
const ENDING: Duration = Duration::from_secs(2);
/// What is left of the time when somebody is in a hurry.
const HURRY: Duration = Duration::from_secs(3);

impl App {
    /// Serves until `asked` yields, then drains: clients are closed by and by, and come back by themselves, elsewhere. When
    /// it yields again, all that are left are closed at once.
    ///
    /// # Errors
    /// [`AppError::PartEnded`] when a part of the node ended before that.
    pub async fn run(self, asked: impl Stream<Item = ()>) -> Result<(), AppError> {
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
            engine,
            drain,
            closing,
            reloader,
            write_deadline,
            ..
        } = self;
        let mut parts = JoinSet::new();
        let served =
            Listener::new(public.0, connections.clone(), write_deadline).secured_by(certificates.public);
        // Load balancers are answered and polling goes on until then.
        let over = drain.clone();
        parts.spawn(async move {
            serve(served, public.1, async move { over.ended().await }).await;
            "the public listener".to_owned()
        });
        parts.spawn(async move {
            engine.run().await;
            "the engine".to_owned()
        });
        let served = Listener::new(operations.0, Connections::default(), write_deadline)
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

        let mut asked = pin!(asked.fuse());
        let ended = tokio::select! {
            Some(()) = asked.next() => None,
            ended = parts.join_next() => {
                Some(ended.map_or_else(String::new, |e| e.unwrap_or_else(|error| error.to_string())))
            }
        };
        self.metrics.draining.set(1.0);
        drain.begin();
        if ended.is_some() {
            // What is broken may be what its clients wait for.
            drain.hurry();
        }
        let stopping = async {
            let envelopes = async {
                if let Some(reader) = reader {
                    reader.hand_over(HAND_OVER).await;
                }
            };
            let clients = async {
                let began = Instant::now();
                closing.wait(began).await;
                // Who waits for a backend is answered while there is still a connection to answer on.
                forwarding.stop().await;
                let end = closing.run(began).await;
                sockets.end_all();
                drain.end();
                if end == End::Paced {
                    // Whose turn came last may wait for the answer to a poll. What is still open then is nobody's.
                    let _ = timeout(LAST_ANSWERS, connections.closed()).await;
                }
                connections.close_all();
                let ended = async { tokio::join!(connections.closed(), sockets.ended()) };
                if timeout(ENDING, ended).await.is_err() {
                    tracing::warn!("some connections do not end");
                }
            };
            tokio::join!(cluster.tell(), envelopes, readers.hand_over(HAND_OVER), clients);
            // Only now: until then it had sockets that others' publications were for.
            cluster.leave().await;
            connections.closed().await;
            notices.finish().await;
            tails.finish().await;
            if let Some(redis) = redis {
                redis.close().await;
            }
        };
        let hurrying = async {
            tokio::select! {
                Some(()) = asked.next() => drain.hurry(),
                () = drain.hurried() => {}
            }
            sleep(HURRY).await;
        };
        let is_done = tokio::select! {
            stopped = timeout(self.drain_timeout, stopping) => stopped.is_ok(),
            () = hurrying => false,
        };
        if !is_done {
            tracing::warn!("not everything was done at the deadline");
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
