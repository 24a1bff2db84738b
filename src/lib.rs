//! Wharfinger: an ingestion gateway.

// Tests may sleep and read clocks.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod model;

pub mod operate;
pub mod rpc;
pub mod wire;

pub mod directory;

pub mod control;
pub mod gateway;

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
