//! The two transports, and the HTTP requests by which they begin.

mod polling;
mod upgrade;
mod websocket;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use self::upgrade::Wire;
use super::{
    Application, Engine, Held, Peer, Sockets,
    connection::Connection,
    engine_io::{
        self,
        request::{self, Asked, Offered, Refused, Transport},
    },
    hub::Hub,
    opening::Opening,
    websocket::{extensions, handshake},
};

/// Builds the engine: the routes answer at its path, and 404 elsewhere, and nothing happens until the other part runs.
pub fn routes<A: Application>(application: Arc<A>, sockets: &Sockets) -> (Router, Engine) {
    sockets.0.open(application);
    let routes = Router::new().fallback(answer).with_state(sockets.0.clone());
    (routes, Engine(sockets.0.clone()))
}

async fn answer(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let path = request.uri().path();
    let is_ours = path
        .strip_prefix(hub.config.path.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !is_ours {
        return StatusCode::NOT_FOUND.into_response();
    }
    let offered = Offered {
        websocket: hub.config.websocket,
        polling: hub.config.polling,
    };
    let wants_websocket = handshake::is_wanted(request.headers());
    let query = request.uri().query().unwrap_or_default();
    let asked = match request::read(request.method(), query, wants_websocket, offered) {
        Ok(asked) => asked,
        Err(refused) => return refuse(refused),
    };
    match asked {
        Asked::Open(Transport::Polling) => open_polling(&hub, request),
        Asked::Open(Transport::Websocket) => open_websocket(&hub, request),
        Asked::Poll(sid) => match hub.session(sid) {
            Some(connection) => polling::poll(&connection).await,
            None => refuse(Refused::Session),
        },
        Asked::Push(sid) => match hub.session(sid) {
            Some(connection) => polling::push(&connection, request).await,
            None => refuse(Refused::Session),
        },
        Asked::Upgrade(sid) => match hub.session(sid) {
            Some(connection) => move_to_websocket(&connection, request),
            None => refuse(Refused::Session),
        },
    }
}

fn open_polling(hub: &Arc<Hub>, request: Request) -> Response {
    let (opening, held) = opening(request);
    match Connection::polling(hub, opening, held) {
        Ok(connection) => {
            let open = engine_io::open(connection.sid, &hub.config, hub.config.websocket);
            polling::text(open.into())
        }
        Err(error) => no_ids(&error),
    }
}

fn open_websocket(hub: &Arc<Hub>, mut request: Request) -> Response {
    let Some(accept) = handshake::accept(request.method(), request.headers()) else {
        return refuse(Refused::Request);
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let agreed = deflating(hub, &request);
    let is_deflating = agreed.is_some();
    let (opening, held) = opening(request);
    let beginning = websocket::Beginning {
        hub: hub.clone(),
        opening,
        held,
        upgraded,
        is_deflating,
    };
    hub.tasks.spawn(websocket::Session::Beginning(beginning));
    switching(accept, agreed)
}

fn move_to_websocket(connection: &Arc<Connection>, mut request: Request) -> Response {
    let Some(accept) = handshake::accept(request.method(), request.headers()) else {
        return refuse(Refused::Request);
    };
    if connection.transport() != Some(Transport::Polling) {
        return refuse(Refused::Request);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let agreed = deflating(&connection.hub, &request);
    let is_deflating = agreed.is_some();
    let own = connection.clone();
    connection.hub.tasks.spawn(async move {
        if let Some(wire) = Wire::of(upgraded.await, is_deflating) {
            upgrade::run(&own, wire).await;
        }
    });
    switching(accept, agreed)
}

/// What is agreed on about compression; `None` = nothing is compressed.
fn deflating(hub: &Hub, request: &Request) -> Option<HeaderValue> {
    hub.config.compression?;
    extensions::agree(request.headers())
}

/// What of a request is needed until the client is in, and what for as long as it is.
fn opening(request: Request) -> (Box<Opening>, Option<Held>) {
    let (mut request, _) = request.into_parts();
    let held = request.extensions.remove::<Held>();
    let peer = request
        .extensions
        .get::<ConnectInfo<Peer>>()
        .map(|c| c.0.address());
    (Box::new(Opening { request, peer }), held)
}

fn switching(accept: HeaderValue, agreed: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreed) = agreed {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed);
    }
    response
}

fn refuse(refused: Refused) -> Response {
    (
        refused.status(),
        [(header::CONTENT_TYPE, "application/json")],
        refused.body(),
    )
        .into_response()
}

fn no_ids(error: &getrandom::Error) -> Response {
    tracing::error!(%error, "no random numbers for a session's ids");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
