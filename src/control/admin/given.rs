//! Tokens that somebody else has made. A text stands for one account in all, so a refusal may tell an account's own people that
//! another account has it: it says no more than that it is refused, is on record, and few are to be heard.

use axum::http::StatusCode;

use super::{caller::Permit, problem::Problem, refused, throttle::Failing};
use crate::{
    control::{
        Control, Error,
        record::Who,
        store::{Commit, Details, GivenToken, Imported, NewToken},
    },
    model::{Secret, TokenKind},
};

/// Why a token is refused that is another account's.
pub(super) const WITHHELD: &str =
    "this token can't be taken in: choose another one, or ask an operator";

/// Who gives tokens.
pub(super) struct Giver {
    who: Who,
    /// Where their reach ends, and the main account of that, which can make sub-accounts itself; operators may know everything.
    reach: Option<Reach>,
}

#[derive(Clone, Copy)]
struct Reach {
    home: u64,
    main: u64,
}

/// A token: no typo, and none of ours of another kind than a shipping token.
pub(super) fn token(text: String) -> Result<Secret, Problem> {
    let token = Secret::new(text);
    if !token.is_well_formed_token() {
        return Err(Problem::invalid(
            "a token has 16 to 128 of A-Z, a-z, 0-9, _ and -; one that begins with whf_ is of Wharfinger's own form, \
             with the right checksum",
        ));
    }
    if TokenKind::has_prefix(&token) && !TokenKind::Shipping.is_of(&token) {
        return Err(Problem::invalid(
            "this is a Wharfinger token of another kind than a shipping token",
        ));
    }
    Ok(token)
}

// === impl Giver ===

impl Giver {
    /// Refuses whatever is given, good tokens too, by whom too many were given that they are not to know of.
    pub(super) async fn of(
        control: &Control,
        permit: &Permit,
        is_giving: bool,
    ) -> Result<Self, Problem> {
        let who = permit.caller.who();
        let Some(home) = permit.home().filter(|_| is_giving) else {
            return Ok(Self { who, reach: None });
        };
        let row = Error::found(control.inner.store.account(home).await)?;
        let parent = row.and_then(|row| row.parent);
        let main = parent.map_or(home, |parent| parent.0);
        let throttle = &control.inner.throttle;
        let charged = throttle.charge(Failing::Giving(main));
        charged.map_err(Problem::too_many)?;
        throttle.refund(Failing::Giving(main));
        Ok(Self {
            who,
            reach: Some(Reach { home, main }),
        })
    }

    /// Where their reach ends; `None` reaches everything.
    pub(super) fn home(&self) -> Option<u64> {
        self.reach.map(|reach| reach.home)
    }

    /// Counts those that are withheld, and refuses what is past the most.
    pub(super) fn withheld(&self, control: &Control, count: usize) -> Result<(), Problem> {
        let Some(Reach { main, .. }) = self.reach else {
            return Ok(());
        };
        let charge = |_| control.inner.throttle.charge(Failing::Giving(main));
        (0..count).try_for_each(charge).map_err(Problem::too_many)
    }

    /// Puts it on record, with no word of the token or of whose it is. Nobody may hold the writer meanwhile.
    pub(super) fn note(&self, control: &Control) {
        if let Some(Reach { home, .. }) = self.reach {
            let subject = format!("account/{home}");
            let who = self.who.clone();
            refused::note(control, who, "token.withheld", subject, Some(home));
        }
    }

    /// The commit again, if that token can be taken in by it.
    pub(super) async fn may_take_in(
        &self,
        control: &Control,
        mut commit: Commit,
        new: &NewToken,
        token: &Secret,
    ) -> Result<Commit, Problem> {
        let account = commit.account(new.account).await?;
        let given = GivenToken {
            token: token.clone(),
            signal: new.signal,
            name: new.name.clone(),
            is_enabled: true,
            expires_at: new.expires_at,
            details: Details::default(),
        };
        let conflict = |why: String| Problem::new(StatusCode::CONFLICT, why);
        match commit.taken_in(&account, &given, self.home()).await? {
            Imported::Made => Ok(commit),
            Imported::Known => Err(conflict("this token is there already".to_owned())),
            Imported::Refused(why) => Err(conflict(why)),
            Imported::Withheld => {
                drop(commit);
                self.note(control);
                self.withheld(control, 1)?;
                Err(conflict(WITHHELD.to_owned()))
            }
        }
    }
}
