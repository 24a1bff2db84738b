//! The same command run again, and run by those who don't see everything.

use std::time::Duration;

use super::shell::Shell;

#[tokio::test]
async fn under_a_key_the_same_create_is_one_thing_also_with_an_end_from_now() {
    let shell = Shell::start().await;
    let creates = [
        "token create --account main --signal traces --name timed --expires 30d",
        "api-token create --name timed --scope read --expires 30d",
        "shared-token create --account main --name timed --everything --expires 30d",
        "account create --name timed --plan trial --trial-until 30d",
    ];
    let create = |(at, create): (usize, &&str)| {
        shell.object(&format!("{create} --idempotency-key key-{at}"))
    };
    let first: Vec<_> = creates.iter().enumerate().map(create).collect();
    // By now the same words mean another time.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let again: Vec<_> = creates.iter().enumerate().map(create).collect();
    assert_eq!(again, first);
    for object in &first {
        let end = object["expires_at"]
            .as_str()
            .or(object["trial_until"].as_str());
        assert!(end.is_some_and(|end| end.ends_with('Z')), "{object}");
    }
}

#[tokio::test]
async fn a_rotation_by_name_is_of_the_newest_token_and_under_its_key_the_same_one() {
    let shell = Shell::start().await;
    shell.says("token create --account main --signal traces --name web");
    let keyed = "token rotate web --idempotency-key monday";
    let first = shell.object(keyed);
    assert_eq!(first["replaces"]["id"], 4);
    assert_eq!(shell.object(keyed), first, "the command is run again");
    let next = shell.object("token rotate web");
    assert_eq!(next["replaces"]["id"], first["id"]);
    assert_eq!(shell.object(keyed), first, "and once more");
    let other = shell.fails(&format!("{keyed} --overlap 1h"), 1);
    assert!(other.contains("stands for another request"), "{other}");
    let list = shell.object("token list --signal traces --account main");
    let named = |token: &&serde_json::Value| token["name"] == "web";
    let items = list["items"].as_array().expect("a list");
    assert_eq!(items.iter().filter(named).count(), 3);
    // Where a verb may mean each of them, they can be told apart.
    let several = shell.fails("token revoke web", 1);
    for line in [
        "3 tokens are called \"web\"; use an id:",
        "\n  4 traces of account main, live, replaced by 5 and good until 2",
        "\n  5 traces of account main, live, replaced by 6 and good until 2",
        "\n  6 traces of account main, live\n",
    ] {
        assert!(several.contains(line), "{several}");
    }
}

#[tokio::test]
async fn an_accounts_own_people_list_and_show_the_accounts_that_they_reach() {
    let shell = Shell::start().await;
    shell.says("account create --name acme --plan pro");
    shell.says("account create --name acme-eu --parent acme");
    shell.says("api-token create --name theirs --account acme --scope read --out theirs");
    let list = shell.says("account list --admin-token-file theirs");
    assert!(
        list.contains("acme-eu") && list.lines().count() == 3,
        "{list}"
    );
    for account in ["acme", "acme-eu"] {
        let shown = shell.says(&format!("account show {account} --admin-token-file theirs"));
        assert!(shown.contains(account), "{shown}");
    }
    let hidden = shell.fails("account show main --admin-token-file theirs", 1);
    assert!(hidden.contains("there is no account \"main\""), "{hidden}");
    // An operator's table names what it may see.
    assert!(shell.says("account list").contains("archive"));
}
