//! Who calls: read from the store for each request, remembered by nobody.

use std::{net::IpAddr, sync::PoisonError};

use axum::http::{HeaderMap, StatusCode, header, request::Parts};

use super::{
    cookie,
    extract::Reference,
    origin,
    problem::Problem,
    rule::{Place, Reached, Rule, forbidden, is_own_session, may},
    throttle::Failing,
};
use crate::{
    control::{
        Control, Error,
        record::{self, Millis, Who},
        sayable::none_named,
        scope::{Role, Scopes},
        store::{CallerIs, CallerRow, Commit, Store, Whose},
        terms::{Errand, Standing, Terms},
    },
    model::{Digest, Secret, TokenKind},
};

/// How old a written time of use may become before it is written again.
const USE_MS: u64 = 50_000;

/// Somebody, with what they may.
pub(super) struct Caller {
    row: CallerRow,
    address: Option<String>,
    /// Why nothing is for them at the moment.
    stopped: Option<String>,
}

/// An admitted request: what its handler asks once more, when the body names an account.
#[derive(Clone)]
pub(super) struct Permit {
    pub(super) caller: std::sync::Arc<Caller>,
    rule: Rule,
    /// See [`Standing`].
    place: Option<(String, u64)>,
}

/// Finds out who calls: by the token in the headers, else by the session's cookie. A changing call by cookie must carry
/// the session's CSRF token too.
pub(super) async fn identify(control: &Control, parts: &Parts) -> Result<Caller, Problem> {
    let address = origin::address(control, &parts.headers, &parts.extensions);
    let headers = &parts.headers;
    let row = match (token(headers)?, cookie::read(headers)) {
        (Some(token), _) => {
            let found = by_token(control, &token).await?;
            if found.is_none() {
                failed(control, address)?;
            }
            found
        }
        (None, Some(secret)) => {
            let found = by_session(control, &secret).await?;
            if found.is_some() && !parts.method.is_safe() && !cookie::has_csrf(headers, &secret) {
                return Err(forbidden(
                    "a change in a session needs its X-CSRF-Token; GET /api/v1/session says it",
                ));
            }
            found
        }
        (None, None) => None,
    };
    let address = address.map(|address| address.to_string());
    let caller = row
        .map(|row| Caller::new(row, address))
        .ok_or_else(nobody)?;
    caller.touch(control);
    Ok(caller)
}

/// Whoever tries tokens that open nothing is slowed down.
pub(super) fn failed(control: &Control, address: Option<IpAddr>) -> Result<(), Problem> {
    let charged = control.inner.throttle.charge(Failing::Tokens(address));
    charged.map_err(Problem::too_many)
}

async fn by_token(control: &Control, token: &Secret) -> Result<Option<CallerRow>, Problem> {
    let Some(digest) = digest(control, TokenKind::Api, token) else {
        return Ok(None);
    };
    let row = control.inner.store.caller_by_token(&digest).await?;
    Ok(row.filter(|row| !row.is_over(record::now())))
}

/// By what a token of that kind is looked for. A typo or an invented token costs no look-up.
pub(super) fn digest(control: &Control, kind: TokenKind, token: &Secret) -> Option<Digest> {
    let key = control.inner.store.digest_key();
    let is_one = token.is_well_formed_token() && kind.is_of(token);
    is_one.then(|| key.digest(token.reveal().as_bytes()))
}

async fn by_session(control: &Control, secret: &Secret) -> Result<Option<CallerRow>, Problem> {
    let store = &control.inner.store;
    let digest = store.digest_key().digest(secret.reveal().as_bytes());
    let row = store.caller_by_session(&digest).await?;
    Ok(row.filter(|row| !row.is_over(record::now())))
}

/// The one token that the headers carry; two different ones are nobody's.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<Secret>, Problem> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().as_bytes())
    });
    let named = headers
        .get_all("x-api-token")
        .iter()
        .map(|value| Some(value.as_bytes()));
    let mut tokens = bearer.chain(named);
    let Some(first) = tokens.next() else {
        return Ok(None);
    };
    let token = first
        .filter(|token| tokens.all(|other| other == Some(token)))
        .and_then(|token| std::str::from_utf8(token).ok())
        .ok_or_else(nobody)?;
    Ok(Some(Secret::new(token.to_owned())))
}

fn nobody() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "give an API token as `Authorization: Bearer` or `X-API-TOKEN`, or log in with POST /api/v1/session; \
         the first one lies in the file admin-token of the control plane's data folder",
    )
}

// === impl Caller ===

impl Caller {
    fn new(row: CallerRow, address: Option<String>) -> Self {
        let stopped = row.stopped();
        Self {
            row,
            address,
            stopped,
        }
    }

    /// For the audit log.
    pub(super) fn who(&self) -> Who {
        Who {
            name: self.row.is.subject(),
            address: self.address.clone(),
        }
    }

    /// What they ask for, to be done while it is for them, and the place within their reach.
    pub(super) fn errand(&self, is_for_stopped: bool, place: Option<(String, u64)>) -> Errand {
        let standing = Standing {
            caller: self.row.clone(),
            is_for_stopped,
            place,
        };
        Errand {
            who: self.who(),
            terms: Terms {
                standing: Some(standing),
                ..Terms::default()
            },
        }
    }

    pub(super) fn is(&self) -> &CallerIs {
        &self.row.is
    }

    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    pub(super) fn is_person(&self) -> bool {
        matches!(self.row.is, CallerIs::User { .. })
    }

    pub(super) fn is_reader(&self) -> bool {
        matches!(
            self.row.is,
            CallerIs::User {
                role: Role::Reader,
                ..
            }
        )
    }

    pub(super) fn is_operator(&self) -> bool {
        self.row.home.is_none()
    }

    pub(super) fn scopes(&self) -> Scopes {
        self.row.scopes
    }

    /// The account whose reach is theirs; `None` reaches everything.
    pub(super) fn home(&self) -> Option<u64> {
        self.row.home.as_ref().map(|home| home.id)
    }

    /// Whether an account is within reach; `None` is what belongs to operators.
    pub(super) fn reaches(&self, account: Option<Reached>) -> bool {
        match (self.home(), account) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(home), Some(account)) => account.id == home || account.from == Some(home),
        }
    }

    /// Writes down that they were here.
    fn touch(&self, control: &Control) {
        let is = self.row.is.clone();
        touch(
            control,
            is.subject(),
            self.row.used_at,
            |control| async move { control.inner.store.touch(&is).await },
        );
    }
}

/// Writes down by `write` that somebody was here, at most once a minute, and lets nobody wait for it.
pub(super) fn touch<F>(
    control: &Control,
    subject: String,
    used_at: Millis,
    write: impl FnOnce(Control) -> F,
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    if record::now() < used_at.saturating_add(USE_MS) {
        return;
    }
    // One write at a time for each, so as many at most as there are callers.
    if !control
        .inner
        .touching
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(subject.clone())
    {
        return;
    }
    let (control, written) = (control.clone(), write(control.clone()));
    tokio::spawn(async move {
        match written.await {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => tracing::warn!(%error, caller = subject, "the time of use is not kept"),
        }
        let mut touching = control
            .inner
            .touching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        touching.remove(&subject);
    });
}

// === impl Permit ===

impl Permit {
    pub(super) fn new(caller: Caller, rule: Rule, place: Option<Place>) -> Self {
        Self {
            caller: caller.into(),
            rule,
            place: place.and_then(|place| Some((place.name, place.account?.id))),
        }
    }

    /// What the caller asks for, to be done while they may.
    pub(super) fn errand(&self) -> Errand {
        let is_for_stopped = is_own_session(&self.caller, &self.rule);
        self.caller.errand(is_for_stopped, self.place.clone())
    }

    /// What it was asked for.
    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// Where the caller's reach ends; `None` reaches everything.
    pub(super) fn home(&self) -> Option<u64> {
        self.caller.home()
    }

    /// The rule again, with what the body turned out to name.
    pub(super) fn asks(&self, place: &Place) -> Result<(), Problem> {
        may(&self.caller, &self.rule, Some(place))
    }

    /// The account that a body names, if the caller reaches it.
    pub(super) async fn account(
        &self,
        commit: &mut Commit,
        reference: &Reference,
    ) -> Result<u64, Problem> {
        match reference {
            Reference::Id(id) => {
                self.asks(&Place::account(&commit.account(*id).await?))?;
                Ok(*id)
            }
            Reference::Name(name) => {
                let id = commit.account_named(name).await?;
                let row = commit.account(id).await?;
                let place = Place::account(&row);
                // Without its id: who may not see it must not learn it either.
                if !self.caller.reaches(place.account) {
                    return Err(none_named("account", name).into());
                }
                self.asks(&place)?;
                Ok(id)
            }
        }
    }

    /// The account whose things are to be listed. An id is not looked up: what the caller doesn't reach has nothing to list.
    pub(super) async fn listed(
        &self,
        store: &Store,
        reference: Option<Reference>,
    ) -> Result<Option<u64>, Problem> {
        match reference {
            None => Ok(None),
            Some(Reference::Id(id)) => Ok(Some(id)),
            Some(Reference::Name(name)) => self.account_named(store, &name).await.map(Some),
        }
    }

    /// Whose things are to be listed: those within reach, and of them the named account's where there is one.
    pub(super) async fn whose(
        &self,
        store: &Store,
        reference: Option<Reference>,
    ) -> Result<Whose, Problem> {
        Ok(Whose {
            home: self.home(),
            account: self.listed(store, reference).await?,
        })
    }

    /// The account of that name, if the caller reaches it.
    async fn account_named(&self, store: &Store, name: &str) -> Result<u64, Problem> {
        let id = store.account_named(name).await?;
        let place = Place::account(&store.account(id).await?);
        if !self.caller.reaches(place.account) {
            return Err(none_named("account", name).into());
        }
        Ok(id)
    }

    /// Nobody gives more than they have: neither more scopes, nor a later end (0 = never).
    pub(super) fn gives(&self, scopes: Scopes, until: u32) -> Result<(), Problem> {
        if !scopes.within(self.caller.scopes()) {
            return Err(forbidden(
                "an API token gives no scope that it has not itself",
            ));
        }
        match *self.caller.is() {
            CallerIs::ApiToken { expires_at, .. }
                if expires_at != 0 && (until == 0 || until > expires_at) =>
            {
                Err(forbidden(
                    "an API token that ends gives nothing that ends later",
                ))
            }
            _ => Ok(()),
        }
    }

    /// What is nobody's but the operators' is made by them.
    pub(super) fn operators_make(&self, what: &str) -> Result<(), Problem> {
        if self.caller.is_operator() {
            return Ok(());
        }
        Err(forbidden(format!("only an operator makes {what}")))
    }

    /// A field that only operators set.
    pub(super) fn operators_only(&self, field: &str, is_named: bool) -> Result<(), Problem> {
        if is_named && !self.caller.is_operator() {
            return Err(forbidden(format!("only an operator sets {field}")));
        }
        Ok(())
    }
}
