//! What is on disk: locked, sealed, whole.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use sqlx::Connection as _;
use tempfile::TempDir;

use super::{
    stores,
    world::{World, text},
};
use crate::{
    control::{
        Config, Control, Error, FirstStart,
        scope::Scopes,
        store::{ApiTokenFilter, NewApiToken},
    },
    model::{AccountState, Signal},
};

async fn opening(folder: &Path) -> Result<Control, Error> {
    Control::open(&stores::config(folder).await, folder).await
}

#[tokio::test]
async fn a_second_start_finds_everything_and_writes_lost_files_again() {
    let folder = TempDir::new().expect("a folder");
    let control = opening(folder.path()).await.expect("opens");
    let first = control.first_start().await.expect("starts");
    assert!(first.is_new);
    assert_eq!(first.tokens.len(), 3);
    let files: Vec<_> = first.tokens.iter().map(|(_, path)| path.clone()).collect();
    let files: Vec<_> = files
        .into_iter()
        .chain([first.admin_token, first.join_key])
        .collect();
    let before: Vec<_> = files.iter().map(|path| text(path)).collect();
    for path in files.iter().chain([&folder.path().join("master.key")]) {
        let mode = fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    control.close().await;
    fs::remove_file(&files[0]).expect("removed");
    fs::write(&files[3], "tampered").expect("written");
    let control = opening(folder.path()).await.expect("opens again");
    let second = control.first_start().await.expect("starts again");
    assert!(!second.is_new);
    assert_eq!(control.feed_state().head, 1, "nothing was made twice");
    let after: Vec<_> = files.iter().map(|path| text(path)).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_revoked_first_token_is_not_made_again() {
    let world = World::new().await;
    world.ok("POST", "/tokens/1/revoke", Value::Null).await;
    world
        .ok("PATCH", "/accounts/1", json!({"name": "renamed"}))
        .await;
    let again = world.control.first_start().await.expect("starts");
    assert_eq!(again.tokens.len(), 2);
    assert!(!again.is_new);
}

#[tokio::test]
async fn a_first_token_that_opens_nothing_is_left_out_and_a_rotated_one_is_its_successor() {
    let world = World::new().await;
    let files = |first: &FirstStart| {
        let signals = first.tokens.iter().map(|(signal, _)| *signal);
        signals.collect::<Vec<_>>()
    };
    world
        .ok("POST", "/tokens/1/disable?force=true", Value::Null)
        .await;
    let made = world
        .ok("POST", "/tokens/2/rotate", json!({"overlap_seconds": 0}))
        .await;
    world
        .ok(
            "PATCH",
            "/accounts/1",
            json!({"name": "new", "state": "suspended", "destinations": {"logs": null}}),
        )
        .await;
    let again = world.control.first_start().await.expect("starts");
    assert_eq!(files(&again), [Signal::Metrics, Signal::Traces]);
    assert_eq!(again.archived, [Signal::Metrics, Signal::Traces]);
    assert_eq!(
        text(&again.tokens[0].1),
        made["token"].as_str().expect("text")
    );
    let account = again.account.expect("there");
    assert_eq!(
        (account.name.as_str(), account.state),
        ("new", AccountState::Suspended)
    );
    for id in 1..=4 {
        world
            .ok("POST", &format!("/tokens/{id}/revoke"), Value::Null)
            .await;
    }
    world.ok("DELETE", "/accounts/1", Value::Null).await;
    let again = world.control.first_start().await.expect("starts");
    assert!(again.account.is_none() && again.tokens.is_empty() && again.archived.is_empty());
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_closed() {
    let folder = TempDir::new().expect("a folder");
    let first = opening(folder.path()).await.expect("opens");
    let refused = opening(folder.path()).await.err().expect("refused");
    assert!(matches!(refused, Error::Locked(_)));
    assert!(refused.to_string().contains("in use by another"));
    first.close().await;
    opening(folder.path()).await.expect("free again");
}

#[tokio::test]
async fn a_wrong_or_missing_master_key_is_one_clear_error() {
    let folder = TempDir::new().expect("a folder");
    opening(folder.path()).await.expect("opens").close().await;
    let key = folder.path().join("master.key");
    let right = text(&key);
    fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").expect("written");
    assert!(matches!(
        opening(folder.path()).await.err(),
        Some(Error::WrongMasterKey)
    ));
    fs::write(&key, "short").expect("written");
    assert!(matches!(
        opening(folder.path()).await.err(),
        Some(Error::BadKey(_))
    ));
    fs::remove_file(&key).expect("removed");
    assert!(matches!(
        opening(folder.path()).await.err(),
        Some(Error::MissingMasterKey(_))
    ));
    assert!(!key.exists(), "a new key would hide the loss");
    fs::write(&key, right).expect("written");
    opening(folder.path()).await.expect("opens");
}

#[tokio::test]
async fn no_secret_stands_in_the_store_in_clear() {
    let world = World::new().await;
    let mut secrets = vec![
        world.token("x").await["token"]
            .as_str()
            .expect("text")
            .to_owned(),
    ];
    let body = json!({"name": "d", "kind": "http", "endpoints": ["http://a"],
        "secret_headers": {"X-Api-Key": "secret-header-of-the-destination"},
        "credentials": {"kind": "bearer", "token": "bearer-of-the-destination"}});
    world.ok("POST", "/destinations", body).await;
    let body = json!({"credentials": {"kind": "basic", "user": "u", "password": "password-of-the-destination"}});
    world.ok("PATCH", "/destinations/2", body).await;
    world.ok("POST", "/tokens/1/rotate", json!({})).await;
    world.ok("POST", "/tokens/1/reveal", Value::Null).await;
    secrets.extend([
        "bearer-of-the-destination".into(),
        "secret-header-of-the-destination".into(),
        "password-of-the-destination".into(),
    ]);
    for name in [
        "admin-token",
        "join-key",
        "tokens/main-logs",
        "tokens/main-traces",
        "master.key",
    ] {
        secrets.push(text(&world.folder.path().join(name)));
    }
    let key = world.control.inner.store.digest_key().bytes().to_vec();
    let found = stores::bytes(world.folder.path()).await;
    for bytes in &found {
        for secret in secrets
            .iter()
            .map(|secret| secret.as_bytes())
            .chain([key.as_slice()])
        {
            // PostgreSQL shows bytes so.
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            for form in [secret, hex.as_bytes()] {
                assert!(!bytes.windows(form.len()).any(|window| window == form));
            }
        }
    }
    assert!(found.len() >= 2, "store and log, or rows");
}

#[tokio::test]
async fn an_altered_or_cut_audit_log_is_found() {
    let world = World::new().await;
    for _ in 0..5 {
        world.token("x").await;
    }
    world.ok("POST", "/tokens/1/reveal", Value::Null).await;
    let records = world.control.verify_audit().await.expect("intact");
    assert_eq!(records, 13, "7 of the first start, 5 creations, 1 reading");
    let broken_at = |found: Result<u64, Error>| match found {
        Err(Error::AuditBroken { seq }) => Some(seq),
        _ => None,
    };
    for (alter, seq) in [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 9", 9),
        ("UPDATE audit SET old_state = '' WHERE seq = 8", 8),
        ("DELETE FROM audit WHERE seq = 7", 7),
        ("UPDATE audit SET hash = previous WHERE seq = 2", 2),
        ("DELETE FROM audit", 1),
    ] {
        stores::alter(world.folder.path(), alter).await;
        assert_eq!(
            broken_at(world.control.verify_audit().await),
            Some(seq),
            "{alter}"
        );
    }
    let world = World::new().await;
    stores::alter(world.folder.path(), "DELETE FROM audit WHERE seq = 7").await;
    assert_eq!(broken_at(world.control.verify_audit().await), Some(7));
}

#[tokio::test]
async fn a_dropped_commit_changes_nothing_and_the_next_one_goes_on() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    let mut commit = store.begin("test").await.expect("begun");
    let half = NewApiToken {
        account: None,
        name: "half".into(),
        scopes: Scopes::ALL,
        expires_at: 0,
    };
    commit.insert_api_token(half, false).await.expect("written");
    drop(commit);
    let made = world.token("x").await;
    assert_eq!(made["revision"], 2);
    assert_eq!(
        store
            .api_tokens(&ApiTokenFilter::default(), 0, 10)
            .await
            .expect("read")
            .len(),
        1
    );
}

#[tokio::test]
async fn sealed_tokens_of_two_rows_cannot_be_swapped() {
    let world = World::new().await;
    let swap = "UPDATE shipping_tokens SET sealed = (SELECT sealed FROM shipping_tokens WHERE id = 2) WHERE id = 1";
    stores::alter(world.folder.path(), swap).await;
    assert_eq!(
        world.call("POST", "/tokens/1/reveal", Value::Null).await.0,
        500
    );
    assert_eq!(
        world.call("POST", "/tokens/3/reveal", Value::Null).await.0,
        200
    );
}

#[test]
fn the_configuration_refuses_what_it_does_not_know() {
    let config: Config = toml::from_str(
        "heartbeat = \"250ms\"\nfeed_certificate = \"c\"\nfeed_key = \"k\"\nfeed_client_ca = \"\"",
    )
    .expect("read");
    let tls = config.feed_tls().expect("both are named");
    assert_eq!(tls.client_ca_file, None);
    assert_eq!(config.heartbeat.as_millis(), 250);
    assert!(toml::from_str::<Config>("hartbeat = \"1s\"").is_err());
    assert!(toml::from_str::<Config>("heartbeat = \"0s\"").is_err());
}

/// As the first schema hashed a record.
fn first_hash(
    previous: &[u8],
    numbers: [u64; 3],
    texts: [&str; 3],
    states: [Option<&str>; 2],
) -> Vec<u8> {
    let mut bytes = previous.to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    for text in texts.map(Some).into_iter().chain(states) {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        bytes.extend(length.to_le_bytes());
        bytes.extend(text.unwrap_or_default().as_bytes());
    }
    blake3::hash(&bytes).as_bytes().to_vec()
}

#[tokio::test]
async fn a_store_of_the_first_schema_goes_on_with_its_accounts_unbounded_and_its_log_intact() {
    let folder = TempDir::new().expect("a folder");
    let control = folder.path().join("control");
    fs::create_dir(&control).expect("made");
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    fs::write(folder.path().join("master.key"), key).expect("written");
    let url = format!("sqlite://{}", control.join("store.sqlite").display());
    let mut first = sqlx::migrate!("src/control/store/migrations/sqlite");
    first.migrations.to_mut().retain(|step| step.version == 1);
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().expect("a URL");
    let mut connection = sqlx::SqliteConnection::connect_with(&options.create_if_missing(true))
        .await
        .expect("opens");
    first.run(&mut connection).await.expect("migrates");
    let limits = r#"{"bulk_body_bytes_max":7,"bulk_line_bytes_max":500000,"otlp_body_bytes_max":67108864,"remote_write_body_bytes_max":33554432,"in_flight_bytes_max":0,"concurrency_max":3,"remote_write_throttle_as_unavailable":false}"#;
    sqlx::query(
        "INSERT INTO accounts (id, name, suspended, limits, created_at, revision) VALUES (1, 'old', TRUE, $1, 5, 1)",
    )
    .bind(limits)
    .execute(&mut connection)
    .await
    .expect("written");
    sqlx::query("UPDATE counters SET value = 1 WHERE name IN ('account', 'revision', 'audit')")
        .execute(&mut connection)
        .await
        .expect("written");
    let texts = ["api_token/1", "account.create", "account/1"];
    let hash = first_hash(&[0; 32], [1, 1, 5], texts, [None, Some("{}")]);
    sqlx::query(
        "INSERT INTO audit (seq, revision, at, actor, action, subject, old_state, new_state, previous, hash) \
         VALUES (1, 1, 5, 'api_token/1', 'account.create', 'account/1', NULL, '{}', $1, $2)",
    )
    .bind(vec![0_u8; 32])
    .bind(hash)
    .execute(&mut connection)
    .await
    .expect("written");
    connection.close().await.expect("closed");

    let control = Control::open(&Config::default(), folder.path()).await;
    let control = control.expect("opens");
    assert_eq!(control.verify_audit().await.expect("intact"), 1);
    let row = control.inner.store.account(1).await.expect("there");
    assert_eq!(row.plan.name(), "unlimited");
    assert_eq!(row.suspended.as_deref(), Some(""));
    assert_eq!(
        (
            row.account.limits.bulk_body_bytes_max,
            row.account.limits.concurrency_max
        ),
        (7, 3)
    );
    let more = crate::control::store::AccountEdit::from(&row);
    let mut commit = control.inner.store.begin("test").await.expect("begun");
    commit.update_account(&row, more).await.expect("written");
    commit.finish().await.expect("committed");
    assert_eq!(control.verify_audit().await.expect("intact"), 2);
}
