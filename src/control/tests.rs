//! The control plane from outside: its API, its feed over pipes and sockets, its files.

pub(super) mod stores;
mod world;
mod people;
mod api;
mod bodies;
mod permissions;
mod accounts;
mod held;
mod imports;
mod sessions;
mod audit;
mod following;
mod writers;
mod sharing;
mod moving;
mod proof;
mod keeping;
mod files;
mod killing;
mod figures;
mod port;
mod usage;
