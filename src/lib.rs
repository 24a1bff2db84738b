//! Wharfinger: an ingestion gateway. Every shipped payload reaches its account, safe before it is answered.
//!
//! Log shippers, OpenTelemetry exporters and Prometheus servers post telemetry with a *shipping token*. The gateway finds the
//! token in memory, admits the payload under that account's limits, hands it to that account's destination, and answers only
//! when the payload is safe. A control plane owns accounts and tokens, and streams every change to every gateway.
//!
//! # The life of a request
//!
//! ```text
//!  listen        accept, TLS, HTTP/1.1 and HTTP/2, limits on time and bytes      gateway/listen
//!    |  head
//!  authenticate  one keyed hash, one probe of the directory      -> Caller      gateway/authenticate
//!    |
//!  admit         type, announced size, memory, concurrency       -> Permit      gateway/admit
//!    |  body
//!  receive       at its pace; inflated, checked, counted         -> Batch       gateway/receive
//!    |
//!  deliver       archive, http, otlp_http, otlp_grpc             -> Delivery    gateway/deliver
//!    |
//!  acknowledge   the outcome, in the sender's own protocol                      gateway/acknowledge
//! ```
//!
//! Each stage hands the next its proof, and what must happen at the end lives in `Drop`. Read [`gateway`] next: the whole path
//! stands there on one screen.
//!
//! # The house
//!
//! ```text
//! floor 0  model      the words: accounts, tokens, payloads, outcomes, books; no I/O     clock    time
//! floor 1  operate    metrics, logging, the operators' server
//!          wire       bytes and formats, no policy: scanners, inflation, gRPC framing, transcoders
//!          rpc        the feed's generated types, and their conversion to the model
//! floor 2  directory  every token and account in memory, followed from the feed, kept on disk; usage, told back over it
//! floor 3  gateway    the life of a request
//!          control    the store, the feed and the admin API; blind to the gateway
//! above    app        starts the parts in order and drains them in order; cli, config
//! ```
//!
//! `tests/floors.rs` holds who may import whom.

// Tests may sleep and read clocks.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod model;
pub mod clock;

pub mod operate;
pub mod wire;
pub mod rpc;

pub mod directory;

pub mod gateway;
pub mod control;

pub mod config;
pub mod app;
pub mod cli;
