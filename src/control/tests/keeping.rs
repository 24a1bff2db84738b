//! What is on disk: locked, sealed, whole.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    stores,
    world::{World, text},
};
use crate::control::{Config, Control, Error};

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
        "credentials": {"kind": "bearer", "token": "bearer-of-the-destination"}});
    world.ok("POST", "/destinations", body).await;
    let body = json!({"credentials": {"kind": "basic", "user": "u", "password": "password-of-the-destination"}});
    world.ok("PATCH", "/destinations/2", body).await;
    world.ok("POST", "/tokens/1/rotate", json!({})).await;
    world.ok("POST", "/tokens/1/reveal", Value::Null).await;
    secrets.extend([
        "bearer-of-the-destination".into(),
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
    assert_eq!(records, 12, "6 of the first start, 5 creations, 1 reading");
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
    stores::alter(world.folder.path(), "DELETE FROM audit WHERE seq = 6").await;
    assert_eq!(broken_at(world.control.verify_audit().await), Some(6));
}

#[tokio::test]
async fn a_dropped_commit_changes_nothing_and_the_next_one_goes_on() {
    let world = World::new().await;
    let store = &world.control.inner.store;
    let mut commit = store.begin("test").await.expect("begun");
    commit.insert_api_token("half").await.expect("written");
    drop(commit);
    let made = world.token("x").await;
    assert_eq!(made["revision"], 2);
    assert_eq!(store.api_tokens().await.expect("read").len(), 1);
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
