//! Settings of sub-accounts that callers send and read back. They are kept and given back, and change nothing here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{guard::is_reached, trouble::Trouble, value::boolean};
use crate::{
    control::{Control, Error},
    model::text::is_hidden,
};

const EMAIL_CHARS_MAX: usize = 254;
const NUMBER_MAX: f64 = 1e9;
const ACCOUNTS_MAX: usize = 100;

/// How a sub-account was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// As one for logs, or by our own API.
    #[default]
    TimeBased,
    Metrics,
}

/// As the store keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) email: Option<String>,
    pub(super) is_flexible: bool,
    #[serde(rename = "reservedDailyGB")]
    pub(super) reserved_daily_gb: Option<f64>,
    #[serde(rename = "maxDailyGB")]
    pub(super) max_daily_gb: Option<f64>,
    pub(super) retention_days: Option<u32>,
    pub(super) searchable: bool,
    pub(super) accessible: bool,
    pub(super) doc_size_setting: bool,
    pub(super) sharing_objects_accounts: Vec<u64>,
    pub(super) utilization_settings: Utilization,
    pub(super) plan_uts: Option<u32>,
    pub(super) authorized_accounts_ids: Vec<u64>,
}

/// How usage is measured elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Utilization {
    frequency_minutes: Option<u32>,
    #[serde(default, deserialize_with = "boolean")]
    utilization_enabled: Option<bool>,
}

/// What callers send of a sub-account; what they leave out stays as it is. Booleans may be words.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountBody {
    pub(super) account_name: Option<String>,
    email: Option<String>,
    #[serde(default, deserialize_with = "boolean")]
    is_flexible: Option<bool>,
    #[serde(rename = "reservedDailyGB")]
    reserved_daily_gb: Option<f64>,
    #[serde(rename = "maxDailyGB")]
    max_daily_gb: Option<f64>,
    retention_days: Option<u32>,
    #[serde(default, deserialize_with = "boolean")]
    searchable: Option<bool>,
    #[serde(default, deserialize_with = "boolean")]
    accessible: Option<bool>,
    #[serde(default, deserialize_with = "boolean")]
    doc_size_setting: Option<bool>,
    sharing_objects_accounts: Option<Vec<u64>>,
    utilization_settings: Option<Utilization>,
    plan_uts: Option<u32>,
    authorized_accounts_ids: Option<Vec<u64>>,
}

// === impl Kept ===

impl Kept {
    /// From the store's text.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|_| Error::damaged("settings kept for an account"))
    }

    pub(super) fn json(&self) -> Value {
        json!(self)
    }

    /// Also what the caller says.
    pub(super) fn set(&mut self, body: AccountBody) -> Result<(), Trouble> {
        if let Some(email) = body.email {
            let is_short = email.chars().count() <= EMAIL_CHARS_MAX;
            if !is_short || email.chars().any(is_hidden) {
                return Err(Trouble::invalid(format!(
                    "email has at most {EMAIL_CHARS_MAX} characters, none of them a control character or a mark of direction"
                )));
            }
            self.email = Some(email);
        }
        for (place, number) in [
            (&mut self.reserved_daily_gb, body.reserved_daily_gb),
            (&mut self.max_daily_gb, body.max_daily_gb),
        ] {
            if number.is_some_and(|number| !(0.0..=NUMBER_MAX).contains(&number)) {
                return Err(Trouble::invalid("a number of GB lies between 0 and 1e9"));
            }
            *place = number.or(*place);
        }
        for (place, ids) in [
            (
                &mut self.sharing_objects_accounts,
                body.sharing_objects_accounts,
            ),
            (
                &mut self.authorized_accounts_ids,
                body.authorized_accounts_ids,
            ),
        ] {
            if let Some(ids) = ids {
                *place = ids;
            }
        }
        self.retention_days = body.retention_days.or(self.retention_days);
        self.plan_uts = body.plan_uts.or(self.plan_uts);
        self.is_flexible = body.is_flexible.unwrap_or(self.is_flexible);
        self.searchable = body.searchable.unwrap_or(self.searchable);
        self.accessible = body.accessible.unwrap_or(self.accessible);
        self.doc_size_setting = body.doc_size_setting.unwrap_or(self.doc_size_setting);
        if let Some(settings) = body.utilization_settings {
            self.utilization_settings = settings;
        }
        Ok(())
    }
}

// === impl AccountBody ===

impl AccountBody {
    /// Refuses accounts that the main account doesn't reach: what is kept must not tell of others.
    pub(super) async fn names_only_reached(
        &self,
        control: &Control,
        main: u64,
    ) -> Result<(), Trouble> {
        for ids in [
            &self.sharing_objects_accounts,
            &self.authorized_accounts_ids,
        ] {
            let ids = ids.as_deref().unwrap_or_default();
            if ids.len() > ACCOUNTS_MAX {
                return Err(Trouble::invalid(format!(
                    "a list of accounts has {ACCOUNTS_MAX} at most"
                )));
            }
            for id in ids {
                if name_of(control, main, *id).await?.is_none() {
                    return Err(Trouble::invalid(format!("there is no account {id}")));
                }
            }
        }
        Ok(())
    }
}

/// The name of an account that a main account reaches.
pub(super) async fn name_of(
    control: &Control,
    main: u64,
    id: u64,
) -> Result<Option<String>, Trouble> {
    let row = Error::found(control.inner.store.account(id).await)?;
    let reached = row.filter(|row| id == main || is_reached(row, main));
    Ok(reached.map(|row| row.account.name))
}
