//! Floor 0: the words of the project as types. No I/O, no runtime, nothing above.

mod account;
mod batch;
mod books;
mod change;
mod door;
mod limits;
mod network;
mod outcome;
mod rate;
mod revision;
mod signal;
mod token;

pub mod destination;
pub mod text;
pub mod usage;

pub use account::{Account, AccountId, AccountState};
pub use batch::{Chunks, Content, Counts, Encoding, LineCounts, Payload, WriteCounts};
pub use books::{Books, Loss, Page, Tally};
pub use change::{Change, Token};
pub use destination::{
    Ack, Compression, Credentials, Destination, DestinationId, DestinationKind, UpstreamTls,
};
pub use door::Door;
pub use limits::{InFlight, Limits};
pub use network::{Network, Sources};
pub use outcome::{Delivery, Over, Payer, Rejection, Written};
pub use rate::{Bucket, Buckets, Measure, Moment, Rate, Rates, Share};
pub use revision::{Position, Revision};
pub use signal::Signal;
pub use token::{Digest, DigestKey, Secret, TokenId, TokenKind, TokenState};
pub use usage::{TokenUsage, UsageReport};
