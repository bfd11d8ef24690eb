//! The client against a server that a test plays by hand, frame by frame, over a real socket.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]

mod connecting;
mod ending;
mod events;
mod peer;
