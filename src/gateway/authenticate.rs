//! Who is calling: one keyed hash, one probe of the directory. No I/O, no lock, no body read yet.

mod credentials;
#[cfg(test)]
mod clocks;

pub(in crate::gateway) use credentials::{parameters, percent_decoded};

use std::{net::IpAddr, sync::Arc};

use http::Request;

use super::doors::Entrance;
use crate::{
    clock,
    directory::{self, Directory},
    model::{AccountState, Buckets, Digest, Door, Rejection, Signal, TokenId, TokenState},
};

/// An authenticated request: proof that its token was live for this account and signal.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account behind the token, with its limits and counters.
    pub account: Arc<directory::Account>,
    /// The token's public number.
    pub token: TokenId,
    /// The one signal it ships.
    pub signal: Signal,
    /// Seconds since 1970 from which it is dead; 0 = never.
    pub expires_at: u32,
    /// What the token's requests are paid from, where it has rates of its own.
    pub buckets: Option<Arc<Buckets>>,
    digest: Digest,
    /// Where it calls from: its token may have been bound to other networks once its body is in.
    peer: IpAddr,
}

/// A token that opens nothing here, or none at all.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub rejection: Rejection,
    /// Its public number, where the directory knows it: answers and logs name it.
    pub token: Option<TokenId>,
}

/// Finds the request's token and holds it against the directory.
///
/// # Errors
/// Why not, with the token's public number where it is known.
pub fn authenticate(
    directory: &Directory,
    head: &Request<impl Sized>,
    entrance: Entrance,
    peer: IpAddr,
) -> Result<Caller, Refused> {
    let caller = identify(directory, head, peer)?;
    match check_signal(caller.signal, entrance) {
        Ok(()) => Ok(caller),
        Err(rejection) => Err(Refused {
            rejection,
            token: Some(caller.token),
        }),
    }
}

/// The same at no door: whatever its token ships.
///
/// # Errors
/// As [`authenticate`].
pub fn identify(
    directory: &Directory,
    head: &Request<impl Sized>,
    peer: IpAddr,
) -> Result<Caller, Refused> {
    let token = credentials::find(head)?;
    // A typo or a forgery in our own format dies here, and is as dead in an old table as in a fresh one.
    if !token.is_well_formed_token() {
        return Err(Rejection::UnknownToken.into());
    }
    let (digest, entry) = directory
        .look_up(token.reveal().as_bytes())
        .ok_or(Rejection::DirectoryStale)?;
    let rates = entry.as_ref().and_then(|entry| entry.rates.clone());
    let mut caller = judge(directory, digest, entry, peer)?;
    caller.buckets = rates.map(|rates| directory.buckets(caller.token, &rates));
    Ok(caller)
}

fn judge(
    directory: &Directory,
    digest: Digest,
    entry: Option<directory::Entry>,
    peer: IpAddr,
) -> Result<Caller, Refused> {
    let Some(entry) = entry else {
        // Only a table known to be fresh may say that a token doesn't exist: senders throw data away on a 401.
        let rejection = if directory.is_fresh() {
            Rejection::UnknownToken
        } else {
            Rejection::DirectoryStale
        };
        return Err(rejection.into());
    };
    let refused = |rejection| Refused {
        rejection,
        token: Some(entry.token),
    };
    // What may be taken back is only said by a table that would know of it: senders throw data away on a 401.
    let refused_for_now = |rejection| match directory.is_fresh() {
        true => refused(rejection),
        false => refused(Rejection::DirectoryStale),
    };
    match entry.state {
        // A damaged kept copy may lack this very token's revocation.
        TokenState::Live if directory.is_doubtful() => {
            return Err(refused(Rejection::DirectoryStale));
        }
        TokenState::Live => {}
        TokenState::Disabled => return Err(refused_for_now(Rejection::DisabledToken)),
        TokenState::Revoked => return Err(refused(Rejection::RevokedToken)),
    }
    if entry.expires_at != 0 && clock::wall_seconds() >= entry.expires_at {
        return Err(refused_for_now(Rejection::ExpiredToken));
    }
    let Some(account) = entry.account else {
        return Err(refused_for_now(Rejection::SuspendedAccount));
    };
    if account.record.state == AccountState::Suspended {
        return Err(refused_for_now(Rejection::SuspendedAccount));
    }
    if !entry.sources.allow(peer) {
        return Err(refused_for_now(Rejection::SourceNotAllowed));
    }
    Ok(Caller {
        account,
        token: entry.token,
        signal: entry.signal,
        expires_at: entry.expires_at,
        buckets: None,
        digest,
        peer,
    })
}

/// A tracing token is good for bulk lines too: span shippers post them there.
fn check_signal(signal: Signal, entrance: Entrance) -> Result<(), Rejection> {
    let fits = match (entrance.door, entrance.signal) {
        (Door::Bulk, _) => matches!(signal, Signal::Logs | Signal::Traces),
        (_, Some(wanted)) => signal == wanted,
        (_, None) => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Rejection::WrongSignal)
    }
}

// === impl Refused ===

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            token: None,
        }
    }
}

// === impl Caller ===

impl Caller {
    /// The keyed digest of its token.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Reads the token's state once more: a body may have taken a minute to arrive, and a revocation means it. The account comes
    /// back as it is now: its destination may have been changed meanwhile.
    ///
    /// # Errors
    /// What it has become since.
    pub fn confirm(&self, directory: &Directory) -> Result<Arc<directory::Account>, Rejection> {
        // Found before and not now: the whole table was replaced, perhaps under another key. That proves nothing against it.
        let entry = directory
            .find(&self.digest)
            .ok_or(Rejection::DirectoryStale)?;
        match judge(directory, self.digest, Some(entry), self.peer) {
            Ok(now) if now.account.record.id == self.account.record.id => Ok(now.account),
            Ok(_) => Err(Rejection::UnknownToken),
            Err(refused) => Err(refused.rejection),
        }
    }
}
