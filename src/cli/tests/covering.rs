//! The command line covers the admin API: every route of its page has a command.

use std::collections::BTreeMap;

use clap::CommandFactory;

use super::Arguments;
use crate::control;

/// Each route, and the command that asks it. A new route needs a line here, and the command; a list names its filters.
const COMMANDS: &[(&str, &str)] = &[
    ("GET /openapi.json", "openapi"),
    ("GET /compat/openapi.json", "openapi --compatible"),
    // People log in with a browser: a session is for as long as a command takes.
    ("POST /session", "user change-password"),
    ("GET /session", "whoami"),
    ("PATCH /session", "user change-password"),
    ("DELETE /session", "user change-password"),
    (
        "GET /accounts",
        "account list --name --parent --state --plan",
    ),
    ("POST /accounts", "account create"),
    ("GET /accounts/{id}", "account show"),
    ("PATCH /accounts/{id}", "account set"),
    ("DELETE /accounts/{id}", "account delete"),
    ("GET /accounts/{id}/usage", "account usage"),
    (
        "GET /tokens",
        "token list --account --signal --name --state",
    ),
    ("POST /tokens", "token create"),
    ("POST /tokens/import", "token import"),
    ("GET /tokens/{id}", "token show"),
    ("PATCH /tokens/{id}", "token set"),
    ("DELETE /tokens/{id}", "token delete --force"),
    ("POST /tokens/{id}/enable", "token enable"),
    ("POST /tokens/{id}/disable", "token disable --force"),
    ("POST /tokens/{id}/revoke", "token revoke --force"),
    ("POST /tokens/{id}/rotate", "token rotate"),
    ("POST /tokens/{id}/reveal", "token reveal"),
    ("GET /tokens/{id}/senders", "token senders"),
    ("POST /leaks", "leak --revoke"),
    ("GET /api-tokens", "api-token list --account --name --state"),
    ("POST /api-tokens", "api-token create"),
    ("GET /api-tokens/{id}", "api-token show"),
    ("POST /api-tokens/{id}/revoke", "api-token revoke"),
    ("GET /shared-tokens", "shared-token list --account"),
    ("POST /shared-tokens", "shared-token create"),
    ("GET /shared-tokens/{id}", "shared-token show"),
    ("PATCH /shared-tokens/{id}", "shared-token change"),
    ("DELETE /shared-tokens/{id}", "shared-token delete"),
    ("POST /shared-tokens/{id}/revoke", "shared-token revoke"),
    ("POST /shared-tokens/{id}/reveal", "shared-token reveal"),
    ("GET /shared-filters", "shared-filter list --account"),
    ("POST /shared-filters", "shared-filter create"),
    ("GET /shared-filters/{id}", "shared-filter show"),
    ("PATCH /shared-filters/{id}", "shared-filter describe"),
    ("DELETE /shared-filters/{id}", "shared-filter delete"),
    ("GET /shared/usage", "shared-token usage"),
    ("GET /users", "user list --account --name --role"),
    ("POST /users", "user create"),
    ("GET /users/{id}", "user show"),
    ("PATCH /users/{id}", "user set"),
    ("DELETE /users/{id}", "user delete"),
    (
        "GET /audit",
        "audit list --account --action --actor --subject --from --to",
    ),
    ("GET /audit/verify", "audit verify"),
    ("GET /destinations", "destination list --name --kind"),
    ("POST /destinations", "destination create"),
    ("GET /destinations/{id}", "destination show"),
    ("PATCH /destinations/{id}", "destination set"),
    ("DELETE /destinations/{id}", "destination delete"),
    ("GET /gateways", "gateways list --connected"),
    ("DELETE /gateways/{name}", "gateways retire"),
];

/// Why there is no such command; `None` when there is.
fn missing(line: &str) -> Option<String> {
    let mut command = &Arguments::command();
    for word in line.split(' ') {
        match word.strip_prefix("--") {
            Some(name) => {
                let has = |argument: &clap::Arg| argument.get_long() == Some(name);
                if !command.get_arguments().any(has) {
                    return Some(format!("{line:?} has no {word}"));
                }
            }
            None => match command.find_subcommand(word) {
                Some(found) => command = found,
                None => return Some(format!("{line:?}: there is no {word:?}")),
            },
        }
    }
    let is_whole = !command.is_subcommand_required_set() && !command.has_subcommands();
    (!is_whole).then(|| format!("{line:?} says not what to do"))
}

#[test]
fn every_route_of_the_page_has_a_command_and_every_command_named_is_there() {
    let commands: BTreeMap<_, _> = COMMANDS.iter().copied().collect();
    assert_eq!(commands.len(), COMMANDS.len(), "a route stands there twice");
    let routes = control::routes();
    let uncovered: Vec<_> = routes
        .iter()
        .filter(|route| !commands.contains_key(route.as_str()))
        .collect();
    assert!(uncovered.is_empty(), "no command asks {uncovered:?}");
    let gone: Vec<_> = commands
        .keys()
        .filter(|route| !routes.iter().any(|it| it == *route))
        .collect();
    assert!(gone.is_empty(), "no routes any more: {gone:?}");
    let missing: Vec<_> = commands.values().filter_map(|line| missing(line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    println!("{} routes, each with its command", routes.len());
    assert!(routes.len() > 50);
}

#[test]
fn a_command_that_is_none_is_found_out() {
    for line in ["token", "token shout", "token show --loud", "shout"] {
        assert!(missing(line).is_some(), "{line}");
    }
}
