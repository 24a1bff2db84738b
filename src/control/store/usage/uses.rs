//! When and by whom each token was last used.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{Clocks, Line, ROWS, one_of, values};
use crate::{
    control::{
        Error,
        record::Millis,
        store::{
            Commit, Store,
            database::{Row, query},
            get_u64, positive, signed,
        },
    },
    model::{TokenUsage, usage::SENDERS_MAX},
};

const SELECT: &str =
    "SELECT token_id, last_used_at, last_accepted_at, senders FROM token_uses WHERE token_id IN (";

/// A token's last use.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenUse {
    /// 0 = never.
    pub(crate) last_used_at: Millis,
    /// 0 = never.
    pub(crate) last_accepted_at: Millis,
    /// The latest first.
    pub(crate) senders: Vec<SeenSender>,
}

/// Who shipped with a token, and when last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenSender {
    pub(crate) agent: String,
    pub(crate) address: IpAddr,
    pub(crate) last_used_at: Millis,
}

// === impl Store ===

impl Store {
    /// The last use of those tokens; what was never used is left out.
    pub(crate) async fn token_uses(&self, ids: &[u64]) -> Result<BTreeMap<u64, TokenUse>, Error> {
        let mut uses = BTreeMap::new();
        for ids in ids.chunks(ROWS) {
            uses.extend(
                one_of(query(SELECT), ids)
                    .read_all(&self.reader, read)
                    .await?,
            );
        }
        Ok(uses)
    }

    /// When any token of that account and of its sub-accounts was last accepted, as far as gateways have told: those that
    /// are gone, too. It looks at all of them, and not behind lists: somebody waits for a proof.
    pub(crate) async fn last_accepted_in(&self, account: u64) -> Result<Option<Millis>, Error> {
        let last: Option<Option<i64>> = query(
            "SELECT MAX(u.last_accepted_at) FROM shipping_tokens t JOIN token_uses u ON u.token_id = t.id \
             WHERE t.account_id IN (SELECT id FROM accounts WHERE id = $1 OR parent_id = $1)",
        )
        .bind(signed(account))
        .fetch_value(&self.reader)
        .await?;
        let last = last.flatten().map(positive).transpose()?;
        Ok(last.filter(|at| *at != 0))
    }
}

// === impl Commit ===

impl Commit {
    /// The last use of that token, as far as gateways have told.
    pub(in crate::control::store) async fn token_use(
        &mut self,
        id: u64,
    ) -> Result<Option<TokenUse>, Error> {
        let row = one_of(query(SELECT), &[id])
            .read_optional(self.connection()?, read)
            .await?;
        Ok(row.map(|(_, used)| used))
    }

    /// Merges a report's last uses and senders into what is known.
    pub(super) async fn add_uses(
        &mut self,
        lines: &[Line<'_>],
        clocks: Clocks,
    ) -> Result<(), Error> {
        for lines in lines.chunks(ROWS) {
            let ids: Vec<_> = lines.iter().map(|line| line.token).collect();
            let rows = one_of(query(SELECT), &ids)
                .read_all(self.connection()?, read)
                .await?;
            let mut uses: BTreeMap<_, _> = rows.into_iter().collect();
            let is_use = |usage: &TokenUsage| usage.last_used_at | usage.last_accepted_ms != 0;
            for line in lines.iter().filter(|line| is_use(line.usage)) {
                let used = uses.entry(line.token).or_default();
                let accepted_at = clocks.ours_ms(line.usage.last_accepted_ms);
                used.last_accepted_at = used.last_accepted_at.max(accepted_at);
                if line.usage.last_used_at == 0 {
                    continue;
                }
                used.last_used_at = used.last_used_at.max(clocks.ours(line.usage.last_used_at));
                for sender in &line.usage.senders {
                    used.seen(SeenSender {
                        agent: sender.agent.clone(),
                        address: sender.address,
                        last_used_at: clocks.ours(sender.last_used_at),
                    });
                }
            }
            if uses.is_empty() {
                continue;
            }
            let rows = uses.iter().map(|(token, used)| {
                let senders = serde_json::to_string(&used.senders).unwrap_or_default();
                [
                    signed(*token).into(),
                    signed(used.last_used_at).into(),
                    signed(used.last_accepted_at).into(),
                    senders.into(),
                ]
            });
            let insert = query(
                "INSERT INTO token_uses (token_id, last_used_at, last_accepted_at, senders) VALUES ",
            );
            values(insert, rows)
                .and(
                    " ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at, \
                     last_accepted_at = excluded.last_accepted_at, \
                     senders = excluded.senders",
                    [],
                )
                .execute(self.connection()?)
                .await?;
        }
        Ok(())
    }
}

impl Commit {
    /// A token that has ended was accepted then, whatever usage will tell of it.
    pub(in crate::control::store) async fn add_accepted(
        &mut self,
        token: u64,
        at: Millis,
    ) -> Result<(), Error> {
        query(
            "INSERT INTO token_uses (token_id, last_used_at, last_accepted_at, senders) \
             SELECT id, $2, $2, '[]' FROM shipping_tokens WHERE id = $1 \
             ON CONFLICT (token_id) DO UPDATE SET last_accepted_at = CASE \
             WHEN token_uses.last_accepted_at < $2 THEN $2 ELSE token_uses.last_accepted_at END",
        )
        .bind(signed(token))
        .bind(signed(at))
        .execute(self.connection()?)
        .await?;
        Ok(())
    }
}

// === impl TokenUse ===

impl TokenUse {
    fn seen(&mut self, sender: SeenSender) {
        let is_same = |it: &SeenSender| it.address == sender.address && it.agent == sender.agent;
        let before = self.senders.iter().position(is_same);
        let before = before.map_or(0, |at| self.senders.remove(at).last_used_at);
        let last_used_at = before.max(sender.last_used_at);
        let at = self
            .senders
            .partition_point(|it| it.last_used_at > last_used_at);
        self.senders.insert(
            at,
            SeenSender {
                last_used_at,
                ..sender
            },
        );
        self.senders.truncate(SENDERS_MAX);
    }
}

fn read(row: &Row) -> Result<(u64, TokenUse), Error> {
    let token = get_u64(row, "token_id")?;
    let senders = serde_json::from_str(row.get("senders")?)
        .map_err(|_| Error::damaged(format!("senders of token {token}")))?;
    let used = TokenUse {
        last_used_at: get_u64(row, "last_used_at")?,
        last_accepted_at: get_u64(row, "last_accepted_at")?,
        senders,
    };
    Ok((token, used))
}
