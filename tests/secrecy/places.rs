//! Places where a secret could have been left: pages, answers and files.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
};

use http::Method;
use serde_json::Value;

use crate::{search::Search, stage::Stage};

/// What was looked through, and what was found.
#[derive(Default)]
pub(crate) struct Looked {
    pub(crate) places: usize,
    pub(crate) bytes: usize,
    /// Secrets by number, and where.
    pub(crate) found: Vec<(usize, String)>,
}

// === impl Looked ===

impl Looked {
    pub(crate) fn at(&mut self, search: &Search, place: &str, bytes: &[u8]) {
        self.places += 1;
        self.bytes += bytes.len();
        let found = search.found_in(bytes).into_iter();
        self.found
            .extend(found.map(|number| (number, place.to_owned())));
    }
}

/// What operators' pages and the admin API say, but for the answers whose purpose is to show a token.
pub(crate) async fn pages(stage: &Stage, search: &Search, account: u64) -> Looked {
    let mut looked = Looked::default();
    let books = format!("/books/{account}");
    for operate in [stage.doors.operate, stage.control.operate] {
        for path in [
            "/metrics", "/books", &books, "/live", "/ready", "/version", "/no",
        ] {
            let page = stage.page(operate, path).await;
            let place = format!("{path} of {operate}");
            looked.at(search, &place, &page.body);
            looked.at(search, &place, format!("{:?}", page.headers).as_bytes());
        }
    }
    let token = format!("Bearer {}", stage.secret_file("admin-token"));
    let csv = [("authorization", token.as_str()), ("accept", "text/csv")];
    let json = &csv[..1];
    let usage = format!("/accounts/{account}/usage?group=token&step=minute");
    let mut paths = vec![usage.clone()];
    for list in [
        "/audit?",
        "/tokens?",
        "/api-tokens?",
        "/shared-tokens?",
        "/shared-filters?",
        "/users?",
        "/accounts?",
        "/destinations?",
        "/gateways?",
    ] {
        paths.push(format!("{list}limit=1000"));
    }
    for path in [
        "/session",
        "/openapi.json",
        "/compat/openapi.json",
        "/audit/verify",
    ] {
        paths.push(path.to_owned());
    }
    for headers in [&csv[..], json] {
        for path in &paths {
            let mut path = Some(path.clone());
            while let Some(this) = path.take() {
                let uri = format!("/api/v1{this}");
                let answer = stage.ask(Method::GET, &uri, headers, &Value::Null).await;
                assert_eq!(answer.status, 200, "{this}: {}", answer.text());
                looked.at(search, &this, &answer.body);
                looked.at(search, &this, format!("{:?}", answer.headers).as_bytes());
                let page: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let Some(last) = page.get("next").filter(|next| !next.is_null()) else {
                    continue;
                };
                let after = last.to_string();
                let list = this.split("&after").next().expect("a path");
                path = Some(format!("{list}&after={}", after.trim_matches('"')));
            }
        }
    }
    looked
}

/// Every file below a folder: its path, and what is in it.
pub(crate) fn files(folder: &Path, search: &Search) -> Looked {
    let mut looked = Looked::default();
    each(folder, &mut |path| {
        let bytes = fs::read(path).expect("readable");
        let place = path.strip_prefix(folder).expect("below it");
        looked.at(search, &place.display().to_string(), &bytes);
        looked.at(search, "the path of a file", path.as_os_str().as_bytes());
    });
    looked
}

/// Files that others than their owner can read or write.
pub(crate) fn open_to_others(folder: &Path) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    each(folder, &mut |path| {
        let mode = fs::metadata(path).expect("readable").permissions().mode();
        if mode & 0o077 != 0 {
            open.insert(path.display().to_string());
        }
    });
    open
}

fn each(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let kind = fs::symlink_metadata(&path).expect("readable").file_type();
        if kind.is_dir() {
            each(&path, visit);
        } else if kind.is_file() {
            visit(&path);
        }
    }
}
