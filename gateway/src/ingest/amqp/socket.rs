//! The connection's socket, so that it can be ended whatever the library waits for.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
};

/// Ends the connection when it is dropped: also one whose broker accepted it and never said a word, which the library
/// would keep, with a thread, for as long as that lasts.
#[derive(Default)]
pub(super) struct Socket(Arc<Mutex<State>>);

/// What the connecting part of the library hands the socket to.
#[derive(Clone)]
pub(super) struct Holder(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Held(TcpStream),
    Dropped,
}

impl Socket {
    pub(super) fn holder(&self) -> Holder {
        Holder(self.0.clone())
    }
}

impl Holder {
    /// Takes a second handle of a socket. Whether it is still wanted.
    pub(super) fn hold(&self, socket: &impl AsFd) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Dropped) {
            return false;
        }
        if let Ok(handle) = socket.as_fd().try_clone_to_owned() {
            *state = State::Held(handle.into());
        }
        true
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Held(socket) = std::mem::replace(&mut *state, State::Dropped) {
            // It may have ended before.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;

    #[test]
    fn what_is_held_ends_with_its_owner_and_nothing_is_held_after_that() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ours = connect();
        let socket = Socket::default();
        let holder = socket.holder();
        assert!(holder.hold(&ours));
        drop(socket);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        assert!(!holder.hold(&connect()));
    }
}
