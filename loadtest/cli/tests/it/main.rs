//! The program against real nodes: whole scenarios, with a handful of clients for seconds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod arguments;
mod doubts;
mod node;
mod readme;
mod scenarios;
