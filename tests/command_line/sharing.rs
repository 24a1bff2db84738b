//! Shared tokens and filters: made, shown, used and ended by commands.

use serde_json::json;

use super::Shell;

#[tokio::test]
async fn shared_tokens_and_their_filters_are_worked_from_a_shell() {
    let shell = Shell::start().await;
    shell.says("account create --name acme --plan community");
    let create =
        "shared-filter create --account acme --field signal --value logs --description ours";
    assert_eq!(shell.says(create), "shared filter 1 is created\n");
    let path = shell.folder.path().join("shared");
    let create = format!(
        "shared-token create --account acme --name guests --filter 1 --out {}",
        path.display()
    );
    let made = shell.object(&create);
    assert_eq!(
        (&made["join"], &made["filters"]),
        (&json!("and"), &json!([1]))
    );
    assert!(made["expires_at"].is_string());
    let nothing_said = shell.fails("shared-token create --account acme --name n", 2);
    assert!(nothing_said.contains("--filter"), "{nothing_said}");
    let usage = format!("shared-token usage --admin-token-file {}", path.display());
    assert_eq!(shell.object(&usage)["items"], json!([]));
    let refused = format!("token list --admin-token-file {}", path.display());
    shell.fails(&refused, 1);
    let token = shell.says("shared-token reveal 1");
    assert!(token.starts_with("whf_r_") && token.lines().count() == 1);
    let changed = shell.object("shared-token change 1 --everything --endless --join or");
    assert_eq!(
        (
            &changed["join"],
            &changed["filters"],
            &changed["expires_at"]
        ),
        (&json!("or"), &json!([]), &json!(null))
    );
    assert_eq!(
        shell.says("shared-filter describe 1 theirs"),
        "shared filter 1 is described\n"
    );
    assert!(
        shell
            .says("shared-filter list --account acme")
            .contains("theirs")
    );
    shell.says("shared-filter show 1");
    assert_eq!(
        shell.says("shared-filter delete 1"),
        "shared filter 1 is deleted\n"
    );
    shell.fails("shared-token delete 1", 1);
    assert_eq!(
        shell.says("shared-token revoke 1"),
        "shared token guests (id 1) is revoked\n"
    );
    shell.fails(&usage, 1);
    assert!(
        shell
            .says("shared-token list --account acme")
            .contains("revoked")
    );
    shell.says("shared-token show 1");
    assert_eq!(
        shell.says("shared-token delete 1"),
        "shared token 1 is deleted\n"
    );
}
