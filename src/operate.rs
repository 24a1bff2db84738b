//! Floor 1: what operators see. Metrics, logging, and the server of the operators' port.

pub mod metrics;
pub mod process;
pub mod logging;
pub mod server;
