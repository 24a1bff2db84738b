//! Floor 3: the life of a request.

pub mod listen;
