//! Floor 1: what operators see. Metrics, health, logging, and the server of the operators' port.

pub mod server;
