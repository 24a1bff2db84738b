//! Shared tokens in the store, their filters, and those who come with one.

mod filters;
mod tokens;
mod visitors;

pub(crate) use filters::NewSharedFilter;
pub(crate) use tokens::NewSharedToken;
pub(super) use tokens::place;
pub(crate) use visitors::VisitorRow;
