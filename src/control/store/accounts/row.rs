//! An account read from its row and its parent's: what it has set, and what holds.

use super::super::{database::Row, get_some_u64, get_u64};
use crate::{
    control::{
        Error,
        plan::Plan,
        record::{AccountRow, Settings},
        view::LimitsSet,
    },
    model::{Account, AccountId, AccountState, DestinationId, Limits, Signal},
};

/// Every account with its parent beside it.
pub(super) const SELECT: &str = "SELECT a.id, a.name, a.parent_id, a.accessible, a.suspended, a.suspended_reason, \
     a.plan, a.trial_until, a.limits, a.created_at, a.revision, \
     a.logs_destination, a.logs_inherited, a.metrics_destination, a.metrics_inherited, \
     a.traces_destination, a.traces_inherited, \
     p.suspended AS main_suspended, p.plan AS main_plan, p.trial_until AS main_trial_until, p.limits AS main_limits, \
     p.logs_destination AS main_logs, p.metrics_destination AS main_metrics, p.traces_destination AS main_traces \
     FROM accounts a LEFT JOIN accounts p ON p.id = a.parent_id WHERE a.deleted_at IS NULL";

/// Columns of the destination that is set, whether it is the parent's, and the parent's.
const DESTINATIONS: [[&str; 3]; 3] = [
    ["logs_destination", "logs_inherited", "main_logs"],
    ["metrics_destination", "metrics_inherited", "main_metrics"],
    ["traces_destination", "traces_inherited", "main_traces"],
];

pub(super) fn read(row: &Row) -> Result<AccountRow, Error> {
    let id = get_u64(row, "id")?;
    let parent = get_some_u64(row, "parent_id")?;
    let mut set = Settings {
        limits: limits(row, "limits", id)?,
        ..Settings::default()
    };
    let mut destinations = [None; 3];
    for signal in Signal::ALL {
        let [own, is_inherited, main] = DESTINATIONS[signal.index()];
        let place = &mut destinations[signal.index()];
        if row.get(is_inherited)? {
            *place = destination(row, main)?;
        } else {
            *place = destination(row, own)?;
            set.destinations[signal.index()] = Some(*place);
        }
    }
    let mut base = Limits::default();
    let mut draws_on = None;
    if let Some(main) = parent {
        let of_main = limits(row, "main_limits", id)?;
        let draws = set.limits.draws_on_main().or(of_main.draws_on_main());
        draws_on = draws.unwrap_or(false).then_some(AccountId(main));
        base = of_main.over(&base);
    }
    let is_suspended: bool = row.get("suspended")?;
    let main_suspended: Option<bool> = row.get("main_suspended")?;
    let reason: Option<String> = row.get("suspended_reason")?;
    let state = match is_suspended || main_suspended == Some(true) {
        true => AccountState::Suspended,
        false => AccountState::Active,
    };
    Ok(AccountRow {
        account: Account {
            id: AccountId(id),
            name: row.get("name")?,
            state,
            limits: set.limits.over(&base),
            draws_on,
            destinations,
        },
        parent: parent.map(AccountId),
        accessible: row.get("accessible")?,
        plan: match parent {
            Some(_) => plan(row, "main_plan", "main_trial_until")?,
            None => plan(row, "plan", "trial_until")?,
        },
        suspended: is_suspended.then(|| reason.unwrap_or_default()),
        set,
        created_at: get_u64(row, "created_at")?,
        revision: get_u64(row, "revision")?,
    })
}

/// The plan in those columns.
pub(in crate::control::store) fn plan(row: &Row, name: &str, until: &str) -> Result<Plan, Error> {
    let until: Option<i64> = row.get(until)?;
    Plan::parse(
        row.get(name)?,
        until.and_then(|until| until.try_into().ok()),
    )
    .ok_or_else(|| Error::damaged("a plan that there is not"))
}

fn destination(row: &Row, column: &str) -> Result<Option<DestinationId>, Error> {
    Ok(get_some_u64(row, column)?.map(DestinationId))
}

fn limits(row: &Row, column: &str, id: u64) -> Result<LimitsSet, Error> {
    serde_json::from_str(row.get(column)?)
        .map_err(|_| Error::damaged(format!("limits of account {id}")))
}
