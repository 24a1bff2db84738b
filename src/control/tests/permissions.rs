//! The permission matrix: every role on every route of the page, for its own account, a sub-account, and others'.
//!
//! The routes come from the page itself. What is expected follows from a route's rule by `expected`, which knows nothing of
//! the code that decides: a new kind of rule does not compile here until somebody has said what it means. `seeds` says
//! the cases that matter most by hand.

mod stage;
mod seeds;
mod compat;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::people::Hand;
use crate::control::admin::{Concerns, Needs, Readers, Rule, table};
use stage::{ALL, Role, Stage, Target};

/// How a request ended, as far as permission goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Outcome {
    /// 401.
    Unknown,
    /// 403.
    Forbidden,
    /// 404: what may not be seen is not there.
    Unseen,
    /// The handler had its say, whatever it said.
    Reached,
}

/// What the rule means for that role and that account.
fn expected(role: &Role, rule: &Rule, target: Option<Target>) -> Outcome {
    let needed: &[&str] = match rule.needs {
        Needs::Open => return Outcome::Reached,
        Needs::Shared => return role.shared,
        Needs::Caller => &[],
        Needs::Read => &["read"],
        Needs::Tokens => &["tokens"],
        // Who makes an admin gives all that an admin has.
        Needs::Accounts if (rule.method, rule.path) == ("post", "/users") => &ALL,
        Needs::Accounts => &["accounts"],
        Needs::Operator if rule.method == "get" => &["read"],
        Needs::Operator => &["accounts"],
    };
    if role.is_nobody {
        return Outcome::Unknown;
    }
    let is_own_session = rule.needs == Needs::Caller && role.is_person;
    if role.is_stopped && !is_own_session {
        return Outcome::Forbidden;
    }
    let is_within = match rule.readers {
        Readers::May => true,
        Readers::MayNot => !role.is_reader,
    } && (rule.needs != Needs::Operator || role.is_operator)
        && needed.iter().all(|scope| role.scopes.contains(scope))
        && (rule.concerns != Concerns::Stated
            || target != Some(Target::Operators)
            || role.is_operator);
    let is_seen = target.is_none_or(|target| role.reaches.contains(&target));
    // An id in the path is looked at first, so that it tells nothing; a body is read only for those who may send one.
    let is_seen_first = match rule.concerns {
        Concerns::Account
        | Concerns::Token
        | Concerns::ApiToken
        | Concerns::SharedToken
        | Concerns::SharedFilter
        | Concerns::User => true,
        Concerns::Nothing | Concerns::Listed | Concerns::Stated | Concerns::Lines => false,
    };
    match (is_within, is_seen) {
        (true, true) => Outcome::Reached,
        (true, false) => Outcome::Unseen,
        (false, false) if is_seen_first => Outcome::Unseen,
        (false, _) => Outcome::Forbidden,
    }
}

/// What is always an account's.
const NEVER_OPERATORS: [&str; 4] = ["/tokens", "/leaks", "/shared-tokens", "/shared-filters"];

/// Whose things a route is tried on.
fn targets(rule: &Rule) -> Vec<Option<Target>> {
    let accounts = [Target::Main, Target::Sub, Target::Hidden, Target::Other];
    match rule.concerns {
        // A line that names another account is refused by itself: `imports` has those.
        Concerns::Nothing | Concerns::Listed | Concerns::Lines => vec![None],
        Concerns::Account | Concerns::Token | Concerns::SharedToken | Concerns::SharedFilter => {
            accounts.map(Some).to_vec()
        }
        Concerns::Stated if NEVER_OPERATORS.contains(&rule.path) => accounts.map(Some).to_vec(),
        // These may also be the operators' own.
        Concerns::Stated | Concerns::ApiToken | Concerns::User => {
            let all = accounts.into_iter().chain([Target::Operators]);
            all.map(Some).collect()
        }
    }
}

fn outcome(status: u16) -> Outcome {
    match status {
        401 => Outcome::Unknown,
        403 => Outcome::Forbidden,
        404 => Outcome::Unseen,
        _ => Outcome::Reached,
    }
}

#[tokio::test]
async fn every_role_on_every_route_for_every_account_is_as_its_rule_says() {
    let mut stage = Stage::new().await;
    let mut cells = 0;
    let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    let mut wrong = Vec::new();
    let rules: Vec<Rule> = table().into_iter().map(|route| route.rule).collect();
    for at in 0..stage.roles.len() {
        for rule in &rules {
            for target in targets(rule) {
                let role = stage.roles[at].clone();
                let expected = expected(&role, rule, target);
                let (status, body) = stage.try_it(&role, rule, target).await;
                if outcome(status) != expected || status >= 500 {
                    wrong.push(format!(
                        "{} {} {} {target:?}: {status}, expected {expected:?}: {body}",
                        role.name, rule.method, rule.path
                    ));
                }
                if rule.concerns == Concerns::Listed && status == 200 {
                    stage.lists_only_what_is_reached(&role, rule, &body);
                }
                cells += 1;
                *outcomes.entry(expected).or_default() += 1;
                kinds.insert((rule.needs, rule.concerns, rule.readers));
                stage.repair(at, rule, target, status).await;
            }
        }
    }
    println!(
        "permission matrix: {} roles x {} routes, {cells} cells over {} kinds of rule: {outcomes:?}",
        stage.roles.len(),
        rules.len(),
        kinds.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {cells}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(outcomes.len(), 4, "every outcome occurs");
    assert!(rules.len() > 30 && cells > 2000);
}

#[tokio::test]
async fn without_a_caller_there_is_only_the_description_and_the_login() {
    let stage = Stage::new().await;
    let mut open = Vec::new();
    for route in table() {
        let rule = route.rule;
        let (status, _) = stage.send(&Hand::Nothing, &rule, targets(&rule)[0]).await;
        if status != 401 {
            open.push((rule.method, rule.path));
        }
    }
    let described = [("get", "/openapi.json"), ("get", "/compat/openapi.json")];
    assert_eq!(open, [&described[..], &[("post", "/session")]].concat());
}

#[tokio::test]
async fn an_account_out_of_reach_and_one_that_is_not_there_are_answered_alike() {
    let stage = Stage::new().await;
    let admin = stage.role("main admin").clone();
    for route in table() {
        let rule = route.rule;
        if !rule.path.contains("{id}") || rule.needs == Needs::Operator {
            continue;
        }
        let id = stage.id(&rule, Target::Other).to_string();
        let (status, there) = stage.send(&admin.hand, &rule, Some(Target::Other)).await;
        assert_eq!(status, 404, "{rule:?}");
        let path = rule.path.replace("{id}", "999999");
        let method = rule.method.to_uppercase();
        let call = stage.people.call(&admin.hand, &method, &path, &Value::Null);
        let (status, mut gone) = call.await;
        assert_eq!(status, 404, "{rule:?}");
        let detail = gone["detail"].as_str().expect("text");
        gone["detail"] = detail.replace("999999", &id).into();
        assert_eq!(there, gone, "{rule:?}");
    }
}
