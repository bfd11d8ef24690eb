//! A thin Socket.IO client: what Roomcast's tests and load scenarios connect with.
//!
//! It speaks Engine.IO v4 over WebSocket and Socket.IO v5, one namespace per connection, and it is strict:
//! where a browser's client would shrug at a server's mistake, this one ends with [`CloseReason::Protocol`].
//! It never reconnects and never drops an event without saying so.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use loadtest::Connect;
//! use serde_json::json;
//!
//! let mut client = Connect::to("127.0.0.1:3000").token("…").open().await?;
//! let answer = client.call("join", &[json!("lobby")]).await?;
//! let event = client.next_named("welcome").await?;
//! # Ok(()) }
//! ```
//!
//! # Layout
//!
//! * [`codec`] (pure): text ↔ packets: `codec/engine`, `codec/packet`, and `codec/binary` for attachments.
//! * `connect`: where to connect and as whom; the handshake, under one deadline.
//! * `client`: the handle: emit, call, next, close.
//! * `calls`: the events that wait for an acknowledgement.
//! * `connection` (I/O): the one task per client that writes and answers pings; `connection/reader`: and reads.

mod calls;
mod client;
pub mod codec;
mod connect;
mod connection;

pub use client::{Client, ClientError, CloseReason, Event};
pub use codec::placeholder;
pub use connect::{Connect, ConnectError};
