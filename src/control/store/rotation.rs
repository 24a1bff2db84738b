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

// === impl Commit ===

impl Commit {
    /// Refuses to end a token that was rotated, and that somebody still uses; says who.
    pub(crate) async fn nobody_sends(&mut self, token: &TokenRow) -> Result<(), Error> {
        let Some(successor) = token.replaced_by else {
            return Ok(());
        };
        if token.state(clock::wall_seconds()) != "live" {
            return Ok(());
        }
        let id = token.token.id.0;
        let Some(used) = self.token_use(id).await? else {
            return Ok(());
        };
        let since = self.now.saturating_sub(SENDING_MS);
        if used.last_used_at < since {
            return Ok(());
        }
        let sending = used.senders.iter().filter(|it| it.last_used_at >= since);
        let sending: Vec<_> = sending.map(|it| self.described(it)).collect();
        let who = match sending.is_empty() {
            true => "senders that are not known".to_owned(),
            false => sending.join(", "),
        };
        let end = rfc3339_seconds(token.token.expires_at).unwrap_or_default();
        Err(Error::Conflict(format!(
            "token {id} is still used, by {who}: they lose data unless they have token {successor}, which replaces it; \
             it ends by itself at {end}, or now with ?force=true"
        )))
    }

    fn described(&self, sender: &SeenSender) -> String {
        let seconds = self.now.saturating_sub(sender.last_used_at) / 1000;
        format!(
            "{:?} from {} ({seconds} s ago)",
            sender.agent, sender.address
        )
    }
}
