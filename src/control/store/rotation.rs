//! The old token of a rotation is not ended before its overlap while somebody ships with it.

use super::{Commit, SeenSender, database::query, expiry_of, get_u64, signed};
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
pub(super) const NOW_SECONDS: u32 = 10 * 60;
/// Of an overlap. It counts as one token of the plan, so it is no way to more of them; no second one until it ends, where the
/// plan has no room. 30 days.
pub(crate) const OVERLAP_SECONDS_MAX: u32 = 30 * 86_400;

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

    /// Refuses networks that shut out whoever uses a token that was rotated, or the last one: nothing else takes what they
    /// send.
    pub(crate) async fn shuts_nobody_out(
        &mut self,
        old: &TokenRow,
        new: &TokenRow,
    ) -> Result<(), Error> {
        let (before, after) = (&old.token.sources, &new.token.sources);
        if before == after || !after.is_restricted() {
            return Ok(());
        }
        let Some(mut senders) = self.senders(old).await? else {
            return Ok(());
        };
        let are_known = !senders.is_empty();
        senders.retain(|it| before.allow(it.address) && !after.allow(it.address));
        if are_known && senders.is_empty() {
            return Ok(());
        }
        if old.replaced_by.is_none() && !self.is_the_last(old).await? {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "token {} is still used, by {}: those networks shut them out, and they lose data; add theirs, or say \
             ?force=true",
            old.token.id,
            self.named(&senders)
        )))
    }

    /// Who still uses a live token, in words.
    async fn sending(&mut self, token: &TokenRow) -> Result<Option<String>, Error> {
        let senders = self.senders(token).await?;
        Ok(senders.map(|senders| self.named(&senders)))
    }

    /// Who still uses a live token, as far as they are known; `None` if nobody does.
    async fn senders(&mut self, token: &TokenRow) -> Result<Option<Vec<SeenSender>>, Error> {
        if token.state(clock::wall_seconds()) != "live" {
            return Ok(None);
        }
        let Some(mut used) = self.token_use(token.token.id.0).await? else {
            return Ok(None);
        };
        let since = self.now.saturating_sub(SENDING_MS);
        if used.last_used_at < since {
            return Ok(None);
        }
        used.senders.retain(|it| it.last_used_at >= since);
        Ok(Some(used.senders))
    }

    /// Refuses to rotate a token while the one that it replaces goes on, unless the plan has room for one more: overlaps in a
    /// chain would be tokens beyond it.
    pub(crate) async fn has_room_for_overlap(&mut self, token: &TokenRow) -> Result<(), Error> {
        let now = clock::wall_seconds();
        let (account, signal) = (token.token.account.0, token.token.signal);
        let plan = self.account(account).await?.plan;
        let Some(most) = plan.tokens_max(now) else {
            return Ok(());
        };
        let Some((before, until)) = self.predecessor(token, now).await? else {
            return Ok(());
        };
        if self.enabled_tokens(account, signal, most).await? < most {
            return Ok(());
        }
        let until = rfc3339_seconds(until).unwrap_or_default();
        Err(Error::Conflict(format!(
            "token {} replaces token {before}, which goes on until {until}, and plan {} has no room for another one beside \
             them; end token {before} first, or rotate once it has ended",
            token.token.id,
            plan.name()
        )))
    }

    /// Makes a rotated token that gets a later end one of its own again; tells whether it did. Up to the longest overlap after
    /// its rotation it stays what the rotation has made of it, while its successor lives: then only the overlap lasts longer.
    pub(crate) async fn reopens(
        &mut self,
        old: &TokenRow,
        new: &mut TokenRow,
    ) -> Result<bool, Error> {
        let (before, after) = (old.token.expires_at, new.token.expires_at);
        let is_later = after == 0 || after > before;
        let Some(successor) = old.replaced_by.filter(|_| is_later) else {
            return Ok(false);
        };
        let successor = Error::found(self.token(successor).await)?;
        let is_overlap = successor.is_some_and(|row| {
            // It was made by the rotation.
            let most = row.created_at / 1000 + u64::from(OVERLAP_SECONDS_MAX);
            after != 0 && u64::from(after) <= most && row.state(clock::wall_seconds()) == "live"
        });
        if !is_overlap {
            new.replaced_by = None;
        }
        Ok(!is_overlap)
    }

    /// The live token that this one replaces, with its end.
    async fn predecessor(
        &mut self,
        token: &TokenRow,
        now: u32,
    ) -> Result<Option<(u64, u32)>, Error> {
        query(
            "SELECT id, expires_at FROM shipping_tokens WHERE account_id = $1 AND replaced_by = $2 \
             AND enabled AND revoked_at IS NULL AND expires_at > $3 LIMIT 1",
        )
        .bind(signed(token.token.account.0))
        .bind(signed(token.token.id.0))
        .bind(i64::from(now))
        .read_optional(self.connection()?, |row| {
            Ok((get_u64(row, "id")?, expiry_of(row)?))
        })
        .await
    }

    fn named(&self, senders: &[SeenSender]) -> String {
        if senders.is_empty() {
            return "senders that are not known".to_owned();
        }
        let senders: Vec<_> = senders.iter().map(|it| self.described(it)).collect();
        senders.join(", ")
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
