//! Wharfinger: an ingestion gateway.

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
