//! What goes out to a client: put down by whoever has something for it, and written by whoever comes first.

mod polls;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};

use super::{Connection, Due};
use crate::engine::{
    CloseReason, Lost, Slow,
    backlog::{Added, Backlog, Terms, Written},
    engine_io::request::Transport,
    socket_io::outgoing::{Outgoing, text_frame},
};

/// Waiting bytes, and the way out.
#[derive(Debug)]
pub(super) struct Out {
    backlog: Backlog,
    way: Way,
    /// Who waits for something to write, or for the end.
    waker: Option<Waker>,
    /// Somebody is going to write what waits.
    is_scheduled: bool,
    /// The peer takes no more at present; its task waits for it.
    is_blocked: bool,
    /// There was more than may wait: the session is to end.
    is_doomed: bool,
    /// The connection broke while something was written; its task ends the session.
    is_broken: bool,
    /// A poll is open.
    is_polled: bool,
    /// The client is moving to a websocket.
    is_moving: bool,
    /// Somebody looks now and then whether a blocked peer takes something.
    is_watched: bool,
    /// When a blocked peer last took something, see [`Hub::millis`](crate::engine::hub::Hub::millis).
    moved: u32,
}

#[derive(Debug)]
enum Way {
    /// Answers to polls.
    Polls,
    /// A websocket that anybody writes to.
    Direct(TcpStream),
    /// A websocket that its own task writes to.
    Task,
    /// None any more. Whether the client wanted it.
    Gone { asked: bool },
}

/// What became of putting something down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Pushed {
    /// Somebody has to write it.
    First,
    /// It goes out together with the rest.
    Another,
    /// Too much waits already: it is lost.
    Lost,
    /// Too much waits already: it is lost, and so is the session. Whether somebody has to end it.
    Full(bool),
    /// The session is over.
    Gone,
}

/// What a poll is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Polled {
    /// Packets.
    Packets(Vec<Bytes>),
    /// Nothing: the client is moving to a websocket.
    Noop,
    /// The session is over.
    Closed,
    /// The session does not poll.
    NotPolling,
}

impl Out {
    pub(super) fn polling() -> Out {
        Out::through(Way::Polls)
    }

    pub(super) fn websocket(direct: Option<TcpStream>) -> Out {
        Out::through(direct.map_or(Way::Task, Way::Direct))
    }

    #[cfg(test)]
    pub(super) fn gone() -> Out {
        Out::through(Way::Gone { asked: false })
    }

    fn through(way: Way) -> Out {
        Out {
            backlog: Backlog::default(),
            way,
            waker: None,
            is_scheduled: false,
            is_blocked: false,
            is_doomed: false,
            is_broken: false,
            is_polled: false,
            is_moving: false,
            is_watched: false,
            moved: 0,
        }
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        match self.way {
            Way::Polls => Some(Transport::Polling),
            Way::Direct(_) | Way::Task => Some(Transport::Websocket),
            Way::Gone { .. } => None,
        }
    }

    fn push(&mut self, bytes: &Bytes, max: usize, slow: Slow, lost: &mut Lost) -> Pushed {
        let terms = Terms {
            slow,
            is_blocked: self.is_blocked || matches!(self.way, Way::Polls) && !self.is_polled,
            max,
        };
        match self.backlog.push(bytes, terms, lost) {
            Added::In => {}
            Added::Lost => {
                match slow {
                    Slow::Volatile => lost.volatile += 1,
                    _ => lost.dropped += 1,
                }
                return Pushed::Lost;
            }
            Added::Refused => {
                self.is_doomed = true;
                // Whoever comes to write ends it.
                return Pushed::Full(!std::mem::replace(&mut self.is_scheduled, true));
            }
        }
        match std::mem::replace(&mut self.is_scheduled, true) {
            false => Pushed::First,
            true => Pushed::Another,
        }
    }

    /// The last bytes for a websocket that is about to be closed, if the peer takes them at once.
    pub(super) fn put_last(&mut self, frame: Bytes) {
        self.push(&frame, usize::MAX, Slow::Disconnect, &mut Lost::default());
        if let Way::Direct(stream) = &self.way {
            // It is closed anyway.
            let _ = self.backlog.write(|slices| write(stream, slices));
        }
    }

    /// Closes the way out, and wakes whoever waits for it. Who reads nothing is not told what still waits.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.way = Way::Gone {
            asked: reason == CloseReason::TransportClose,
        };
        if matches!(
            reason,
            CloseReason::SlowConsumer | CloseReason::TransportError | CloseReason::PingTimeout
        ) {
            self.backlog = Backlog::default();
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Connection {
    /// How its packets travel; `None` = no more.
    pub(in crate::engine) fn transport(&self) -> Option<Transport> {
        self.out().transport()
    }

    /// How its packets travel, and how many bytes wait.
    pub(in crate::engine) fn waiting(&self) -> (Option<Transport>, usize) {
        let out = self.out();
        (out.transport(), out.backlog.bytes())
    }

    /// Puts a packet down that is not lost as long as the session lasts. It is written by whoever is asked to, see
    /// [`Pushed`].
    pub(in crate::engine) fn push(&self, outgoing: &Outgoing) -> Pushed {
        self.push_event(outgoing, Slow::Disconnect)
    }

    /// As [`Connection::push`], with what may become of it.
    pub(in crate::engine) fn push_event(&self, outgoing: &Outgoing, slow: Slow) -> Pushed {
        let mut out = self.out();
        let Some(transport) = out.transport() else {
            return Pushed::Gone;
        };
        let threshold = self.deflates().filter(|_| transport == Transport::Websocket);
        let bytes = match (self.is_packed(), threshold) {
            (false, None) => outgoing.bytes(transport),
            (false, Some(threshold)) => outgoing.deflated(threshold),
            (true, None) => outgoing.packed().bytes(transport),
            (true, Some(threshold)) => outgoing.packed().deflated(threshold),
        };
        let mut lost = Lost::default();
        let pushed = out.push(bytes, self.hub.config.max_outbound, slow, &mut lost);
        self.hub.losses.add(lost);
        pushed
    }

    /// Sends a packet to this client alone; `false` = it will not get it.
    pub(in crate::engine) fn send(self: &Arc<Self>, outgoing: &Outgoing) -> bool {
        let pushed = self.push(outgoing);
        self.follow_up(pushed)
    }

    /// Does what has to be done after something was put down by somebody who may hold any lock of those above, so that
    /// the counterpart cannot be told anything here.
    pub(super) fn follow_up(self: &Arc<Self>, pushed: Pushed) -> bool {
        match pushed {
            Pushed::First => self.write_now(),
            Pushed::Another => {}
            Pushed::Full(is_to_be_ended) => {
                if is_to_be_ended {
                    self.hub.lanes.schedule(vec![self.clone()]);
                }
                return false;
            }
            Pushed::Lost | Pushed::Gone => return false,
        }
        true
    }

    /// Sends a packet of the protocol below; `false` = the session is over.
    pub(super) fn push_control(self: &Arc<Self>, packet: u8) -> bool {
        let mut out = self.out();
        let bytes = match out.transport() {
            Some(Transport::Websocket) => text_frame(char::from(packet).encode_utf8(&mut [0; 4])),
            Some(Transport::Polling) => Bytes::copy_from_slice(&[packet]),
            None => return false,
        };
        // It is small, and comes from this side: it is never refused.
        let pushed = out.push(&bytes, usize::MAX, Slow::Disconnect, &mut Lost::default());
        drop(out);
        self.follow_up(pushed)
    }

    /// Answers a frame of the websocket's own.
    pub(in crate::engine) fn push_frame(self: &Arc<Self>, frame: &Bytes) {
        let mut lost = Lost::default();
        let max = self.hub.config.max_outbound;
        let pushed = self.out().push(frame, max, Slow::Disconnect, &mut lost);
        self.hub.losses.add(lost);
        self.follow_up(pushed);
    }

    /// While it reads, what is put down waits until the reading is done.
    pub(in crate::engine) fn hold(&self) -> bool {
        !std::mem::replace(&mut self.out().is_scheduled, true)
    }

    /// Writes what waits, or ends the session, if it is to end. For whoever holds no lock.
    pub(in crate::engine) fn take_turn(self: &Arc<Self>) {
        if !self.write() {
            self.close(CloseReason::SlowConsumer);
        }
    }

    /// As [`Connection::take_turn`], for whoever may hold a lock.
    pub(super) fn write_now(self: &Arc<Self>) {
        if !self.write() {
            self.out().is_scheduled = true;
            self.hub.lanes.schedule(vec![self.clone()]);
        }
    }

    /// Writes what waits; `false` = the session is to end.
    fn write(self: &Arc<Self>) -> bool {
        let mut out = self.out();
        let out = &mut *out;
        out.is_scheduled = false;
        if out.is_doomed && out.transport().is_some() {
            return false;
        }
        if out.backlog.is_empty() || out.is_blocked {
            return true;
        }
        if let Way::Direct(stream) = &out.way {
            match out.backlog.write(|slices| write(stream, slices)) {
                Written::All => return true,
                Written::Blocked(_) => {
                    out.is_blocked = true;
                    out.moved = self.hub.millis();
                    // One clock for each connection, however often it is blocked.
                    if !std::mem::replace(&mut out.is_watched, true) {
                        self.hub.set(Due::Write, self, 0);
                    }
                }
                Written::Broken(_) => out.is_broken = true,
            }
        }
        // Its task, or the poll that is open, goes on.
        if let Some(waker) = out.waker.take() {
            waker.wake();
        }
        true
    }

    /// A peer that took nothing for too long is given up.
    pub(super) fn check_progress(self: &Arc<Self>) {
        {
            let mut out = self.out();
            if !out.is_blocked {
                out.is_watched = false;
                return;
            }
            let still = self.hub.millis().wrapping_sub(out.moved);
            if u128::from(still) < self.hub.config.write_deadline.as_millis() {
                drop(out);
                return self.hub.set(Due::Write, self, 0);
            }
        }
        self.close(CloseReason::TransportError);
    }

    /// Reads from a websocket that anybody writes to, and writes what its peer did not take before. Ready with nothing
    /// when the session is over, or the peer has closed.
    pub(in crate::engine) fn poll_direct(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut out = self.out();
        let out = &mut *out;
        loop {
            let Way::Direct(stream) = &mut out.way else {
                return Poll::Ready(Ok(0));
            };
            if out.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if out.is_blocked && stream.poll_write_ready(cx)?.is_ready() {
                match out.backlog.write(|slices| write(stream, slices)) {
                    Written::All => out.is_blocked = false,
                    Written::Blocked(is_moving) => {
                        if is_moving {
                            out.moved = self.hub.millis();
                        }
                        // The stream says when it takes more.
                        if stream.poll_write_ready(cx)?.is_ready() {
                            continue;
                        }
                    }
                    Written::Broken(error) => return Poll::Ready(Err(error)),
                }
            }
            if !out
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                out.waker = Some(cx.waker().clone());
            }
            let mut buffer = ReadBuf::new(buffer);
            return Pin::new(stream)
                .poll_read(cx, &mut buffer)
                .map_ok(|()| buffer.filled().len());
        }
    }

    /// Hands what waits to the task of a websocket, which writes with `write`. Ready when the session is over; what was
    /// to be said last is written before.
    pub(in crate::engine) fn poll_task(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let mut out = self.out();
        let written = out.backlog.write(|slices| match write(cx, slices) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        });
        out.waker = Some(cx.waker().clone());
        // The stream below has its own deadline.
        out.is_blocked = matches!(written, Written::Blocked(_));
        match written {
            Written::Broken(error) => Poll::Ready(Err(error)),
            Written::All if matches!(out.way, Way::Gone { .. }) => Poll::Ready(Ok(())),
            Written::All | Written::Blocked(_) => Poll::Pending,
        }
    }

    /// The last packet that a client gets as a socket.
    pub(super) fn say_goodbye(self: &Arc<Self>) {
        self.send(&Outgoing::disconnected());
    }
}

fn write(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        [only] => stream.try_write(only),
        _ => stream.try_write_vectored(slices),
    }
}

#[cfg(test)]
mod tests;
