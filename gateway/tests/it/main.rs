//! Behaviour of whole nodes: in this process over the memory bus, or as the built binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod api;
mod cli;
mod cluster;
mod config;
mod drain;
mod engine_frames;
mod engine_packets;
mod engine_strangers;
mod explain;
mod limits;
mod metrics_doc;
mod operations;
mod orders;
mod policy_doc;
mod relays;
mod reload;
mod revocation;
mod secrets;
mod security_doc;
mod support;
mod tail;
mod tidy;
mod tls;
