//! A store is moved by `wharfinger store copy` while its gateways serve: nobody is refused before, meanwhile and afterwards, and
//! what is revoked in the new place is dead on all of them.
//!
//! From SQLite to a file elsewhere with `cargo test`; to PostgreSQL with `tests/postgres/run a_store_moves`. `WHARFINGER_TOKENS` is
//! how many tokens move.

mod world;

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinHandle;
use world::{
    Cluster,
    cluster::{Line, imported},
    process::executable,
};

const GATEWAYS: usize = 3;
/// For each gateway, half of them over HTTP/2.
const SENDERS: usize = 4;
const REVOKED: usize = 20;
const BODY: &[u8] = b"{\"message\":\"on the move\"}\n";
const PHASES: [&str; 3] = ["before", "meanwhile", "afterwards"];

/// What all senders have seen, by phase.
#[derive(Default)]
struct Seen {
    phase: AtomicUsize,
    is_over: AtomicUsize,
    taken: [AtomicU64; 3],
    refused: Mutex<Vec<(&'static str, u16)>>,
}

// === impl Seen ===

impl Seen {
    fn begins(&self, phase: usize) {
        self.phase.store(phase, Ordering::SeqCst);
    }

    fn taken(&self, phase: usize) -> u64 {
        self.taken[phase].load(Ordering::SeqCst)
    }

    /// Until so much more has been taken in this phase.
    async fn until_more(&self, phase: usize, more: u64) {
        let enough = self.taken(phase) + more;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.taken(phase) < enough {
            assert!(Instant::now() < deadline, "senders are stuck");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn tokens() -> usize {
    let text = std::env::var("WHARFINGER_TOKENS").ok();
    text.map_or(5_000, |text| text.parse().expect("a number"))
}

/// Where the store goes: a schema of its own on the server that the tests run on, else another file.
async fn elsewhere(cluster: &Cluster) -> String {
    let Ok(server) = std::env::var("WHARFINGER_TEST_POSTGRES") else {
        let file = cluster.folder.path().join("moved.sqlite");
        return format!("sqlite://{}", file.display());
    };
    let schema = format!("t_moved_{}", std::process::id());
    let mut connection = PgConnection::connect(&server).await.expect("a server");
    let create = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    let created = sqlx::raw_sql(create).execute(&mut connection).await;
    created.expect("a schema");
    connection.close().await.expect("closes");
    format!("{server}?options[search_path]={schema}")
}

/// The command, as an operator types it.
fn copy(cluster: &Cluster, to: &str) {
    let output = Command::new(executable())
        .args(["store", "copy", "", to, "--data"])
        .arg(cluster.folder.path().join("control"))
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Sends with one token after the other over a connection that lives on.
async fn send(mut line: Line, from: usize, seen: Arc<Seen>) {
    let mut number = from;
    while seen.is_over.load(Ordering::SeqCst) == 0 {
        number = (number + 7919) % (tokens() - REVOKED);
        let phase = seen.phase.load(Ordering::SeqCst);
        match line.post(&imported(number), BODY).await {
            200 => drop(seen.taken[phase].fetch_add(1, Ordering::SeqCst)),
            status => seen
                .refused
                .lock()
                .expect("not poisoned")
                .push((PHASES[phase], status)),
        }
    }
}

async fn senders(cluster: &Cluster, seen: &Arc<Seen>) -> Vec<JoinHandle<()>> {
    let mut senders = Vec::new();
    for gateway in &cluster.gateways {
        for n in 0..SENDERS {
            let line = match n % 2 {
                0 => Line::http1(gateway.bulk).await,
                _ => Line::http2(gateway.bulk).await,
            };
            senders.push(tokio::spawn(send(line, n * 1_000, seen.clone())));
        }
    }
    senders
}

/// Revokes tokens one by one in the new place; how often one was taken after its receipt.
async fn revoke_some(cluster: &Cluster) -> usize {
    let mut lines = Vec::new();
    for gateway in &cluster.gateways {
        lines.push(Line::http2(gateway.bulk).await);
    }
    let mut late = 0;
    for number in tokens() - REVOKED..tokens() {
        let text = imported(number);
        for line in &mut lines {
            assert_eq!(line.post(&text, BODY).await, 200, "it moved along");
        }
        // The first start's come before them.
        let id = number + 1 + world::cluster::FIRST_TOKENS;
        let path = format!("/tokens/{id}/revoke?wait=enforced");
        let receipt = cluster.admin(&path, Value::Null).await;
        assert_eq!(receipt["enforcement"]["enforced"], GATEWAYS, "{receipt}");
        for line in &mut lines {
            late += usize::from(line.post(&text, BODY).await != 401);
        }
    }
    late
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_under_its_gateways_and_nobody_is_refused() {
    let mut cluster = Cluster::start(GATEWAYS).await;
    cluster.import(0..tokens()).await;
    let (_, last) = cluster.create().await;
    for gateway in &cluster.gateways {
        let mut line = Line::http2(gateway.bulk).await;
        line.until(&last, 200).await;
    }
    let to = elsewhere(&cluster).await;
    let seen = Arc::new(Seen::default());
    let senders = senders(&cluster, &seen).await;
    seen.until_more(0, 500).await;

    seen.begins(1);
    let begun = Instant::now();
    cluster.stop_control();
    copy(&cluster, &to);
    let copied = begun.elapsed();
    // Longer than a table stays fresh without a heartbeat.
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(copied)).await;
    seen.until_more(1, 500).await;
    cluster.set_store(&to);
    cluster.start_control().await;
    let away = begun.elapsed();

    seen.begins(2);
    let (_, made) = cluster.create().await;
    for gateway in &cluster.gateways {
        let mut line = Line::http2(gateway.bulk).await;
        line.until(&made, 200).await;
    }
    let late = revoke_some(&cluster).await;
    seen.until_more(2, 500).await;
    seen.is_over.store(1, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("no panic");
    }

    let refused = seen.refused.lock().expect("not poisoned").clone();
    println!(
        "{} tokens moved in {copied:.1?}, the control plane away for {away:.1?}; requests taken: {} before, {} meanwhile, {} \
         afterwards; refused: {}; of {REVOKED} revoked afterwards, taken after the receipt: {late}",
        tokens() + 5,
        seen.taken(0),
        seen.taken(1),
        seen.taken(2),
        refused.len(),
    );
    assert_eq!(refused, [], "nobody is refused");
    assert_eq!(late, 0);
    // What nobody has made is unknown, and not uncertain.
    let unknown = imported(tokens());
    for gateway in &cluster.gateways {
        let mut line = Line::http2(gateway.bulk).await;
        assert_eq!(line.post(&unknown, b"").await, 401, "the table is fresh");
    }
}
