//! Model to feed and back. What a newer control plane sends and we don't know is never an error: an unknown change is
//! `None`, and an unknown content means that the thing opens nothing and takes nothing.

mod destination;

use super::feed as wire;
use crate::model::{
    Account, AccountId, AccountState, Change, DestinationId, Digest, Limits, Measure, Network,
    Rate, Rates, Signal, Sources, Token, TokenId, TokenState,
};

/// A change that no control plane of ours would send.
#[derive(Debug, thiserror::Error)]
#[error("the feed sent an invalid {0}")]
pub struct Invalid(&'static str);

// === impl wire::Change ===

impl From<&Change> for wire::Change {
    fn from(change: &Change) -> Self {
        use wire::change::Change as Kind;
        let kind = match change {
            Change::Account(account) => Kind::Account(account.into()),
            Change::AccountRemoved(id) => Kind::AccountRemoved(id.0),
            Change::Destination(destination) => Kind::Destination(destination.into()),
            Change::DestinationRemoved(id) => Kind::DestinationRemoved(id.0),
            Change::Token(token) => Kind::Token(token.into()),
        };
        Self { change: Some(kind) }
    }
}

impl wire::Change {
    /// The change, or `None` for a kind that this version doesn't know.
    ///
    /// # Errors
    /// A known kind with impossible content.
    pub fn into_model(self) -> Result<Option<Change>, Invalid> {
        use wire::change::Change as Kind;
        Ok(match self.change {
            None => None,
            Some(Kind::Account(account)) => Some(Change::Account(account.into_model()?)),
            Some(Kind::AccountRemoved(id)) => {
                Some(Change::AccountRemoved(AccountId(id_of(id, "account id")?)))
            }
            Some(Kind::Destination(destination)) => Some(destination.into_model()?),
            Some(Kind::DestinationRemoved(id)) => Some(Change::DestinationRemoved(DestinationId(
                id_of(id, "destination id")?,
            ))),
            Some(Kind::Token(token)) => Some(Change::Token(token.into_model()?)),
        })
    }
}

fn id_of(id: u64, what: &'static str) -> Result<u64, Invalid> {
    if id == 0 { Err(Invalid(what)) } else { Ok(id) }
}

// === impl wire::Account ===

impl From<&Account> for wire::Account {
    fn from(account: &Account) -> Self {
        let destination = |signal| account.destination(signal).map_or(0, |id| id.0);
        Self {
            id: account.id.0,
            name: account.name.clone(),
            suspended: account.state == AccountState::Suspended,
            limits: Some(wire::Limits {
                bulk_body_bytes_max: account.limits.bulk_body_bytes_max,
                bulk_line_bytes_max: account.limits.bulk_line_bytes_max,
                otlp_body_bytes_max: account.limits.otlp_body_bytes_max,
                remote_write_body_bytes_max: account.limits.remote_write_body_bytes_max,
                in_flight_bytes_max: account.limits.in_flight_bytes_max,
                concurrency_max: account.limits.concurrency_max,
                remote_write_throttle_as_unavailable: account
                    .limits
                    .remote_write_throttle_as_unavailable,
                rates: rates(&account.limits.rates),
            }),
            logs_destination: destination(Signal::Logs),
            metrics_destination: destination(Signal::Metrics),
            traces_destination: destination(Signal::Traces),
            draws_on: account.draws_on.map_or(0, |main| main.0),
        }
    }
}

impl wire::Account {
    fn into_model(self) -> Result<Account, Invalid> {
        let destination = |id| (id != 0).then_some(DestinationId(id));
        Ok(Account {
            id: AccountId(id_of(self.id, "account id")?),
            name: self.name,
            state: if self.suspended {
                AccountState::Suspended
            } else {
                AccountState::Active
            },
            limits: self.limits.unwrap_or_default().into_model(),
            draws_on: (self.draws_on != 0).then_some(AccountId(self.draws_on)),
            destinations: [
                destination(self.logs_destination),
                destination(self.metrics_destination),
                destination(self.traces_destination),
            ],
        })
    }
}

impl wire::Limits {
    fn into_model(self) -> Limits {
        let default = Limits::default();
        let or = |value, default| if value == 0 { default } else { value };
        Limits {
            bulk_body_bytes_max: or(self.bulk_body_bytes_max, default.bulk_body_bytes_max),
            bulk_line_bytes_max: or(self.bulk_line_bytes_max, default.bulk_line_bytes_max),
            otlp_body_bytes_max: or(self.otlp_body_bytes_max, default.otlp_body_bytes_max),
            remote_write_body_bytes_max: or(
                self.remote_write_body_bytes_max,
                default.remote_write_body_bytes_max,
            ),
            in_flight_bytes_max: self.in_flight_bytes_max,
            concurrency_max: self.concurrency_max,
            remote_write_throttle_as_unavailable: self.remote_write_throttle_as_unavailable,
            rates: self.rates.unwrap_or_default().into_model(),
        }
    }
}

// === impl wire::Rates ===

/// Nothing where there is none: most accounts and nearly all tokens have none.
fn rates(rates: &Rates) -> Option<wire::Rates> {
    let [requests, bytes, items] = Measure::ALL.map(|measure| rates.of(measure));
    (*rates != Rates::default()).then_some(wire::Rates {
        requests_per_second: requests.per_second,
        requests_burst: requests.burst,
        bytes_per_second: bytes.per_second,
        bytes_burst: bytes.burst,
        items_per_second: items.per_second,
        items_burst: items.burst,
    })
}

impl wire::Rates {
    fn into_model(self) -> Rates {
        let rate = |per_second, burst| Rate { per_second, burst };
        Rates([
            rate(self.requests_per_second, self.requests_burst),
            rate(self.bytes_per_second, self.bytes_burst),
            rate(self.items_per_second, self.items_burst),
        ])
    }
}

// === impl wire::Token ===

impl From<&Token> for wire::Token {
    fn from(token: &Token) -> Self {
        let signal = match token.signal {
            Signal::Logs => wire::Signal::Logs,
            Signal::Metrics => wire::Signal::Metrics,
            Signal::Traces => wire::Signal::Traces,
        };
        let state = match token.state {
            TokenState::Live => wire::TokenState::Live,
            TokenState::Disabled => wire::TokenState::Disabled,
            TokenState::Revoked => wire::TokenState::Revoked,
        };
        Self {
            id: token.id.0,
            digest: token.digest.0.to_vec(),
            account: token.account.0,
            signal: signal.into(),
            state: state.into(),
            expires_at: token.expires_at,
            sources: sources(&token.sources),
            rates: rates(&token.rates),
        }
    }
}

fn sources(sources: &Sources) -> Vec<Vec<u8>> {
    let networks = sources.networks();
    if networks.is_empty() && sources.is_restricted() {
        // None would be anywhere: what nobody can read keeps everybody out.
        return vec![Vec::new()];
    }
    networks.iter().map(|network| network.to_bytes()).collect()
}

impl wire::Token {
    fn into_model(self) -> Result<Token, Invalid> {
        let signal = match self.signal() {
            wire::Signal::Logs => Some(Signal::Logs),
            wire::Signal::Metrics => Some(Signal::Metrics),
            wire::Signal::Traces => Some(Signal::Traces),
            wire::Signal::Unspecified => None,
        };
        // A state or a signal this version doesn't know is one it can't honour: the token must not open anything.
        let state = match (self.state(), signal) {
            (wire::TokenState::Revoked, _) => TokenState::Revoked,
            (wire::TokenState::Live, Some(_)) => TokenState::Live,
            _ => TokenState::Disabled,
        };
        let sources = match self.sources.as_slice() {
            [] => Sources::ANYWHERE,
            // What can't be read allows nobody, and takes nothing away from the others.
            some => Sources::only(some.iter().filter_map(|bytes| Network::from_bytes(bytes))),
        };
        Ok(Token {
            id: TokenId(id_of(self.id, "token id")?),
            digest: Digest(
                self.digest
                    .try_into()
                    .map_err(|_| Invalid("token digest"))?,
            ),
            account: AccountId(id_of(self.account, "account id")?),
            signal: signal.unwrap_or(Signal::Logs),
            state,
            expires_at: self.expires_at,
            sources,
            rates: self.rates.unwrap_or_default().into_model(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ack, Compression, Credentials, Destination, DestinationKind, Secret};

    fn there_and_back(change: &Change) -> Change {
        wire::Change::from(change)
            .into_model()
            .expect("valid")
            .expect("known")
    }

    fn some_rates() -> Rates {
        let mut next = 0;
        let mut rate = || {
            next += 2;
            Rate {
                per_second: next - 1,
                burst: next,
            }
        };
        Rates([rate(), rate(), rate()])
    }

    #[test]
    fn every_change_survives_the_feed() {
        let mut destination =
            Destination::new(DestinationId(4), "mimir", DestinationKind::OtlpHttp);
        destination.endpoints = vec!["https://a".into(), "https://b".into()];
        destination.headers = vec![("X-Scope-OrgID".into(), "{account}".into())];
        destination.secret_headers = vec![("x-api-key".into(), Secret::new("k".into()))];
        destination.credentials = Credentials::Basic {
            user: "u".into(),
            password: Secret::new("p".into()),
        };
        destination.tls.client_pem = Some(("c".into(), Secret::new("k".into())));
        destination.compression = Compression::Identity;
        destination.ack = Some(Ack::Spool);
        let account = Account {
            id: AccountId(9),
            name: "main".into(),
            state: AccountState::Suspended,
            limits: Limits {
                concurrency_max: 7,
                rates: some_rates(),
                ..Limits::default()
            },
            draws_on: Some(AccountId(8)),
            destinations: [Some(DestinationId(4)), None, Some(DestinationId(5))],
        };
        let token = Token {
            id: TokenId(3),
            digest: Digest([5; 16]),
            account: AccountId(9),
            signal: Signal::Traces,
            state: TokenState::Revoked,
            expires_at: 77,
            sources: Sources::only([
                "192.0.2.0/24".parse().expect("a network"),
                "2001:db8::/32".parse().expect("a network"),
            ]),
            rates: some_rates(),
        };
        for change in [
            Change::Destination(destination),
            Change::DestinationRemoved(DestinationId(4)),
            Change::Account(account),
            Change::AccountRemoved(AccountId(9)),
            Change::Token(token),
        ] {
            assert_eq!(there_and_back(&change), change);
        }
    }

    #[test]
    fn a_token_state_or_signal_from_the_future_opens_nothing() {
        let (logs, live) = (wire::Signal::Logs.into(), wire::TokenState::Live.into());
        let revoked = wire::TokenState::Revoked.into();
        for (signal, state, is) in [
            (logs, live, TokenState::Live),
            (logs, 99, TokenState::Disabled),
            (99, live, TokenState::Disabled),
            (0, live, TokenState::Disabled),
            (99, revoked, TokenState::Revoked),
        ] {
            let token = wire::Token {
                id: 1,
                digest: vec![0; 16],
                account: 1,
                signal,
                state,
                expires_at: 0,
                sources: Vec::new(),
                rates: None,
            };
            let token = token.into_model().expect("valid");
            assert_eq!(token.state, is, "signal {signal}, state {state}");
        }
    }

    #[test]
    fn a_network_from_the_future_allows_nobody_and_the_others_stay() {
        let inside = "192.0.2.1".parse().expect("an address");
        for (sources, is_in) in [
            (vec![], true),
            (vec![vec![9; 7]], false),
            (vec![vec![]], false),
            (vec![vec![9; 7], vec![192, 0, 2, 0, 24]], true),
        ] {
            let token = wire::Token {
                id: 1,
                digest: vec![0; 16],
                account: 1,
                signal: wire::Signal::Logs.into(),
                state: wire::TokenState::Live.into(),
                expires_at: 0,
                sources: sources.clone(),
                rates: None,
            };
            let token = token.into_model().expect("valid");
            assert_eq!(token.sources.allow(inside), is_in, "{sources:?}");
            // As a gateway keeps it, and reads it again.
            let kept = wire::Token::from(&token).into_model().expect("valid");
            assert_eq!(kept, token);
        }
    }
}
