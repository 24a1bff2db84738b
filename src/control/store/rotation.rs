//! The old token of a rotation is not ended before its overlap while somebody ships with it.

use super::{Commit, SeenSender};
use crate::{
    clock,
    control::{
        Error,
        record::{Millis, TokenRow, rfc3339_seconds},
    },
};

/// Whoever used it since is taken to go on: longer than shippers wait for their next batch, and than gateways for their
/// next report.
const SENDING_MS: Millis = 10 * 60_000;
/// An end that is nearer is one now: who was seen with the token would still be taken to use it.
const NOW_SECONDS: u32 = 10 * 60;

// === impl Commit ===

impl Commit {
    /// Refuses to end a token that was rotated, and that somebody still uses; says who.
    pub(crate) async fn nobody_sends(&mut self, token: &TokenRow) -> Result<(), Error> {
        let Some(successor) = token.replaced_by else {
            return Ok(());
        };
        let Some(who) = self.sending(token).await? else {
            return Ok(());
        };
        let id = token.token.id;
        let end = rfc3339_seconds(token.token.expires_at).unwrap_or_default();
        Err(Error::Conflict(format!(
            "token {id} is still used, by {who}: they lose data unless they have token {successor}, which replaces it; \
             it ends by itself at {end}, or now with ?force=true"
        )))
    }

    /// Refuses to rotate a token that somebody uses with an overlap in which they can't take its successor.
    pub(crate) async fn leaves_time(
        &mut self,
        token: &TokenRow,
        ending: &TokenRow,
        now: u32,
    ) -> Result<(), Error> {
        if !token.is_cut_short(ending, now) {
            return Ok(());
        }
        let Some(who) = self.sending(token).await? else {
            return Ok(());
        };
        Err(Error::Conflict(format!(
            "token {} is still used, by {who}: they lose data unless they have time to take its successor; say \
             overlap_seconds of {NOW_SECONDS} or more; once it is rotated, ?force=true ends it earlier",
            token.token.id
        )))
    }

    /// Who still uses a live token, in words.
    async fn sending(&mut self, token: &TokenRow) -> Result<Option<String>, Error> {
        if token.state(clock::wall_seconds()) != "live" {
            return Ok(None);
        }
        let Some(used) = self.token_use(token.token.id.0).await? else {
            return Ok(None);
        };
        let since = self.now.saturating_sub(SENDING_MS);
        if used.last_used_at < since {
            return Ok(None);
        }
        let sending = used.senders.iter().filter(|it| it.last_used_at >= since);
        let sending: Vec<_> = sending.map(|it| self.described(it)).collect();
        Ok(Some(match sending.is_empty() {
            true => "senders that are not known".to_owned(),
            false => sending.join(", "),
        }))
    }

    fn described(&self, sender: &SeenSender) -> String {
        let seconds = self.now.saturating_sub(sender.last_used_at) / 1000;
        format!(
            "{:?} from {} ({seconds} s ago)",
            sender.agent, sender.address
        )
    }
}

// === impl TokenRow ===

impl TokenRow {
    /// Whether that change of its expiry ends a live token as good as now.
    pub(crate) fn is_cut_short(&self, new: &Self, now: u32) -> bool {
        let (before, after) = (self.token.expires_at, new.token.expires_at);
        let is_earlier = after != 0 && (before == 0 || after < before);
        is_earlier && after < now.saturating_add(NOW_SECONDS) && self.state(now) == "live"
    }
}
