//! The composition root: starts the parts in order, drains them in order.
