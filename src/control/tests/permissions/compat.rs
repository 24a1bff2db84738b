//! The same matrix over the compatible routes: every role on every route of their page, for its own account and others'.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Outcome,
    stage::{Role, Stage, Target},
};
use crate::control::admin::{CompatOf as Of, CompatRule as Rule, compat_table as table};

/// Whose things a route is tried on.
const TARGETS: [Target; 4] = [Target::Main, Target::Sub, Target::Hidden, Target::Other];

/// What an account's API token is, and which account is its own; everybody else is refused.
fn own(role: &Role) -> Option<Target> {
    let is_token = !role.is_person && !role.is_operator && !role.is_nobody && !role.is_stopped;
    is_token.then(|| role.reaches[0])
}

fn expected(role: &Role, rule: &Rule, target: Target) -> Outcome {
    let Some(own) = own(role) else {
        return Outcome::Forbidden;
    };
    let mut scopes = rule.scopes.iter().map(|scope| scope.name());
    if !scopes.all(|scope| role.scopes.contains(&scope)) {
        return Outcome::Forbidden;
    }
    let is_main = own == Target::Main;
    let is_seen = match rule.of {
        Of::Own => true,
        Of::Token | Of::SharedToken | Of::SharedFilter => target == own,
        Of::Main | Of::TimeBased | Of::Metrics if !is_main => return Outcome::Forbidden,
        // An API token for a sub-account names it in the body.
        Of::Main if rule.path == "/v1/api-tokens/sub-account" => target == Target::Sub,
        Of::Main => true,
        Of::TimeBased => target == Target::Sub,
        // None of them was made as one.
        Of::Metrics => false,
    };
    match is_seen {
        true => Outcome::Reached,
        false => Outcome::Unseen,
    }
}

fn outcome(rule: &Rule, status: u16, body: &Value) -> Outcome {
    let is_shared = matches!(rule.of, Of::SharedToken | Of::SharedFilter);
    let message = body["message"].as_str().unwrap_or_default();
    match status {
        403 => Outcome::Forbidden,
        404 => Outcome::Unseen,
        400 if is_shared && message.contains("not found for account") => Outcome::Unseen,
        _ => Outcome::Reached,
    }
}

/// As far as can be one that changes nothing where it is allowed.
fn body(stage: &Stage, rule: &Rule, target: Target) -> Value {
    match (rule.method, rule.path) {
        ("post", "/v1/api-tokens/sub-account") => {
            json!({"name": "made", "accountId": stage.account(target)})
        }
        ("post", "/v1/log-shipping/tokens/search") => json!({"pagination": {"pageSize": 0}}),
        ("post", "/v1/audit-trail") => json!({}),
        ("post" | "put", _) => json!({"name": "", "accountName": "123", "tokenName": ""}),
        _ => Value::Null,
    }
}

#[tokio::test]
async fn every_role_on_every_compatible_route_is_as_its_rule_says() {
    let mut stage = Stage::new().await;
    let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let rules: Vec<Rule> = table().into_iter().map(|route| route.rule).collect();
    for role in stage.roles.clone() {
        for rule in &rules {
            for target in TARGETS {
                if rule.method == "delete" && expected(&role, rule, target) == Outcome::Reached {
                    stage.make_again(rule, target).await;
                }
                let path = rule
                    .path
                    .replace("{id}", &stage.compat_id(rule.of, target).to_string());
                let method = rule.method.to_uppercase();
                let body = body(&stage, rule, target);
                let (status, answer) = stage.people.send(&role.hand, &method, &path, &body).await;
                let expected = expected(&role, rule, target);
                if outcome(rule, status, &answer) != expected || status >= 500 {
                    wrong.push(format!(
                        "{} {method} {path} {target:?}: {status}, expected {expected:?}: {answer}",
                        role.name
                    ));
                }
                if status == 403 {
                    let refused = json!({"code": 403, "message": "Insufficient privileges"});
                    assert_eq!(answer, refused, "{} {method} {path}", role.name);
                }
                *outcomes.entry(expected).or_default() += 1;
                if rule.method == "delete" && status < 300 {
                    stage.make_again(rule, target).await;
                }
            }
        }
    }
    let cells: usize = outcomes.values().sum();
    println!(
        "permission matrix of the compatible routes: {} roles x {} routes, {cells} cells: {outcomes:?}",
        stage.roles.len(),
        rules.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {cells}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(outcomes.len(), 3, "every outcome occurs");
    assert!(rules.len() > 25 && cells > 2500);
}
