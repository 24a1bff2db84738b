//! Floor 1: the feed's generated types, and their conversion to and from the model, here and nowhere else.

mod convert;
mod usage;

pub use convert::Invalid;
pub use usage::LeftOut;

/// `proto/wharfinger/feed/v1/feed.proto`, generated.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod feed {
    tonic::include_proto!("wharfinger.feed.v1");
}
