//! HTTP over the streams of a listener.

use std::{convert::Infallible, future::Future, pin::pin, sync::atomic::Ordering, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, serve::Listener as _};
use http::{Request, StatusCode};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Listener, Peer};

/// How long the head of a request may take to come, and how long a connection may do nothing between two.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes of a request's head at most: tokens are in it.
const MOST: usize = 64 * 1024;

/// Serves until `over`, then until the requests that are under way are answered.
pub async fn serve(mut listener: Listener, routes: Router, over: impl Future<Output = ()>) {
    let mut over = pin!(over);
    let (mut connections, last) = (JoinSet::new(), CancellationToken::new());
    loop {
        tokio::select! {
            (stream, address) = listener.accept() => {
                let (routes, peer) = (TowerToHyperService::new(routes.clone()), Peer::from(address));
                let switching = stream.switching();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(ConnectInfo(peer));
                    let (answering, switching) = (routes.call(request.map(Body::new)), switching.clone());
                    async move {
                        let answer = answering.await?;
                        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                            switching.store(true, Ordering::Relaxed);
                        }
                        Ok::<_, Infallible>(answer)
                    }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(MOST)
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let last = last.clone();
                connections.spawn(async move {
                    let mut serving = pin!(serving);
                    // What breaks a connection is its client's business.
                    let _ = tokio::select! {
                        result = serving.as_mut() => result,
                        () = last.cancelled() => {
                            serving.as_mut().graceful_shutdown();
                            serving.await
                        }
                    };
                });
            }
            Some(_) = connections.join_next() => {}
            () = &mut over => break,
        }
    }
    drop(listener);
    last.cancel();
    while connections.join_next().await.is_some() {}
}
