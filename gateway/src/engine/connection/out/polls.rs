//! A session that polls: what its polls are answered with, and how it moves to a websocket.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::net::TcpStream;

use super::{Connection, Polled, Way};
use crate::engine::engine_io::{payload, request::Transport};

impl Connection {
    /// Waits for packets to answer a poll with. One poll may be open; see [`Connection::open_poll`].
    pub(in crate::engine) fn poll_packets(&self, cx: &mut Context<'_>) -> Poll<Polled> {
        let mut out = self.out();
        match out.way {
            Way::Polls => {}
            // Who closes by one request is not told so by another.
            Way::Gone { asked: true } => return Poll::Ready(Polled::Noop),
            Way::Gone { asked: false } => return Poll::Ready(Polled::Closed),
            Way::Direct(_) | Way::Task => return Poll::Ready(Polled::Noop),
        }
        if !out.backlog.is_empty() {
            let most = match self.hub.config.max_payload {
                0 => usize::MAX,
                bytes => bytes,
            };
            return Poll::Ready(Polled::Packets(out.backlog.take(most)));
        }
        if out.is_moving {
            return Poll::Ready(Polled::Noop);
        }
        out.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A poll begins; `Err` = another one is open, or the session does not poll.
    pub(in crate::engine) fn open_poll(&self) -> Result<(), Polled> {
        let mut out = self.out();
        match out.transport() {
            Some(Transport::Polling) if !out.is_polled => {
                out.is_polled = true;
                Ok(())
            }
            Some(_) => Err(Polled::NotPolling),
            None => Err(Polled::Closed),
        }
    }

    /// A poll has its answer.
    pub(in crate::engine) fn end_poll(&self) {
        let mut out = self.out();
        out.is_polled = false;
        // The client may have moved meanwhile: then it is another one's.
        if matches!(out.way, Way::Polls) {
            out.waker = None;
        }
    }

    /// The client begins to move to a websocket, or gives it up. Answers whether it may.
    pub(in crate::engine) fn set_moving(&self, is_moving: bool) -> bool {
        let mut out = self.out();
        if is_moving && (out.is_moving || out.transport() != Some(Transport::Polling)) {
            return false;
        }
        out.is_moving = is_moving;
        if let Some(waker) = out.waker.take() {
            waker.wake();
        }
        true
    }

    /// The client has moved. What waits goes out over the websocket; `false` = the session is over.
    pub(in crate::engine) fn move_to(self: &Arc<Self>, direct: Option<TcpStream>) -> bool {
        let mut out = self.out();
        if out.transport() != Some(Transport::Polling) {
            return false;
        }
        out.is_moving = false;
        out.backlog.convert(|body| payload::to_frames(body));
        out.way = direct.map_or(Way::Task, Way::Direct);
        if let Some(waker) = out.waker.take() {
            waker.wake();
        }
        let is_free = !std::mem::replace(&mut out.is_scheduled, true);
        drop(out);
        if is_free {
            self.take_turn();
        }
        true
    }
}
