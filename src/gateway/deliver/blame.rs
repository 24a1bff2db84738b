//! Why a destination took nothing, where it has not said so itself.

use super::connect::ConnectFault;
use crate::model::{Destination, Rejection};

/// Our own set-up, in one sentence about the destination.
pub(super) fn misconfigured(destination: &Destination, what: &str) -> Rejection {
    Rejection::DestinationMisconfigured(format!("destination {} {what}", destination.name).into())
}

/// A gateway of our kind, and an endpoint or a proxy that asks it for a rehearsal: whatever it says, it has kept nothing.
pub(super) fn only_validates(destination: &Destination) -> Rejection {
    misconfigured(
        destination,
        "validates what it is sent, and keeps none of it",
    )
}

/// The destination is down, slow or overloaded.
pub(super) fn unavailable(why: &'static str) -> Rejection {
    Rejection::DestinationUnavailable {
        retry_after: None,
        why: why.into(),
    }
}

/// There is no connection.
pub(super) fn no_connection(destination: &Destination, fault: ConnectFault) -> Rejection {
    match fault {
        ConnectFault::Down(why) => Rejection::DestinationUnavailable {
            retry_after: None,
            why,
        },
        ConnectFault::Setup(why) => misconfigured(destination, &format!("can't be used: {why}")),
    }
}
