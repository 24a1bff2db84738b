//! The executable as a shell sees it, against a scripted admin API on a real socket.

mod lost;
mod spooled;
mod starting;
mod world;

use std::{net::TcpListener, os::unix::fs::PermissionsExt};

use world::{TOKEN, World, command, err, out};

#[test]
fn token_create_with_json_prints_the_apis_object_on_one_line() {
    let object =
        r#"{"id":4,"token":"whf_s_new","account":1,"name":"N","signal":"logs","revision":9}"#;
    let world = World::new(&[(201, object)]);
    let output = world.run(&[
        "token",
        "create",
        "--account",
        "main",
        "--signal",
        "logs",
        "--name",
        "N",
        "--json",
    ]);
    assert_eq!(out(&output), format!("{object}\n"), "{}", err(&output));
    assert_eq!(err(&output), "");
    assert_eq!(output.status.code(), Some(0));
    let seen = world.seen();
    assert_eq!(seen[0].line, "POST /api/v1/tokens HTTP/1.1");
    assert_eq!(seen[0].authorization, format!("Bearer {TOKEN}"));
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({"account": "main", "signal": "logs", "name": "N"})
    );
}

#[test]
fn a_person_gets_the_token_alone_on_stdout() {
    let world = World::new(&[(
        201,
        r#"{"id":4,"token":"whf_s_new","account":1,"account_name":"main","name":"N","signal":"logs"}"#,
    )]);
    let output = world.run(&[
        "token",
        "create",
        "--account",
        "1",
        "--signal",
        "logs",
        "--name",
        "N",
    ]);
    assert_eq!(out(&output), "whf_s_new\n");
    assert_eq!(
        err(&output),
        "token N (id 4, logs of account main) is created\n"
    );
    assert!(world.seen()[0].body.contains(r#""account":1"#));
}

#[test]
fn a_token_for_a_file_is_written_there_with_mode_0600_and_nowhere_else() {
    let world = World::new(&[(201, r#"{"id":4,"token":"whf_s_new","name":"N"}"#)]);
    let file = world.path("token");
    let file_name = file.to_str().expect("a UTF-8 path");
    let arguments = [
        "token",
        "create",
        "--account",
        "main",
        "--signal",
        "logs",
        "--name",
        "N",
        "--json",
        "--out",
        file_name,
    ];
    let output = world.run(&arguments);
    assert!(!out(&output).contains("whf_s_new") && !err(&output).contains("whf_s_new"));
    assert!(out(&output).contains(r#""id":4"#));
    let mode = std::fs::metadata(&file)
        .expect("written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        std::fs::read_to_string(&file).expect("written"),
        "whf_s_new\n"
    );

    // The script is over: had the command asked for a second token, it would have failed differently.
    let again = world.run(&arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("cannot write"), "{}", err(&again));
    assert_eq!(world.seen().len(), 1);
}

#[test]
fn a_list_is_an_aligned_table_over_all_pages() {
    let world = World::new(&[
        (200, r#"{"caller":"api_token/1","account":null}"#),
        (200, r#"{"items":[{"id":1,"name":"archive"}],"next":null}"#),
        (
            200,
            r#"{"items":[{"id":1,"name":"main","state":"active","destinations":{"logs":1,"metrics":7,"traces":null},"created_at":"2026-11-23T00:00:00Z"}],"next":1}"#,
        ),
        (
            200,
            r#"{"items":[{"id":20,"name":"a","state":"suspended","destinations":{},"created_at":null}],"next":null}"#,
        ),
    ]);
    let output = world.run(&["account", "list"]);
    assert_eq!(
        out(&output),
        "ID  NAME  PARENT  PLAN  STATE      LOGS TO  METRICS TO  TRACES TO  CREATED\n\
         1   main  -       -     active     archive  7           -          2026-11-23T00:00:00Z\n\
         20  a     -       -     suspended  -        -           -          -\n"
    );
    let lines: Vec<String> = world.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/session HTTP/1.1",
            "GET /api/v1/destinations?limit=1000 HTTP/1.1",
            "GET /api/v1/accounts?limit=1000 HTTP/1.1",
            "GET /api/v1/accounts?limit=1000&after=1 HTTP/1.1"
        ]
    );
}

#[test]
fn a_token_is_revoked_by_its_name_and_the_proof_is_printed() {
    let world = World::new(&[
        (
            200,
            r#"{"items":[{"id":3,"name":"web"},{"id":4,"name":"other"}],"next":null}"#,
        ),
        (
            200,
            r#"{"id":3,"name":"web","signal":"logs","account":1,"state":"revoked","revision":9,"enforcement":{"revision":9,"enforced":2,"gateways":2,"slowest_ms":41}}"#,
        ),
    ]);
    let output = world.run(&["token", "revoke", "web", "--wait", "--wait-timeout", "5s"]);
    assert_eq!(
        out(&output),
        "token web (id 3, logs of account 1) is revoked\n\
         revision 9: enforced on 2 of 2 gateways, the slowest after 41 ms\n",
        "{}",
        err(&output)
    );
    assert_eq!(
        world.seen()[1].line,
        "POST /api/v1/tokens/3/revoke?wait=enforced&timeout_ms=5000 HTTP/1.1"
    );
}

#[test]
fn a_filter_beside_an_id_must_hold_for_that_token() {
    let token = r#"{"id":5,"name":"web","signal":"logs","account":2,"account_name":"acme"}"#;
    for (arguments, holds) in [
        (["--account", "acme"], true),
        (["--account", "2"], true),
        (["--signal", "logs"], true),
        (["--account", "main"], false),
        (["--account", "5"], false),
        (["--signal", "traces"], false),
    ] {
        let script = [(200, token), (200, token)];
        let world = World::new(&script[..if holds { 2 } else { 1 }]);
        let output = world.run(&[&["token", "revoke", "5"], arguments.as_slice()].concat());
        let code = if holds { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{}", err(&output));
        if !holds {
            let why =
                "wharfinger: token 5 is logs of account acme, which is not what was asked for\n";
            assert_eq!(err(&output), why);
        }
        let seen = world.seen();
        assert_eq!(seen[0].line, "GET /api/v1/tokens/5 HTTP/1.1");
        assert!(!holds || seen[1].line == "POST /api/v1/tokens/5/revoke HTTP/1.1");
    }
}

#[test]
fn laggards_are_named_and_are_exit_code_3() {
    let world = World::new(&[(
        202,
        r#"{"id":3,"name":"web","enforcement":{"revision":9,"enforced":1,"gateways":2,"laggards":["gw-b"]}}"#,
    )]);
    let output = world.run(&["token", "revoke", "3", "--wait"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        err(&output),
        "wharfinger: changed, but not yet enforced on gw-b\n"
    );
}

#[test]
fn a_name_that_several_tokens_have_is_answered_with_their_ids() {
    let world = World::new(&[(
        200,
        r#"{"items":[{"id":3,"name":"web","signal":"logs","account_name":"main","state":"live"},{"id":5,"name":"web","signal":"traces","account_name":"main","state":"disabled"}],"next":null}"#,
    )]);
    let output = world.run(&["token", "disable", "web", "--account", "main & co"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output),
        "wharfinger: 2 tokens are called \"web\"; use an id:\n  3 logs of account main, live\n  5 traces of account main, disabled\n"
    );
    assert_eq!(
        world.seen()[0].line,
        "GET /api/v1/tokens?account=main%20%26%20co&name=web&limit=1000 HTTP/1.1"
    );
}

#[test]
fn a_name_that_a_revoked_token_shares_means_the_one_that_can_be_acted_on() {
    let list = r#"{"items":[{"id":3,"name":"web","state":"revoked"},{"id":5,"name":"web","state":"live"}],"next":null}"#;
    let world = World::new(&[(200, list), (200, "{}"), (200, list)]);
    world.run(&["token", "revoke", "web"]);
    // Both can be deleted, and one of them is live: nobody guesses.
    let output = world.run(&["token", "delete", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("use an id:"), "{}", err(&output));
    let seen = world.seen();
    assert_eq!(seen[1].line, "POST /api/v1/tokens/5/revoke HTTP/1.1");
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_problem_is_one_sentence_without_control_characters() {
    let world = World::new(&[(
        409,
        "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"detail\":\"account main has 3 tokens\\u001b[2J\"}",
    )]);
    let output = world.run(&["account", "delete", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output),
        "wharfinger: account main has 3 tokens\u{fffd}[2J\n"
    );
    assert_eq!(world.seen()[0].line, "DELETE /api/v1/accounts/7 HTTP/1.1");
}

#[test]
fn a_stranger_on_the_port_is_told_from_an_admin_api() {
    let world = World::new(&[(200, "<html>hello</html>"), (502, "<html>")]);
    let output = world.run(&["account", "list"]);
    assert!(err(&output).contains("is not JSON"), "{}", err(&output));
    let output = world.run(&["account", "list"]);
    assert!(err(&output).contains("answered 502"), "{}", err(&output));
}

#[test]
fn account_set_sends_only_what_was_named() {
    let world = World::new(&[(200, r#"{"id":2,"name":"b"}"#)]);
    let output = world.run(&[
        "account",
        "set",
        "2",
        "--limit",
        "bulk_body_bytes_max=5MiB",
        "--limit",
        "remote_write_throttle_as_unavailable=true",
        "--destination",
        "logs=loki",
        "--destination",
        "traces=",
    ]);
    assert_eq!(
        out(&output),
        "account b (id 2) is changed\n",
        "{}",
        err(&output)
    );
    let seen = world.seen();
    assert_eq!(seen[0].line, "PATCH /api/v1/accounts/2 HTTP/1.1");
    let body: serde_json::Value = serde_json::from_str(&seen[0].body).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({
            "limits": {"bulk_body_bytes_max": 5_242_880, "remote_write_throttle_as_unavailable": true},
            "destinations": {"logs": "loki", "traces": null},
        })
    );
}

#[test]
fn a_destination_takes_its_secret_from_a_file() {
    let world = World::new(&[(201, r#"{"id":2,"name":"loki"}"#)]);
    let secret = world.path("secret");
    std::fs::write(&secret, "hunter2\n").expect("the folder is writable");
    let output = world.run(&[
        "destination",
        "create",
        "--name",
        "loki",
        "--kind",
        "otlp_http",
        "--endpoint",
        "https://loki:3100",
        "--header",
        "X-Scope-OrgID: {account}",
        "--secret-header",
        &format!("X-Api-Key=@{}", secret.display()),
        "--user",
        "u",
        "--password-file",
        secret.to_str().expect("a UTF-8 path"),
        "--request-timeout",
        "1m",
        "--compression",
        "identity",
        "--allow-link-local",
        "--ack",
        "spool",
    ]);
    assert_eq!(
        out(&output),
        "destination loki (id 2) is created\n",
        "{}",
        err(&output)
    );
    let body: serde_json::Value = serde_json::from_str(&world.seen()[0].body).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({
            "name": "loki", "kind": "otlp_http", "endpoints": ["https://loki:3100"],
            "headers": [{"name": "X-Scope-OrgID", "value": "{account}"}],
            "secret_headers": {"X-Api-Key": "hunter2"},
            "credentials": {"kind": "basic", "user": "u", "password": "hunter2"},
            "request_timeout_ms": 60_000, "compression": "identity", "allow_link_local": true,
            "ack": "spool",
        })
    );
}

#[test]
fn nobody_listening_is_said_in_one_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let world = World::new(&[]);
    let output = world.run(&["token", "list", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output),
        format!("wharfinger: cannot reach the admin API at {url}: is wharfinger running?\n")
    );
}

#[test]
fn a_missing_admin_token_is_said_with_the_way_out() {
    let output = command()
        .args(["account", "list", "--data", "/nowhere"])
        .output()
        .expect("the executable starts");
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    assert!(
        text.contains("/nowhere/admin-token") && text.contains("--admin-token-file"),
        "{text}"
    );
}

#[test]
fn bad_usage_is_exit_code_2() {
    for arguments in [
        vec!["token", "create", "--signal", "smells"],
        vec!["account", "set", "1"],
        vec!["account", "list", "--url", "nonsense"],
        vec!["nonsense"],
        vec!["token", "list", "--wait-timeout", "5s"],
    ] {
        let world = World::new(&[]);
        let output = world.run(&arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            err(&output)
        );
    }
}

#[test]
fn check_prints_every_mistake_with_its_place_and_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("w.toml");
    std::fs::write(&file, "[listen]\nblk = \":1\"\n[drain]\ndelay = 1\n").expect("writable");
    let output = command()
        .arg("check")
        .arg(&file)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    let name = file.display().to_string();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].starts_with(&format!("{name}:2:1: listen.blk: unknown key")),
        "{text}"
    );
    assert!(
        lines[1].starts_with(&format!("{name}:4:9: drain.delay: ")),
        "{text}"
    );

    std::fs::write(&file, "[listen]\nbulk = \":1\"\n").expect("writable");
    let output = command()
        .arg("check")
        .arg(&file)
        .output()
        .expect("it starts");
    assert_eq!(out(&output), format!("{name}: ok\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn serving_from_a_broken_configuration_ends_with_2_before_anything_starts() {
    let output = command()
        .env("WHARFINGER_LISTEN__BULK", "nonsense")
        .env("WHARFINGER_DRAIN__TIMEOUT", "0s")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(err(&output).lines().count(), 2, "{}", err(&output));
    let output = command().arg("gateway").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("`endpoints` in [feed]"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_feed_certificate_that_cannot_be_used_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, text) in [("junk.pem", Some("junk")), ("missing.pem", None)] {
        let path = folder.path().join(file);
        if let Some(text) = text {
            std::fs::write(&path, text).expect("written");
        }
        let mut control = command();
        for door in ["ADMIN", "FEED", "OPERATE"] {
            control.env(format!("WHARFINGER_LISTEN__{door}"), "127.0.0.1:0");
        }
        let output = control
            .arg("control")
            .env("WHARFINGER_DATA", folder.path().join("data"))
            .env("WHARFINGER_CONTROL__FEED_CERTIFICATE", &path)
            .env("WHARFINGER_CONTROL__FEED_KEY", &path)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains(file), "{}", err(&output));
    }
}

#[test]
fn health_asks_the_operators_port_and_tells_why_not() {
    let world = World::new(&[(200, "ready\n"), (503, "no token table yet\n")]);
    let address = world.url.trim_start_matches("http://").to_owned();
    let run = || {
        command()
            .arg("health")
            .env("WHARFINGER_LISTEN__OPERATE", &address)
            .output()
            .expect("it starts")
    };
    let ready = run();
    assert_eq!(
        (ready.status.code(), out(&ready).as_str()),
        (Some(0), "ready\n")
    );
    let not = run();
    assert_eq!(not.status.code(), Some(1));
    assert_eq!(
        err(&not),
        "wharfinger: not ready (503): no token table yet\n"
    );
    let seen = world.seen();
    assert_eq!(seen[0].line, "GET /ready HTTP/1.1");
    assert_eq!(seen[0].authorization, "");
}
