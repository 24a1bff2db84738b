//! The control plane from outside: its API, its feed over pipes and sockets, its files.

mod world;
mod people;
mod api;
mod bodies;
mod permissions;
mod accounts;
mod sessions;
mod audit;
mod following;
mod proof;
mod keeping;
mod killing;
mod figures;
mod port;
