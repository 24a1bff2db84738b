//! Every compatible route on one page: its method and path, who answers it, the scopes it needs, and what it is about.

use axum::routing;

use super::{
    super::routes::Route, accounts, api_tokens, audit, filters, metrics, shared, shipping, whoami,
};
use crate::control::scope::Scope;

/// A route's rule.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Rule {
    /// In lower case.
    pub(in crate::control) method: &'static str,
    pub(in crate::control) path: &'static str,
    /// All of them.
    pub(in crate::control) scopes: &'static [Scope],
    pub(in crate::control) of: Of,
}

/// What a request is about, beside the account of the API token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::control) enum Of {
    /// The account alone.
    Own,
    /// The shipping token for logs in the path, of this account and not revoked.
    Token,
    /// The shared token in the path, of this account and not revoked.
    SharedToken,
    /// The shared filter in the path, of this account.
    SharedFilter,
    /// Its sub-accounts: it is a main account.
    Main,
    /// The sub-account in the path, which this main account reaches.
    TimeBased,
    /// The same, made as a metrics account.
    Metrics,
}

macro_rules! routes {
    ($($method:ident $path:literal $module:ident::$handler:ident [$($scope:ident)*] $of:ident;)+) => {
        /// What the handlers say of themselves.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($module::$handler),+))]
        pub(in super::super) struct Described;

        /// The page, row by row.
        pub(in crate::control) fn table() -> Vec<Route<Rule>> {
            vec![$(Route {
                rule: Rule {
                    method: stringify!($method),
                    path: $path,
                    scopes: &[$(Scope::$scope),*],
                    of: Of::$of,
                },
                handler: routing::$method($module::$handler),
            }),+]
        }
    };
}

// Whoever is shown a token needs the scope to reveal it, also where the rest of the answer is a list.
routes! {
    get    "/v2/whoami"                         whoami::show       []                Own;

    post   "/v1/log-shipping/tokens"            shipping::create   [Tokens]          Own;
    get    "/v1/log-shipping/tokens/limits"     shipping::limits   [Read]            Own;
    post   "/v1/log-shipping/tokens/search"     shipping::search   [Tokens]          Own;
    get    "/v1/log-shipping/tokens/{id}"       shipping::show     [Tokens]          Token;
    put    "/v1/log-shipping/tokens/{id}"       shipping::change   [Tokens]          Token;
    delete "/v1/log-shipping/tokens/{id}"       shipping::delete   [Tokens]          Token;

    get    "/v1/account-management/time-based-accounts"      accounts::list   [Read]            Main;
    post   "/v1/account-management/time-based-accounts"      accounts::create [Accounts Tokens] Main;
    get    "/v1/account-management/time-based-accounts/{id}" accounts::show   [Read]            TimeBased;
    put    "/v1/account-management/time-based-accounts/{id}" accounts::change [Accounts]        TimeBased;
    delete "/v1/account-management/time-based-accounts/{id}" accounts::delete [Accounts Tokens] TimeBased;

    get    "/v1/account-management/metrics-accounts"      metrics::list   [Read Tokens]     Main;
    post   "/v1/account-management/metrics-accounts"      metrics::create [Accounts Tokens] Main;
    get    "/v1/account-management/metrics-accounts/{id}" metrics::show   [Read Tokens]     Metrics;
    put    "/v1/account-management/metrics-accounts/{id}" metrics::change [Accounts Tokens] Metrics;
    delete "/v1/account-management/metrics-accounts/{id}" metrics::delete [Accounts Tokens] Metrics;

    get    "/v1/shared-tokens"                  shared::list       [Tokens]          Own;
    post   "/v1/shared-tokens"                  shared::create     [Tokens]          Own;
    get    "/v1/shared-tokens/{id}"             shared::show       [Tokens]          SharedToken;
    put    "/v1/shared-tokens/{id}"             shared::change     [Tokens]          SharedToken;
    delete "/v1/shared-tokens/{id}"             shared::delete     [Tokens]          SharedToken;

    get    "/v1/shared-tokens/filters"          filters::list      [Read]            Own;
    post   "/v1/shared-tokens/filters"          filters::create    [Tokens]          Own;
    get    "/v1/shared-tokens/filters/{id}"     filters::show      [Read]            SharedFilter;
    delete "/v1/shared-tokens/filters/{id}"     filters::delete    [Tokens]          SharedFilter;

    post   "/v1/api-tokens/sub-account"         api_tokens::create [Accounts]        Main;
    post   "/v1/audit-trail"                    audit::list        [Read]            Own;
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::{super::super::routes::tests::describes, *};

    #[test]
    fn every_handler_describes_the_route_it_stands_on() {
        let stated = table().into_iter().map(|it| (it.rule.method, it.rule.path));
        describes(Described::openapi(), stated.collect());
    }
}
