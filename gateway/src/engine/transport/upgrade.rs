//! A request that becomes a websocket, and a polling session that moves to it.

use std::{io, ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::websocket;
use crate::engine::{
    CloseReason,
    connection::{Connection, Pushing},
    engine_io::{PROBE, packet},
    socket_io::outgoing::{control_frame, text_frame},
    stream::Stream,
    websocket::{
        frame::Opcode,
        messages::{Message, Messages},
    },
};

/// How long a client may take to move.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether there is still a session to move.
const LOOK: Duration = Duration::from_millis(500);

/// A connection after its HTTP request.
pub(super) struct Wire {
    pub(super) stream: Stream,
    /// What the client sent right behind the request.
    pub(super) early: Bytes,
    /// Messages may be compressed, in both directions.
    pub(super) is_deflating: bool,
}

impl Wire {
    /// `None` = the connection is gone.
    pub(super) fn of(upgraded: Result<Upgraded, hyper::Error>, is_deflating: bool) -> Option<Wire> {
        let parts = upgraded.ok()?.downcast::<TokioIo<Stream>>().ok()?;
        Some(Wire {
            stream: parts.io.into_inner(),
            early: parts.read_buf,
            is_deflating,
        })
    }
}

/// Moves a session to a websocket, if its client does what it has to do in time.
pub(super) async fn run(connection: &Arc<Connection>, mut wire: Wire) {
    let switch = wire.stream.take_switch();
    if !matches!(
        timeout(PATIENCE, wire.stream.write_all(&switch)).await,
        Ok(Ok(()))
    ) {
        return;
    }
    if !connection.set_moving(true) {
        return; // One at a time. The stream ends.
    }
    let moving = Moving(connection);
    let mut messages = Messages::default();
    let moved = timeout(PATIENCE, probe(connection, &mut wire, &mut messages)).await;
    match moved {
        Ok(Ok(Some(pushing))) => {
            std::mem::forget(moving);
            websocket::take_over(connection, wire, messages);
            drop(pushing);
        }
        // The session goes on by polling.
        Ok(Ok(None)) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client did not move to its websocket"),
    }
}

/// A session that does not move after all.
struct Moving<'a>(&'a Arc<Connection>);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.set_moving(false);
    }
}

/// Waits until the client has moved; `None` = it does something else. Until what is returned is dropped no request
/// brings packets, which could pass those that come over the websocket.
async fn probe(
    connection: &Arc<Connection>,
    wire: &mut Wire,
    messages: &mut Messages,
) -> io::Result<Option<Pushing>> {
    let rules = websocket::rules(connection, wire.is_deflating);
    let mut bytes = std::mem::take(&mut wire.early).to_vec();
    loop {
        let (mut answers, mut moved, mut is_over) = (Vec::new(), None, false);
        let read = messages.read(&mut bytes, rules, |message| {
            match message {
                // What comes behind its last word on the matter is meant for the session.
                message if moved.is_some() => {
                    if let Err(reason) = websocket::receive(connection, message) {
                        connection.close(reason);
                        return ControlFlow::Break(());
                    }
                }
                Message::Text(text) if text == PROBE.0 => answers.push(text_frame(PROBE.1)),
                Message::Text(text) if text.as_bytes() == [packet::UPGRADE] => {
                    moved = connection.begin_push();
                    if moved.is_none() {
                        // A request still brings packets: which came first nobody knows any more.
                        connection.close(CloseReason::ParseError);
                        return ControlFlow::Break(());
                    }
                }
                Message::Ping(payload) => answers.push(control_frame(Opcode::Pong, payload)),
                Message::Pong => {}
                Message::Text(_) | Message::Binary(_) | Message::Close(_) => {
                    is_over = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        for answer in answers {
            wire.stream.write_all(&answer).await?;
        }
        wire.stream.flush().await?;
        if is_over || read.is_err() {
            if moved.is_some() {
                connection.close(CloseReason::ParseError);
            }
            return Ok(None);
        }
        if moved.is_some() || connection.transport().is_none() {
            return Ok(moved);
        }
        bytes.resize(1024, 0);
        let count = loop {
            match timeout(LOOK, wire.stream.read(&mut bytes)).await {
                Ok(count) => break count?,
                // Its session may have ended meanwhile.
                Err(_) if connection.transport().is_none() => return Ok(None),
                Err(_) => {}
            }
        };
        if count == 0 {
            return Ok(None);
        }
        bytes.truncate(count);
    }
}
