//! Every route on one page: its method and path, who answers it, and what it needs of a caller.
//!
//! The router, the check of each request and the API's description are made from here. A route without a rule is no
//! row, and does not compile.

use axum::routing::{self, MethodRouter};

use super::{
    accounts, api_tokens, audit, destinations, gateways, import, leaks, openapi,
    rule::{Concerns, Needs, Readers, Rule},
    session, shared_filters, shared_tokens, tokens, usage, users,
};
use crate::control::Control;

/// A row of a page.
pub(in crate::control) struct Route<Rule> {
    pub(in crate::control) rule: Rule,
    pub(super) handler: MethodRouter<Control>,
}

macro_rules! routes {
    ($($method:ident $path:literal $module:ident::$handler:ident $needs:ident $concerns:ident $readers:ident;)+) => {
        /// What the handlers say of themselves.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($module::$handler),+))]
        pub(super) struct Described;

        /// The page, row by row.
        pub(in crate::control) fn table() -> Vec<Route<Rule>> {
            vec![$(Route {
                rule: Rule {
                    method: stringify!($method),
                    path: $path,
                    needs: Needs::$needs,
                    concerns: Concerns::$concerns,
                    readers: Readers::$readers,
                },
                handler: routing::$method($module::$handler),
            }),+]
        }
    };
}

// needs     Open: nothing, not even a caller · Caller: any · Read, Tokens, Accounts: that scope · Operator: all accounts ·
//           Shared: a shared token, and nothing else
// concerns  Nothing · Listed: the handler lists what the caller reaches · Stated: the account that the body names ·
//           Lines: the account that each line of the body names ·
//           Account, Token, ApiToken, SharedToken, SharedFilter, User: the account of what the path's id names
// readers   May · MayNot
routes! {
    get    "/openapi.json"         openapi::document      Open      Nothing   May;
    get    "/compat/openapi.json"  openapi::compatible    Open      Nothing   May;

    post   "/session"              session::begin         Open      Nothing   May;
    get    "/session"              session::show          Caller    Nothing   May;
    patch  "/session"              session::change        Caller    Nothing   May;
    delete "/session"              session::end           Caller    Nothing   May;

    get    "/accounts"             accounts::list         Read      Listed    May;
    post   "/accounts"             accounts::create       Accounts  Stated    MayNot;
    get    "/accounts/{id}"        accounts::show         Read      Account   May;
    patch  "/accounts/{id}"        accounts::change       Accounts  Account   MayNot;
    delete "/accounts/{id}"        accounts::delete       Accounts  Account   MayNot;
    get    "/accounts/{id}/usage"  usage::account         Read      Account   May;

    get    "/tokens"               tokens::list           Read      Listed    May;
    post   "/tokens"               tokens::create         Tokens    Stated    MayNot;
    post   "/tokens/import"        import::tokens         Tokens    Lines     MayNot;
    get    "/tokens/{id}"          tokens::show           Read      Token     May;
    patch  "/tokens/{id}"          tokens::change         Tokens    Token     MayNot;
    delete "/tokens/{id}"          tokens::delete         Tokens    Token     MayNot;
    post   "/tokens/{id}/enable"   tokens::enable         Tokens    Token     MayNot;
    post   "/tokens/{id}/disable"  tokens::disable        Tokens    Token     MayNot;
    post   "/tokens/{id}/revoke"   tokens::revoke         Tokens    Token     MayNot;
    post   "/tokens/{id}/rotate"   tokens::rotate         Tokens    Token     MayNot;
    post   "/tokens/{id}/reveal"   tokens::reveal         Tokens    Token     MayNot;
    get    "/tokens/{id}/senders"  usage::senders         Read      Token     May;

    post   "/leaks"                leaks::report          Tokens    Stated    MayNot;

    get    "/api-tokens"           api_tokens::list       Accounts  Listed    MayNot;
    post   "/api-tokens"           api_tokens::create     Accounts  Stated    MayNot;
    get    "/api-tokens/{id}"      api_tokens::show       Accounts  ApiToken  MayNot;
    post   "/api-tokens/{id}/revoke" api_tokens::revoke   Accounts  ApiToken  MayNot;

    get    "/shared-tokens"        shared_tokens::list    Read      Listed    May;
    post   "/shared-tokens"        shared_tokens::create  Tokens    Stated    MayNot;
    get    "/shared-tokens/{id}"   shared_tokens::show    Read      SharedToken May;
    patch  "/shared-tokens/{id}"   shared_tokens::change  Tokens    SharedToken MayNot;
    delete "/shared-tokens/{id}"   shared_tokens::delete  Tokens    SharedToken MayNot;
    post   "/shared-tokens/{id}/revoke" shared_tokens::revoke Tokens SharedToken MayNot;
    post   "/shared-tokens/{id}/reveal" shared_tokens::reveal Tokens SharedToken MayNot;

    get    "/shared-filters"       shared_filters::list   Read      Listed    May;
    post   "/shared-filters"       shared_filters::create Tokens    Stated    MayNot;
    get    "/shared-filters/{id}"  shared_filters::show   Read      SharedFilter May;
    patch  "/shared-filters/{id}"  shared_filters::change Tokens    SharedFilter MayNot;
    delete "/shared-filters/{id}"  shared_filters::delete Tokens    SharedFilter MayNot;

    get    "/shared/usage"         usage::shared          Shared    Nothing   May;

    get    "/users"                users::list            Accounts  Listed    MayNot;
    post   "/users"                users::create          Accounts  Stated    MayNot;
    get    "/users/{id}"           users::show            Accounts  User      MayNot;
    patch  "/users/{id}"           users::change          Accounts  User      MayNot;
    delete "/users/{id}"           users::delete          Accounts  User      MayNot;

    get    "/audit"                audit::list            Read      Listed    MayNot;
    get    "/audit/verify"         audit::verify          Operator  Nothing   MayNot;

    get    "/destinations"         destinations::list     Operator  Nothing   MayNot;
    post   "/destinations"         destinations::create   Operator  Nothing   MayNot;
    get    "/destinations/{id}"    destinations::show     Operator  Nothing   MayNot;
    patch  "/destinations/{id}"    destinations::change   Operator  Nothing   MayNot;
    delete "/destinations/{id}"    destinations::delete   Operator  Nothing   MayNot;

    get    "/gateways"             gateways::list         Operator  Nothing   MayNot;
    delete "/gateways/{name}"      gateways::retire       Operator  Nothing   MayNot;
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use utoipa::OpenApi as _;

    use super::*;

    /// Fails unless the document has each of those methods and paths, and no other, and each stands there once.
    pub(in super::super) fn describes(
        document: utoipa::openapi::OpenApi,
        stated: Vec<(&'static str, &'static str)>,
    ) {
        let document = serde_json::to_value(document).expect("JSON");
        let described: BTreeSet<_> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("methods").keys();
                methods.map(move |method| (method.as_str(), path.as_str()))
            })
            .collect();
        let once: BTreeSet<_> = stated.iter().copied().collect();
        assert_eq!(described, once);
        assert_eq!(once.len(), stated.len(), "a route stands there twice");
    }

    #[test]
    fn every_handler_describes_the_route_it_stands_on() {
        let stated = table().into_iter().map(|it| (it.rule.method, it.rule.path));
        describes(Described::openapi(), stated.collect());
    }
}
