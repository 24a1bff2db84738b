//! Deliver: the payload goes to its account's destination.

pub mod archive;
