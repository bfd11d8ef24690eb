//! HTTP long-polling: a GET waits for packets, a POST brings some.

use std::{future::poll_fn, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::refuse;
use crate::engine::{
    CloseReason,
    connection::{Connection, Polled},
    engine_io::{
        packet,
        payload::{self, Packet, SEPARATOR},
        request::{Refused, Transport},
    },
};

/// Answers a poll, when there is something to answer with.
pub(super) async fn poll(connection: &Arc<Connection>) -> Response {
    match connection.open_poll() {
        Ok(()) => {}
        Err(Polled::Closed) => return refuse(Refused::Session),
        Err(_) => {
            // Of two polls that are open at once one would get what the other waits for.
            if connection.transport() == Some(Transport::Polling) {
                connection.close(CloseReason::ParseError);
            }
            return refuse(Refused::Request);
        }
    }
    let open = OpenPoll(connection);
    let polled = poll_fn(|cx| connection.poll_packets(cx)).await;
    std::mem::forget(open);
    connection.end_poll();
    match polled {
        Polled::Packets(packets) => text(join(packets)),
        Polled::Noop => text(Bytes::from_static(&[packet::NOOP])),
        Polled::Closed | Polled::NotPolling => text(Bytes::from_static(&[packet::CLOSE])),
    }
}

/// A poll that is given up before it is answered: the client is gone, and what it was to get would be lost.
struct OpenPoll<'a>(&'a Arc<Connection>);

impl Drop for OpenPoll<'_> {
    fn drop(&mut self) {
        // Who has moved to a websocket meanwhile needs no poll.
        if self.0.transport() == Some(Transport::Polling) {
            self.0.close(CloseReason::TransportClose);
        }
    }
}

/// Takes the packets of a request.
pub(super) async fn push(connection: &Arc<Connection>, request: Request) -> Response {
    let is_bytes = |value: &HeaderValue| value.as_bytes().starts_with(b"application/octet-stream");
    if request.headers().get(header::CONTENT_TYPE).is_some_and(is_bytes) {
        return refuse(Refused::Request);
    }
    if connection.transport() != Some(Transport::Polling) {
        return refuse(Refused::Request);
    }
    let Some(_pushing) = connection.begin_push() else {
        // Which of two came first nobody knows any more.
        connection.close(CloseReason::ParseError);
        return refuse(Refused::Request);
    };
    if connection.transport() == Some(Transport::Websocket) {
        // What it brings could pass what comes over the websocket.
        return refuse(Refused::Request);
    }
    // Who takes longer to bring something cannot have answered a ping: the session is over, and its seat is free.
    let config = &connection.hub.config;
    let patience = config.ping_interval + config.ping_timeout;
    let body = Limited::new(request.into_body(), connection.longest()).collect();
    let body = match timeout(patience, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            connection.close(CloseReason::ParseError);
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        Ok(Err(_)) | Err(_) => {
            connection.close(CloseReason::TransportError);
            return refuse(Refused::Request);
        }
    };
    match receive(connection, &body) {
        Ok(()) | Err(CloseReason::TransportClose) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, "ok").into_response()
        }
        Err(_) => refuse(Refused::Request),
    }
}

fn receive(connection: &Arc<Connection>, body: &[u8]) -> Result<(), CloseReason> {
    let held = connection.hold();
    let received = payload::read(body)
        .map_err(|_| CloseReason::ParseError)
        .and_then(|mut packets| {
            packets.try_for_each(|packet| match packet {
                Ok(Packet::Text(text)) => connection.receive(text),
                Ok(Packet::Binary(bytes)) => connection.receive_bytes(&bytes),
                Err(_) => Err(CloseReason::ParseError),
            })
        });
    if let Err(reason) = received {
        connection.close(reason);
    } else if held {
        connection.take_turn();
    }
    received
}

/// The packets of an answer.
fn join(packets: Vec<Bytes>) -> Bytes {
    if packets.len() < 2 {
        return packets.into_iter().next().unwrap_or_default();
    }
    let size = packets.iter().map(|packet| packet.len() + 1).sum();
    let mut body = BytesMut::with_capacity(size);
    for packet in packets {
        if !body.is_empty() {
            body.put_u8(SEPARATOR);
        }
        body.put_slice(&packet);
    }
    body.freeze()
}

pub(super) fn text(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    // Packets are for one client, once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
