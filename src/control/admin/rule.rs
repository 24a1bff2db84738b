//! What a route needs of its caller, and the one function that decides.

use axum::http::StatusCode;

use super::{caller::Caller, problem::Problem};
use crate::control::{record::AccountRow, scope::Scope};

/// A route's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct Rule {
    /// In lower case.
    pub(in crate::control) method: &'static str,
    pub(in crate::control) path: &'static str,
    pub(in crate::control) needs: Needs,
    pub(in crate::control) concerns: Concerns,
    pub(in crate::control) readers: Readers,
}

/// What a caller must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::control) enum Needs {
    /// Nothing: there need not be a caller.
    Open,
    /// To be somebody.
    Caller,
    Read,
    Tokens,
    Accounts,
    /// To be over all accounts; the scope `read` for looking, `accounts` for changing.
    Operator,
    /// A shared token: nobody else gets in, and it gets in nowhere else.
    Shared,
}

/// Whose account it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::control) enum Concerns {
    /// Nobody's.
    Nothing,
    /// All that the caller reaches: the handler lists nothing else.
    Listed,
    /// The one that the body names: the handler asks again with it.
    Stated,
    /// Those that the lines of a long body name: the handler asks with each, and who calls with each batch.
    Lines,
    /// The one whose id is in the path.
    Account,
    /// That of the shipping token in the path.
    Token,
    /// That of the API token in the path.
    ApiToken,
    /// That of the shared token in the path.
    SharedToken,
    /// That of the shared filter in the path.
    SharedFilter,
    /// That of the person in the path.
    User,
}

/// Whether a person who only reads may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::control) enum Readers {
    May,
    MayNot,
}

/// What a request is about, as the store has it now.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// As an answer names it that must not tell whether it exists.
    pub(super) name: String,
    /// `None` is the operators' own.
    pub(super) account: Option<Reached>,
}

/// An account, and who else reaches it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) id: u64,
    /// Its main account, when that reaches it.
    pub(super) from: Option<u64>,
}

/// Why the caller may do nothing of the kind at the moment, whatever it is about.
pub(super) fn stopped<'a>(caller: &'a Caller, rule: &Rule) -> Option<&'a str> {
    caller.stopped().filter(|_| !is_own_session(caller, rule))
}

/// Whether it is about a person's own session, which is theirs whatever becomes of their account.
pub(super) fn is_own_session(caller: &Caller, rule: &Rule) -> bool {
    rule.needs == Needs::Caller && caller.is_person()
}

/// Whether the caller may, on what the store says now. What a caller may not see is not there: 404, and ids tell nothing.
pub(super) fn may(caller: &Caller, rule: &Rule, place: Option<&Place>) -> Result<(), Problem> {
    if let Some(why) = stopped(caller, rule) {
        return Err(forbidden(why.to_owned()));
    }
    if let Some(place) = place
        && !caller.reaches(place.account)
    {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no {}", place.name),
        ));
    }
    if rule.readers == Readers::MayNot && caller.is_reader() {
        return Err(forbidden("a reader may not do that; an admin may"));
    }
    let (needed, is_over_all) = match rule.needs {
        Needs::Open | Needs::Caller => return Ok(()),
        Needs::Shared => return Err(forbidden("only a shared token opens that")),
        Needs::Read => (Scope::Read, false),
        Needs::Tokens => (Scope::Tokens, false),
        Needs::Accounts => (Scope::Accounts, false),
        Needs::Operator if rule.method == "get" => (Scope::Read, true),
        Needs::Operator => (Scope::Accounts, true),
    };
    if is_over_all && !caller.is_operator() {
        return Err(forbidden("only an operator may do that"));
    }
    if !caller.scopes().has(needed) {
        return Err(forbidden(format!(
            "that needs the scope {}, which this API token has not",
            needed.name()
        )));
    }
    Ok(())
}

/// Who somebody is, is known; that they may not is the answer.
pub(super) fn forbidden(why: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, why)
}

// === impl Rule ===

impl Rule {
    /// Whether it makes something new, so that doing it twice makes two.
    pub(in crate::control) fn makes(&self) -> bool {
        let collections = [
            "/accounts",
            "/tokens",
            "/api-tokens",
            "/users",
            "/destinations",
            "/shared-tokens",
            "/shared-filters",
        ];
        self.method == "post"
            && (collections.contains(&self.path) || self.path.ends_with("/rotate"))
    }

    /// Whether it is done once under a key, however often it is asked for: what makes something, and an import.
    pub(in crate::control) fn takes_key(&self) -> bool {
        self.makes() || self.concerns == Concerns::Lines
    }
}

// === impl Place ===

impl Place {
    /// An account by itself.
    pub(super) fn account(row: &AccountRow) -> Self {
        Self::of(format!("account {}", row.account.id), row)
    }

    /// What is called `name` and belongs to an account.
    pub(super) fn of(name: String, row: &AccountRow) -> Self {
        Self {
            name,
            account: Some(Reached {
                id: row.account.id.0,
                from: row.reached_from(),
            }),
        }
    }

    /// What belongs to the operators.
    pub(super) fn operators(name: String) -> Self {
        Self {
            name,
            account: None,
        }
    }
}
