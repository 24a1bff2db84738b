//! `/v1/audit-trail`: the audit log of the account and the sub-accounts that it reaches.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    guard::Key,
    trouble::Trouble,
    value::{Loose, boolean},
};
use crate::control::{
    Control,
    record::AuditRow,
    store::{AuditFilter, Whose},
};
use crate::model::text::is_hidden;

const SIZE: u32 = 25;
const SIZE_MAX: u32 = 500;
const FROM_MAX: u64 = 1_000_000;

/// Which records, and which page of them. Dates are milliseconds since 1970.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trail {
    /// How many to leave out from the beginning.
    from: Option<u64>,
    /// 25 unless said otherwise, 500 at most.
    size: Option<u32>,
    from_date: Option<u64>,
    to_date: Option<u64>,
    /// The latest first, unless said otherwise.
    #[serde(default, deserialize_with = "boolean")]
    sort_descending: Option<bool>,
    /// Such as `token.create`.
    audit_event_type: Option<String>,
    audit_event_user: Option<Asked>,
}

/// Whose records, by `user/3` or `api_token/1`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Asked {
    full_name: Option<String>,
}

/// A page of records, and how many there are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entries {
    page_size: u32,
    from: u64,
    total: u64,
    results: Vec<Entry>,
}

/// A record.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    audit_event_user: Actor,
    /// Milliseconds since 1970.
    date: u64,
    audit_event_type: String,
    audit_event_type_title: String,
    /// What it concerns, such as `token/9`.
    subject: String,
    ip: Option<String>,
    extra_data_list: Vec<Difference>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Actor {
    id: u64,
    full_name: String,
    /// Whether it is an API token, and nobody's session.
    user_token: bool,
}

/// A field that changed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Difference {
    field_name: String,
    old_value: Value,
    new_value: Value,
}

/// Lists audit records.
#[utoipa::path(post, path = "/v1/audit-trail", request_body = Trail, responses((status = 200, body = Entries)))]
pub(super) async fn list(
    State(control): State<Control>,
    Extension(key): Extension<Key>,
    Loose(trail): Loose<Trail>,
) -> Result<Json<Entries>, Trouble> {
    let (from, size) = (trail.from.unwrap_or(0), trail.size.unwrap_or(SIZE));
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(Trouble::invalid(format!(
            "size must lie between 1 and {SIZE_MAX}"
        )));
    }
    if from > FROM_MAX {
        return Err(Trouble::invalid(format!(
            "from may be {FROM_MAX} at most; narrow by fromDate and toDate"
        )));
    }
    let actor = trail.audit_event_user.unwrap_or_default().full_name;
    let texts = [&trail.audit_event_type, &actor].into_iter().flatten();
    if texts.into_iter().any(|text| text.chars().any(is_hidden)) {
        return Err(Trouble::invalid(
            "what is looked for has characters that nobody sees",
        ));
    }
    let filter = AuditFilter {
        whose: Whose {
            home: Some(key.account),
            account: None,
        },
        action: trail.audit_event_type,
        actor,
        subject: None,
        from: trail.from_date,
        to: trail.to_date,
    };
    let is_descending = trail.sort_descending.unwrap_or(true);
    let store = &control.inner.store;
    let (total, rows) = store.audit_page(&filter, is_descending, from, size).await?;
    Ok(Json(Entries {
        page_size: size,
        from,
        total,
        results: rows.into_iter().map(Entry::from).collect(),
    }))
}

// === impl Entry ===

impl From<AuditRow> for Entry {
    fn from(row: AuditRow) -> Self {
        let name = row.who.name;
        let id = name.split_once('/').and_then(|(_, id)| id.parse().ok());
        Self {
            audit_event_user: Actor {
                id: id.unwrap_or(0),
                user_token: name.starts_with("api_token/"),
                full_name: name,
            },
            date: row.at,
            audit_event_type: row.action.clone(),
            audit_event_type_title: row.action,
            subject: row.subject,
            ip: row.who.address,
            extra_data_list: differences(row.old.as_deref(), row.new.as_deref()),
        }
    }
}

/// Fields that are not the same before and afterwards.
fn differences(old: Option<&str>, new: Option<&str>) -> Vec<Difference> {
    let fields = |text: Option<&str>| -> Map<String, Value> {
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    };
    let (old, new) = (fields(old), fields(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| value(&old, name) != value(&new, name))
        .map(|name| Difference {
            field_name: name.clone(),
            old_value: value(&old, name),
            new_value: value(&new, name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let told = differences(
            Some(r#"{"name": "a", "id": 1, "gone": true}"#),
            Some(r#"{"name": "b", "id": 1, "nothing": null}"#),
        );
        let told: Vec<_> = told
            .iter()
            .map(|it| format!("{} {} {}", it.field_name, it.old_value, it.new_value))
            .collect();
        assert_eq!(told, ["gone true null", "name \"a\" \"b\""]);
        assert!(differences(None, Some("no JSON")).is_empty());
    }
}
