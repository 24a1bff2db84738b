//! The control plane from outside: its API, its feed over pipes and sockets, its files.

mod world;
mod api;
mod following;
mod proof;
mod keeping;
mod killing;
mod figures;
mod port;
mod usage;
