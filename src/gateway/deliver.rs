//! The last stage before the answer: to the destination of the account.

pub mod upstream;

mod shipment;
mod target;
mod http;
mod grpc;
mod answer;
mod blame;
mod pool;
mod connect;
mod body;
mod config;
