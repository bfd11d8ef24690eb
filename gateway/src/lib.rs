//! Roomcast's gateway: a Socket.IO server that nobody has to program.
//!
//! | File | Concept |
//! |---|---|
//! | `app` | the composition root: the only place that joins the parts, and the owner of all tasks |
//! | `config` | everything a node is told, summed up from the parts |
//! | `settings` | keys, layers (one file, the environment, flags), all problems at once |
//! | `http` | the public listener |
//! | `http_client` | requests to other servers |
//! | `webhook` | requests to the backend, signed and bounded |
//! | `admin`, `api` | the operations listener and the API for backends |
//! | `engine` | Socket.IO itself, behind a seam |
//! | `auth` | tokens to verified claims |
//! | `policy` | claims to rooms, events to decisions |
//! | `rules` | the policy in force, and the one that is tried out beside it |
//! | `reload` | another configuration for a running node |
//! | `query` | the query of a URL |
//! | `pattern` | names, and beginnings of names |
//! | `sessions`, `session`, `roster` | who is let in; one client's life; all of them |
//! | `population` | who is connected: users to sockets and back |
//! | `relaying` | from a client to other clients |
//! | `forwarding` | events of clients for the backend, and its answers |
//! | `hooks` | what the backend is asked about clients |
//! | `joining` | clients that wait for a room to be opened, or for a token |
//! | `expiry` | when tokens end |
//! | `ingest` | messages of backends' own channels |
//! | `notices` | who connected and disconnected, for backends |
//! | `delivery` | from the bus to the sockets; what other nodes ask and order |
//! | `tls` | the certificates of both listeners |
//! | `limits` | what one client, address or user may take of a node |
//! | `revocation` | tokens that are refused before they expire |
//! | `refusal` | everything a client can be refused with |
//! | `tail` | what passes this node, for whoever looks |
//! | `drain` | stopping |
//! | `dev` | `serve --dev`: the first minute |
//! | `cli` | the command line |
//! | `metrics`, `telemetry` | numbers and logs |
//!
//! `docs/architecture.md` says which of them may know which, and `docs/life-of-an-event.md` walks through them.

pub mod admin;
pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod dev;
pub mod drain;
pub mod engine;
mod expiry;
pub mod forwarding;
pub mod hooks;
pub mod http;
pub mod http_client;
pub mod ingest;
pub mod joining;
pub mod limits;
pub mod metrics;
pub mod notices;
pub mod pattern;
pub mod policy;
pub mod population;
pub mod query;
pub mod refusal;
mod relaying;
pub mod reload;
pub mod revocation;
mod roster;
pub mod rules;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod tail;
pub mod telemetry;
pub mod tls;
pub mod webhook;
