//! A store for each test: a file of SQLite's, or a schema of its own on the server that `WHARFINGER_TEST_POSTGRES` names.

use std::{fs, path::Path};

use crate::control::{
    Config,
    store::{Place, Store, contents, run_sql},
};

const VARIABLE: &str = "WHARFINGER_TEST_POSTGRES";

/// The configuration of a control plane in that folder: the same folder has the same store every time.
pub(in crate::control) async fn config(folder: &Path) -> Config {
    Config {
        store: url(folder).await,
        ..Config::default()
    }
}

/// The URL of that folder's store; its schema is there.
pub(in crate::control) async fn url(folder: &Path) -> String {
    let Some(server) = server() else {
        return String::new();
    };
    let hash = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex();
    let schema = format!("t_{}", &hash[..16]);
    let place = Place::new(&server, None, folder).expect("a server's URL");
    run_sql(&place, format!("CREATE SCHEMA IF NOT EXISTS {schema}"))
        .await
        .expect("a schema");
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options[search_path]={schema}")
}

pub(in crate::control) async fn place(folder: &Path) -> Place {
    Place::new(&url(folder).await, None, folder).expect("a place")
}

/// The store alone, without a control plane around it.
pub(in crate::control) async fn open(folder: &Path, keep_changes: u64) -> Store {
    let store = Store::open(folder, place(folder).await, keep_changes).await;
    store.expect("opens")
}

/// Behind the store's back.
pub(super) async fn alter(folder: &Path, sql: &str) {
    let altered = run_sql(&place(folder).await, sql.to_owned()).await;
    altered.expect("altered");
}

/// All that the store has on its disk, as far as it can be seen; what is binary, in hexadecimal, too.
pub(super) async fn bytes(folder: &Path) -> Vec<Vec<u8>> {
    let place = place(folder).await;
    if let Some(rows) = contents(&place).await.expect("read") {
        return rows.into_iter().map(String::into_bytes).collect();
    }
    fs::read_dir(folder.join("control"))
        .expect("read")
        .map(|file| fs::read(file.expect("a file").path()).expect("read"))
        .collect()
}

/// The server's URL, where the tests run on one.
pub(super) fn server() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Whether the tests run on a server.
pub(super) fn is_shared() -> bool {
    server().is_some()
}
