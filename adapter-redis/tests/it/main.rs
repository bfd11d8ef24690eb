//! Whole behaviours, seen from outside: the contract of the bus on both implementations, clusters in one process on
//! a paused clock, and a real Redis that is stopped, killed and frozen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod bus_contract;
mod cluster;
mod faults;
mod foreign;
mod function;
mod ingest;
mod interest;
mod joins;
mod notices;
mod redis;
mod relay;
mod sets;
mod streams;
mod support;
mod tidy;
mod versions;
