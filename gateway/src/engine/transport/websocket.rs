//! A websocket: one small task that reads, and finishes what others could not write at once.
//!
//! A plain connection is written to by whoever has something for it. One with TLS has a state for its encryption, so that
//! its own task writes.

use std::{
    cell::RefCell,
    future::Future,
    io, mem,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upgrade::Wire;
use crate::engine::{
    CloseReason, Held,
    connection::Connection,
    engine_io,
    hub::Hub,
    opening::Opening,
    socket_io::outgoing::{control_frame, text_frame},
    stream::Stream,
    websocket::{
        deflate::inflate,
        frame::Opcode,
        messages::{Inflate, Message, Messages, Rules},
    },
};

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// Readings after which others have their turn.
const TURN: usize = 16;

thread_local! {
    /// What is being read: one for each thread, since a connection that waits needs none.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A session that is to begin over a websocket.
pub(super) struct Beginning {
    pub(super) hub: Arc<Hub>,
    pub(super) opening: Box<Opening>,
    pub(super) held: Option<Held>,
    pub(super) upgraded: OnUpgrade,
    pub(super) is_deflating: bool,
}

/// The task of a session that begins over a websocket, from the end of HTTP on. It is one and the same, since a task costs
/// more than what each of its parts does.
pub(super) enum Session {
    /// HTTP has not ended.
    Beginning(Beginning),
    /// It has.
    Direct(Direct),
    /// It has, and there is TLS below.
    Secured(Secured),
    /// The connection is gone.
    Over,
}

impl Future for Session {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Session::Beginning(beginning) => {
                    let upgraded = ready!(Pin::new(&mut beginning.upgraded).poll(cx));
                    if let Session::Beginning(beginning) = mem::replace(&mut *self, Session::Over) {
                        *self = beginning.open(upgraded);
                    }
                }
                Session::Direct(direct) => return Pin::new(direct).poll(cx),
                Session::Secured(secured) => return Pin::new(secured).poll(cx),
                Session::Over => return Poll::Ready(()),
            }
        }
    }
}

impl Beginning {
    fn open(self, upgraded: Result<Upgraded, hyper::Error>) -> Session {
        let Beginning {
            hub, opening, held, ..
        } = self;
        // A client that is gone by now has seen nothing.
        let Some(wire) = Wire::of(upgraded, self.is_deflating) else {
            return Session::Over;
        };
        let Wire {
            mut stream,
            early,
            is_deflating,
        } = wire;
        let mut first = BytesMut::from(&*stream.take_switch());
        let (direct, secured) = stream.split();
        let connection = match Connection::websocket(&hub, opening, held, direct, is_deflating) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(%error, "no random numbers for a session's ids");
                return Session::Over;
            }
        };
        first.extend_from_slice(&text_frame(&engine_io::open(connection.sid, &hub.config, false)));
        connection.push_frame(&first.freeze());
        let mut reader = Reader::new(connection, Messages::default());
        if !early.is_empty() && reader.read(&mut early.to_vec()).is_err() {
            return Session::Over;
        }
        reader.go_on(secured)
    }
}

/// A session that polled goes on over a websocket.
pub(super) fn take_over(connection: &Arc<Connection>, wire: Wire, messages: Messages) {
    let (direct, secured) = wire.stream.split();
    connection.set_deflating(wire.is_deflating);
    if connection.move_to(direct) {
        let session = Reader::new(connection.clone(), messages).go_on(secured);
        connection.hub.tasks.spawn(session);
    }
}

/// What a client's messages may be.
pub(super) fn rules(connection: &Connection, is_deflating: bool) -> Rules {
    Rules {
        max: connection.longest(),
        inflate: is_deflating.then_some(inflate as Inflate),
    }
}

/// Takes a message of a client.
pub(super) fn receive(connection: &Arc<Connection>, message: Message<'_>) -> Result<(), CloseReason> {
    match message {
        Message::Text(text) => connection.receive(text),
        Message::Binary(bytes) => connection.receive_bytes(bytes),
        Message::Ping(payload) => {
            connection.push_frame(&control_frame(Opcode::Pong, payload));
            Ok(())
        }
        Message::Pong => Ok(()),
        Message::Close(_) => Err(CloseReason::TransportClose),
    }
}

/// Reads a client's messages. With it ends the session.
struct Reader {
    connection: Arc<Connection>,
    messages: Messages,
}

/// The session is over.
struct Over;

impl Reader {
    fn new(connection: Arc<Connection>, messages: Messages) -> Reader {
        Reader { connection, messages }
    }

    fn go_on(self, secured: Option<Box<Stream>>) -> Session {
        match secured {
            None => Session::Direct(Direct(self)),
            Some(stream) => Session::Secured(Secured { reader: self, stream }),
        }
    }

    /// Takes what came.
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Over> {
        let connection = &self.connection;
        let rules = rules(connection, connection.deflates().is_some());
        // What is answered goes out at once, and together.
        let held = connection.hold();
        let mut over = None;
        let read = self.messages.read(bytes, rules, |message| {
            let closing = match message {
                Message::Close(status) => status,
                _ => None,
            };
            match receive(connection, message) {
                Ok(()) => ControlFlow::Continue(()),
                Err(reason) => {
                    over = Some((reason, closing.unwrap_or(1000)));
                    ControlFlow::Break(())
                }
            }
        });
        if let Err(broken) = read {
            over = Some((CloseReason::ParseError, broken.status()));
        }
        match over {
            Some((reason, status)) => {
                connection.close_with(reason, status);
                Err(Over)
            }
            None => {
                if held {
                    connection.take_turn();
                }
                Ok(())
            }
        }
    }

    fn end(&self, result: io::Result<()>) {
        self.connection.close(match result {
            Ok(()) => CloseReason::TransportClose,
            Err(_) => CloseReason::TransportError,
        });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It ended in a way that nobody foresaw; otherwise this does nothing.
        self.connection.close(CloseReason::TransportError);
    }
}

/// A plain websocket.
pub(super) struct Direct(Reader);

impl Future for Direct {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let reader = &mut self.0;
        for _ in 0..TURN {
            let over = BUFFER.with_borrow_mut(|buffer| {
                let count = match ready!(reader.connection.poll_direct(cx, buffer)) {
                    Ok(0) => return Poll::Ready(Some(Ok(()))),
                    Ok(count) => count,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                let bytes = buffer.get_mut(..count).unwrap_or_default();
                Poll::Ready(reader.read(bytes).err().map(|Over| Ok(())))
            });
            if let Some(result) = ready!(over) {
                reader.end(result);
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A websocket with TLS.
pub(super) struct Secured {
    reader: Reader,
    stream: Box<Stream>,
}

impl Future for Secured {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Secured { reader, stream } = self.get_mut();
        let mut stream = Pin::new(stream.as_mut());
        for _ in 0..TURN {
            let written = reader
                .connection
                .poll_task(cx, |cx, slices| stream.as_mut().poll_write_vectored(cx, slices));
            let flushed = stream.as_mut().poll_flush(cx);
            match (written, flushed) {
                (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                    reader.end(Err(error));
                    return Poll::Ready(());
                }
                (Poll::Ready(Ok(())), flushed) => {
                    let _ = ready!(flushed);
                    let _ = ready!(stream.as_mut().poll_shutdown(cx));
                    return Poll::Ready(());
                }
                (Poll::Pending, _) => {}
            }
            let over = BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                match ready!(stream.as_mut().poll_read(cx, &mut buffer)) {
                    Ok(()) if buffer.filled().is_empty() => Poll::Ready(Some(Ok(()))),
                    Ok(()) => Poll::Ready(reader.read(buffer.filled_mut()).err().map(|Over| Ok(()))),
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            });
            if let Some(result) = ready!(over) {
                // What was said last still goes out.
                reader.end(result);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
