//! The command line against a real control plane with a real gateway: every verb, for people and for scripts.

#[path = "command_line/acks.rs"]
mod acks;
#[path = "command_line/again.rs"]
mod again;
#[path = "command_line/sharing.rs"]
mod sharing;
#[path = "command_line/shell.rs"]
mod shell;
mod world;

use std::process::Command;

use serde_json::{Value, json};
use shell::Shell;
use world::{
    Sender,
    process::{Process, free_port, local, write_config},
};

const ENFORCED: &str = ": enforced on 1 of 1 gateways, the slowest after ";

#[tokio::test]
async fn accounts_and_destinations_are_made_changed_and_deleted() {
    let shell = Shell::start().await;
    let made = shell
        .says("destination create --name loki --kind http --endpoint http://127.0.0.1:9/x --wait");
    assert!(made.starts_with("destination loki (id 2) is created\nrevision 2: enforced on 1 of 1"));
    let again = shell.fails(
        "destination create --name loki --kind http --endpoint http://127.0.0.1:9/x",
        1,
    );
    assert!(again.contains("\"loki\" already (id 2)"), "{again}");
    let set = shell.object("destination set loki --header X-Org:{account} --request-timeout 5s");
    assert_eq!(set["headers"][0]["value"], "{account}");
    assert_eq!(set["request_timeout_ms"], 5000);
    let list = shell.says("destination list");
    assert!(list.contains("2   loki     http     -            http://127.0.0.1:9/x"));

    let made = shell.says(
        "account create --name acme --destination logs=loki --limit concurrency_max=9 --wait",
    );
    assert!(made.starts_with("account acme (id 2) is created\n") && made.contains(ENFORCED));
    let wrong = shell.fails("account set acme --limit nonsense=1", 1);
    assert!(wrong.contains("unknown field `nonsense`"), "{wrong}");
    shell.fails("account set acme", 2);
    let set = shell.object("account set acme --name acme2 --limit bulk_body_bytes_max=1MiB --wait");
    assert_eq!(set["enforcement"]["enforced"], 1);
    assert_eq!(set["limits"]["concurrency_max"], 9);
    assert_eq!(set["limits"]["bulk_body_bytes_max"], 1 << 20);
    let rates =
        "--limit requests_per_second=1000 --limit bytes_per_second=5MiB --limit draw_on_main=true";
    let set = shell.object(&format!("account set acme2 {rates}"));
    assert_eq!(set["limits"]["requests_per_second"], 1000);
    assert_eq!(set["limits"]["bytes_per_second"], 5 << 20);
    assert_eq!(set["limits"]["draw_on_main"], true);
    let list = shell.says("account list");
    assert!(
        list.contains("2   acme2  -       community  active  loki     archive     archive    "),
        "{list}"
    );
    let suspended = shell.object("account disable acme2");
    assert_eq!(suspended["state"], "suspended");
    assert_eq!(
        shell.says("account enable acme2"),
        "account acme2 (id 2) is enabled\n"
    );

    let used = shell.fails("destination delete loki", 1);
    assert!(used.contains("is used by account \"acme2\""), "{used}");
    assert!(shell.says("account delete acme2 --wait").contains(ENFORCED));
    assert_eq!(
        shell.says("destination delete loki"),
        "destination loki is deleted\n"
    );
    let lists = ["account list", "destination list"].map(|list| shell.object(list));
    for list in &lists {
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    }
}

#[tokio::test]
async fn a_token_lives_by_what_the_command_line_says_of_it() {
    let shell = Shell::start().await;
    shell.says("account create --name acme --wait");
    let token = shell.says("token create --account acme --signal logs --name web --wait");
    // Alone on stdout, as `$(...)` wants it.
    let token = token.trim_end();
    assert!(token.starts_with("whf_s_") && !token.contains(char::is_whitespace));
    assert_eq!(shell.ships(token).await, 200);

    let shown = shell.says("token show web");
    assert!(shown.contains("4   web   acme     logs    live"), "{shown}");
    assert_eq!(shell.object("token show 4")["state"], "live");

    shell.says("token disable web --force --wait");
    assert_ne!(shell.ships(token).await, 200);
    let enabled = shell.object("token enable web --wait");
    assert_eq!(enabled["state"], "live");
    assert!(enabled["token"].is_null());
    assert_eq!(shell.ships(token).await, 200);
    assert_eq!(shell.says("token reveal web").trim_end(), token);

    let new = shell.object("token rotate 4 --overlap 1h --wait");
    assert_eq!(new["replaces"]["id"], 4);
    let new_token = new["token"].as_str().expect("a token");
    for good in [token, new_token] {
        assert_eq!(shell.ships(good).await, 200);
    }
    let two = shell.fails("token revoke web", 1);
    assert!(
        two.contains("2 tokens are called \"web\"") && two.contains("\n  5 logs of account acme")
    );
    while !shell.says("token senders 4").contains("127.0.0.1") {}
    let used = shell.fails("token revoke 4", 1);
    assert!(used.contains("token 5, which replaces it"), "{used}");
    let forced = "token revoke 4 --force --wait";
    assert!(shell.says(forced).contains(ENFORCED));
    assert_eq!(shell.ships(token).await, 401);
    assert_eq!(shell.ships(new_token).await, 200);
    let is_final = shell.fails("token enable 4", 1);
    assert!(is_final.contains("final"), "{is_final}");

    let live = shell.fails("token delete 5", 1);
    assert!(live.contains("is the last enabled one for logs"), "{live}");
    let deleted = shell.says("token delete 5 --force --wait");
    assert!(deleted.starts_with("token 5 is deleted\n"), "{deleted}");
    assert!(deleted.contains(", last accepted at "), "{deleted}");
    assert_eq!(shell.ships(new_token).await, 401);
    assert!(
        shell
            .says("token delete 4 --wait")
            .contains("token 4 is deleted\n")
    );
    assert_eq!(shell.ships(token).await, 401);
    assert!(
        shell
            .fails("token delete 4", 1)
            .contains("there is no token 4")
    );
    let create = "token create --account acme --signal metrics --name slow --rate requests_per_second=100 \
        --rate bytes_per_second=5MiB";
    shell.says(create);
    let slow = json!({"requests_per_second": 100, "bytes_per_second": 5 << 20});
    assert_eq!(shell.object("token show slow")["rates"], slow);
    let set = "token set slow --rate requests_per_second=0 --rate items_burst=7";
    let slow = json!({"bytes_per_second": 5 << 20, "items_burst": 7});
    assert_eq!(shell.object(set)["rates"], slow);
    let listed = shell.object("token list --name slow");
    assert_eq!(listed["items"][0]["rates"], slow);
    let wrong = shell.fails("token set slow --rate bytes_per_second=true", 2);
    assert!(wrong.contains("is not a number or a size"), "{wrong}");
    let wrong = shell.fails("token set slow --rate bytes_per_second=2TB", 1);
    assert!(
        wrong.contains("bytes_per_second may be 1000000000000 at most"),
        "{wrong}"
    );
    let wrong = shell.fails("token set slow --rate bytes_per_minute=1", 1);
    assert!(
        wrong.contains("unknown field `bytes_per_minute`"),
        "{wrong}"
    );
    let given = shell.folder.path().join("given");
    std::fs::write(&given, "made-by-somebody-else-7\n").expect("written");
    let create = "token create --account acme --signal traces --name given --token-file given";
    assert_eq!(shell.says(create), "made-by-somebody-else-7\n");
}

#[tokio::test]
async fn people_api_tokens_and_the_audit_log_are_worked_from_a_shell() {
    let shell = Shell::start().await;
    shell.says("account create --name acme --plan pro");
    let sub = shell.object("account create --name acme-eu --parent acme");
    assert_eq!((&sub["parent"], &sub["plan"]), (&json!(2), &json!("pro")));
    let set = shell.object("account set acme-eu --accessible false");
    assert_eq!(set["accessible"], false);
    let suspended = shell.object("account suspend acme-eu --reason unpaid");
    assert_eq!(suspended["suspended_reason"], "unpaid");
    shell.object("account set acme-eu --limit concurrency_max=7");
    let inherits = shell.object("account set acme-eu --inherit concurrency_max");
    assert_eq!(inherits["limits"]["concurrency_max"], 0);
    assert!(shell.says("gateways list --connected true").lines().count() > 1);
    assert_eq!(
        shell
            .says("gateways list --connected false")
            .lines()
            .count(),
        1
    );
    let trial = shell.object("account set acme --plan trial --trial-until 30d");
    assert!(trial["trial_until"].is_string());

    let create = "api-token create --account acme --name ci --scope read --scope tokens";
    let token = shell.says(create);
    assert!(token.starts_with("whf_a_") && token.lines().count() == 1);
    let list = shell.says("api-token list");
    assert!(list.contains("2   ci     2        read,tokens"), "{list}");
    assert!(!list.contains("whf_a_"));
    shell.says("api-token show 2");
    assert_eq!(shell.says("api-token revoke 2"), "API token 2 is revoked\n");

    let password = shell.folder.path().join("password");
    std::fs::write(&password, "correct horse battery\n").expect("written");
    let file = format!("--password-file {}", password.display());
    let anna = shell.object(&format!(
        "user create --name anna --role admin --account acme {file}"
    ));
    assert_eq!((&anna["id"], &anna["role"]), (&json!(2), &json!("admin")));
    let wrong = shell.fails(&format!("user create --name bert --role admin {file}"), 1);
    assert!(wrong.contains("an operator has no account"), "{wrong}");
    shell.fails("user set anna", 2);
    let only = shell.fails("user set anna --role reader", 1);
    assert!(only.contains("is the last admin of account 2"), "{only}");
    shell.object(&format!(
        "user create --name bert --role admin --account acme {file}"
    ));
    assert_eq!(
        shell.says("user set anna --role reader"),
        "user anna (id 2, reader) is changed\n"
    );
    let new = shell.folder.path().join("new-password");
    std::fs::write(&new, "another horse battery\n").expect("written");
    let both = format!("{file} --new-password-file {}", new.display());
    assert_eq!(
        shell.says(&format!("user change-password anna {both}")),
        "the password of anna is changed, and all their sessions have ended\n"
    );
    let old = shell.fails(&format!("user change-password anna {both}"), 1);
    assert!(
        old.contains("no user of that name with that password"),
        "{old}"
    );
    std::fs::write(&password, "another horse battery\n").expect("written");
    std::fs::write(&new, "short\n").expect("written");
    let short = shell.fails(&format!("user change-password anna {both}"), 1);
    assert!(short.contains("12"), "{short}");
    let log = shell.object("audit list --actor user/2");
    let actions: Vec<_> = log["items"].as_array().expect("items").iter().collect();
    let actions: Vec<_> = actions.iter().map(|it| it["action"].clone()).collect();
    assert_eq!(
        actions,
        [
            "session.begin",
            "user.password",
            "session.begin",
            "session.end"
        ],
        "{log}"
    );
    let running = shell.fails("user reset-password anna", 2);
    assert!(running.contains("in use by another") && running.contains("offline"));
    assert_eq!(shell.says("user delete anna"), "user anna is deleted\n");
    let list = shell.says("user list");
    assert!(list.contains("1   operator  operator  -"), "{list}");

    let me = shell.says("whoami");
    assert!(
        me.ends_with("api_token/1  all      read,tokens,accounts\n"),
        "{me}"
    );
    for which in ["openapi", "openapi --compatible"] {
        let document: Value = serde_json::from_str(&shell.says(which)).expect("JSON");
        assert!(document["paths"].is_object(), "{which}");
    }
    let list = shell.object("audit list --action user.create --actor api_token/1");
    assert_eq!(list["items"][0]["subject"], "user/2");
    assert_eq!(list["items"][0]["address"], "127.0.0.1");
    assert!(!list.to_string().contains("horse"));
    let intact = shell.says("audit verify");
    assert!(intact.starts_with("the audit log is intact: "), "{intact}");
}

#[tokio::test]
async fn every_list_of_things_with_names_is_narrowed_by_name() {
    let shell = Shell::start().await;
    let password = shell.folder.path().join("password");
    std::fs::write(&password, "correct horse battery\n").expect("written");
    let user = format!(
        "user create --name anna --role operator --password-file {}",
        password.display()
    );
    for (create, list, name) in [
        ("account create --name acme", "account", "acme"),
        (
            "destination create --name loki --kind http --endpoint http://127.0.0.1:9/x",
            "destination",
            "loki",
        ),
        ("api-token create --name ci --scope read", "api-token", "ci"),
        (
            "token create --account main --signal logs --name web",
            "token",
            "web",
        ),
        (user.as_str(), "user", "anna"),
    ] {
        shell.says(create);
        let all = shell.object(&format!("{list} list"));
        assert!(all["items"].as_array().expect("items").len() > 1, "{all}");
        let found = shell.object(&format!("{list} list --name {name}"));
        assert_eq!(found["items"][0]["name"], name, "{found}");
        assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    }
}

#[tokio::test]
async fn usage_and_senders_are_shown_to_people_scripts_and_spreadsheets() {
    let shell = Shell::start().await;
    let token = shell.says("token create --account main --signal logs --name web --wait");
    for _ in 0..3 {
        assert_eq!(shell.ships(token.trim_end()).await, 200);
    }
    let by_token = "account usage main --step day --group token";
    world::eventually("usage is told", async || {
        shell.object(by_token)["items"][0]["items"] == 3
    })
    .await;
    let row = &shell.object(by_token)["items"][0];
    assert_eq!((&row["token"], &row["bytes"]), (&4.into(), &24.into()));
    let table = shell.says("account usage 1 --signal logs");
    assert!(
        table.starts_with("START") && table.contains("  3         3      24     3"),
        "{table}"
    );
    let csv = shell.says("account usage main --step minute --group signal --csv");
    let sums = csv.lines().skip(1).map(|line| line.split(',').nth(4));
    let items: u64 = sums.flatten().filter_map(|it| it.parse::<u64>().ok()).sum();
    assert_eq!(items, 3, "{csv}");
    assert_eq!(
        shell.says("account usage main --token 1").lines().count(),
        1
    );
    shell.fails("account usage main --step week", 2);
    let wrong = shell.fails("account usage main --from yesterday", 1);
    assert!(wrong.contains("is not a time"), "{wrong}");

    let senders = shell.says("token senders web");
    assert!(senders.contains("127.0.0.1"), "{senders}");
    assert_eq!(
        shell.object("token senders 4")["items"][0]["address"],
        "127.0.0.1"
    );
    let unused = shell.object("token senders 1");
    assert_eq!(unused["items"].as_array().map(Vec::len), Some(0));
    assert!(shell.object("token list --account main")["items"][3]["last_used_at"].is_string());
}

#[tokio::test]
async fn scripts_get_one_object_and_secrets_go_where_they_were_sent() {
    use std::os::unix::fs::PermissionsExt as _;
    let shell = Shell::start().await;
    let token =
        shell.object("token create --account main --signal metrics --name n --expires 30d --wait");
    assert!(token["id"].is_u64() && token["token"].is_string());
    assert_eq!(token["enforcement"]["gateways"], 1);
    assert!(token["expires_at"].is_string());

    let told = shell.run("token create --account 1 --signal traces --name n --out secret");
    assert!(told.status.success() && told.stdout.is_empty());
    let file = shell.folder.path().join("secret");
    let mode = std::fs::metadata(&file)
        .expect("written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).expect("written");
    assert!(secret.starts_with("whf_s_"));
    assert!(!String::from_utf8_lossy(&told.stderr).contains(secret.trim()));
    let taken = shell.fails(
        "token create --account main --signal logs --name x --out secret",
        1,
    );
    assert!(taken.contains("secret"), "{taken}");

    let list = shell.object("token list --account main --state live");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(5), "{list}");
    assert!(!list.to_string().contains("whf_"));
    let table = shell.says("token list --signal traces");
    assert_eq!(table.lines().count(), 3, "{table}");
    let nobody = shell.fails("token create --account nobody --signal logs --name x", 1);
    assert!(nobody.contains("no account named \"nobody\""), "{nobody}");
    assert!(
        shell
            .fails("token revoke 999", 1)
            .contains("there is no token 999")
    );
    shell.fails("token create --account main --signal smells --name x", 2);
}

#[tokio::test]
async fn a_folder_that_is_in_use_and_a_lost_key_end_with_2() {
    let shell = Shell::start().await;
    let data = shell.folder.path().join("data");
    let other = write_config(
        &shell.folder.path().join("other"),
        &[("operate", free_port())],
        "",
    );
    let second = |data: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_wharfinger"))
            .args(["serve", "--config"])
            .arg(&other)
            .arg("--data")
            .arg(data)
            .output()
            .expect("the executable starts")
    };
    let output = second(&data);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("is in use by another wharfinger process"),
        "{error}"
    );

    let Shell { serve, folder, .. } = shell;
    assert_eq!(serve.terminate(), Some(0));
    std::fs::remove_file(folder.path().join("data/master.key")).expect("there is a key");
    let output = second(&data);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("master key"), "{error}");
}

#[tokio::test]
async fn a_store_is_backed_up_while_it_is_served_and_put_back_while_it_is_not() {
    let shell = Shell::start().await;
    shell.says("account create --name before");
    shell.says("store backup backup.sqlite");
    let twice = shell.fails("store backup backup.sqlite", 2);
    assert!(twice.contains("backup.sqlite"), "{twice}");
    shell.says("account create --name after");
    let running = shell.fails("store restore backup.sqlite", 2);
    assert!(running.contains("is in use by another"), "{running}");
    let Shell {
        serve,
        config,
        folder,
        bulk,
    } = shell;
    let operate = serve.operate;
    assert_eq!(serve.terminate(), Some(0));
    let data = folder.path().join("data");
    let mut restore = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
    restore
        .args(["store", "restore", "backup.sqlite", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(&data)
        .current_dir(folder.path());
    assert!(restore.status().expect("starts").success());
    let serve = Process::start("serve", &config, &data, operate);
    serve.ready().await;
    let shell = Shell {
        serve,
        config,
        folder,
        bulk,
    };
    let accounts = shell.says("account list");
    assert!(accounts.contains("before"), "{accounts}");
    assert!(!accounts.contains("after"), "{accounts}");
}

#[tokio::test]
async fn systemd_hears_of_ready_when_it_is_and_of_stopping_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let operate = free_port();
    let config = write_config(folder.path(), &[("operate", operate)], "");
    let socket = folder.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&socket).expect("binds");
    let patience = Some(std::time::Duration::from_secs(20));
    systemd.set_read_timeout(patience).expect("sets");
    let hear = || {
        let mut message = [0; 256];
        let length = systemd.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_wharfinger"))
        .args(["serve", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(folder.path().join("data"))
        .env("NOTIFY_SOCKET", &socket)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the executable starts");
    assert_eq!(hear(), "READY=1\n");
    let ready = Sender::new(local(operate))
        .send(http::Method::GET, "/ready", &[], Vec::new())
        .await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("signals");
    assert_eq!(hear(), "STOPPING=1\n");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}
