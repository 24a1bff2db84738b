//! What may stand in the body of a new or changed account.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{
    caller::Permit,
    extract::{Reference, end, nullable},
    problem::Problem,
};
use crate::{
    control::{
        Error,
        plan::Plan,
        record::Settings,
        sayable::none_named,
        store::{AccountEdit, Commit},
        view::LimitsSet,
    },
    model::{DestinationId, Signal, text::is_hidden},
};

const REASON_CHARS_MAX: usize = 500;

/// An account to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAccount)]
pub(in super::super) struct NewAccountBody {
    pub(super) name: String,
    /// The main account, of a sub-account.
    pub(super) parent: Option<Reference>,
    /// `community` unless said otherwise; `pro`, `enterprise`, `trial` or `unlimited`.
    pub(super) plan: Option<String>,
    /// RFC 3339; with plan `trial`.
    pub(super) trial_until: Option<String>,
    /// The same in seconds from now, in its place.
    pub(super) trial_seconds: Option<u32>,
    /// Whether the parent's people and API tokens reach it; true unless an operator says otherwise.
    pub(super) accessible: Option<bool>,
    pub(super) destinations: Option<DestinationsBody>,
    pub(super) limits: Option<LimitsSet>,
}

/// What to change of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct AccountChange {
    pub(super) name: Option<String>,
    /// Of a main account.
    pub(super) plan: Option<String>,
    /// RFC 3339; with plan `trial`.
    pub(super) trial_until: Option<String>,
    /// The same in seconds from now, in its place.
    pub(super) trial_seconds: Option<u32>,
    /// Whether the parent's people and API tokens reach this sub-account.
    pub(super) accessible: Option<bool>,
    /// `active` or `suspended`.
    pub(super) state: Option<String>,
    /// Why it is suspended.
    pub(super) reason: Option<String>,
    pub(super) destinations: Option<DestinationsBody>,
    pub(super) limits: Option<LimitsSet>,
    /// Signals whose destinations, and limits, are to be the parent's again; a main account's limits the default again.
    pub(super) inherit: Option<Vec<String>>,
}

/// Where signals go, by id or name; null refuses the signal.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct DestinationsBody {
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Reference>)]
    logs: Option<Option<Reference>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Reference>)]
    metrics: Option<Option<Reference>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Reference>)]
    traces: Option<Option<Reference>>,
}

// === impl AccountChange ===

impl AccountChange {
    /// Whether the caller may set what is named.
    pub(super) fn check(&self, permit: &Permit) -> Result<(), Problem> {
        permit.operators_only(
            "the plan",
            self.plan.is_some() || self.trial_until.is_some() || self.trial_seconds.is_some(),
        )?;
        permit.operators_only("the state", self.state.is_some() || self.reason.is_some())?;
        permit.operators_only("destinations", self.destinations.is_some())?;
        permit.operators_only("limits", self.limits.is_some())?;
        permit.operators_only("what is inherited", self.inherit.is_some())
    }
}

/// Nobody would be left who runs it, and only operators could let somebody in again.
pub(super) fn out_of_reach() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "a sub-account that has no admin of its own stays accessible to its main account; make an admin in it first",
    )
}

pub(super) fn plan_of_a_sub_account() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "a sub-account has its main account's plan",
    )
}

/// The plan that is named, if one is.
pub(super) fn plan(
    name: Option<&str>,
    until: Option<&str>,
    in_seconds: Option<u32>,
) -> Result<Option<Plan>, Problem> {
    let until = end(["trial_until", "trial_seconds"], until, in_seconds)?;
    let Some(name) = name else {
        return match until {
            None => Ok(None),
            Some(_) => Err(Problem::invalid(
                "trial_until, or trial_seconds, goes with the plan trial",
            )),
        };
    };
    Plan::parse(name, until).map(Some).ok_or_else(|| {
        Problem::invalid(
            "plan is community, pro, enterprise, unlimited, or trial together with trial_until or trial_seconds",
        )
    })
}

pub(super) fn suspend(
    edit: &mut AccountEdit,
    state: Option<&str>,
    reason: Option<String>,
) -> Result<(), Problem> {
    if let Some(reason) = &reason
        && (reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(is_hidden))
    {
        return Err(Problem::invalid(format!(
            "a reason has at most {REASON_CHARS_MAX} characters, none of them a control character or a mark of direction"
        )));
    }
    let is_suspended = match state {
        None => edit.suspended.is_some(),
        Some("active") => false,
        Some("suspended") => true,
        Some(_) => return Err(Problem::invalid("state is active or suspended")),
    };
    if reason.is_some() && !is_suspended {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "a reason is for a suspended account",
        ));
    }
    edit.suspended = is_suspended.then(|| reason.or(edit.suspended.take()).unwrap_or_default());
    Ok(())
}

/// Takes back what is set.
pub(super) fn inherit(
    set: &mut Settings,
    has_parent: bool,
    names: &[String],
) -> Result<(), Problem> {
    for (at, name) in names.iter().enumerate() {
        match Signal::parse(name) {
            Some(signal) if has_parent => set.destinations[signal.index()] = None,
            Some(_) => {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    "a main account inherits no destinations; null refuses the signal",
                ));
            }
            None if set.limits.unset(name) => {}
            None => {
                return Err(Problem::invalid(format!(
                    "inherit[{at}] is neither a signal nor a limit"
                )));
            }
        }
    }
    Ok(())
}

pub(super) async fn apply(
    commit: &mut Commit,
    set: &mut Settings,
    destinations: Option<DestinationsBody>,
    limits: Option<LimitsSet>,
) -> Result<(), Problem> {
    let destinations = destinations.unwrap_or_default();
    for (signal, reference) in [
        (Signal::Logs, destinations.logs),
        (Signal::Metrics, destinations.metrics),
        (Signal::Traces, destinations.traces),
    ] {
        let destination = match reference {
            None => continue,
            Some(None) => None,
            Some(Some(reference)) => Some(destination_id(commit, reference).await?),
        };
        set.destinations[signal.index()] = Some(destination);
    }
    let limits = limits.unwrap_or_default();
    set.limits.set(limits).map_err(Problem::invalid)
}

async fn destination_id(
    commit: &mut Commit,
    reference: Reference,
) -> Result<DestinationId, Problem> {
    let found = match &reference {
        Reference::Id(id) => commit.destination(*id).await.ok().map(|_| *id),
        Reference::Name(name) => commit.destination_named(name).await?,
    };
    found.map(DestinationId).ok_or_else(|| {
        let none = match &reference {
            Reference::Id(id) => Error::NotFound(format!("there is no destination {id}")),
            Reference::Name(name) => none_named("destination", name),
        };
        none.into()
    })
}
