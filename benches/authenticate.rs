//! The directory: look-up with keyed hash, bytes per token, load time, one change, and the kept copy.
//!
//! `cargo bench --bench authenticate` runs 10 k and 1 M tokens; `WHARFINGER_BENCH_TOKENS=10000,1000000,10000000` says otherwise.
//! Times "on the CPU" leave out what other processes took, for machines that are not idle.
//! `cargo bench --bench authenticate -- --test` runs 10 k alone, once, for CI.

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::Criterion;
use wharfinger::{
    directory::{Collected, Config, Directory, Keep},
    model::{
        Account, AccountId, AccountState, Change, DigestKey, Limits, Revision, Signal, Sources,
        Token, TokenId, TokenState,
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ACCOUNTS: u64 = 1_000;
const PRESENTED: usize = 1 << 20;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let sizes = match std::env::var("WHARFINGER_BENCH_TOKENS") {
        _ if is_test => "10000".to_owned(),
        Ok(sizes) => sizes,
        Err(_) => "10000,1000000".to_owned(),
    };
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for size in sizes.split(',') {
        measure(
            &mut criterion,
            size.trim().parse().expect("a number of tokens"),
        );
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, tokens: u64) {
    let key = DigestKey::new(1, [7; 32]);
    let rows: Vec<Token> = (0..tokens).map(|n| row(&key, n)).collect();
    let directory = Directory::new(Config::default());
    let resident = status_kib("VmRSS");
    // "5" resets the peak.
    let _ = fs::write("/proc/self/clear_refs", "5");

    let (start, busy) = (Instant::now(), on_cpu());
    let mut collected = Collected::new("bench", key.clone(), tokens);
    for id in 1..=ACCOUNTS {
        collected.push(account(id));
    }
    for row in &rows {
        collected.push(Change::Token(row.clone()));
    }
    let collecting = start.elapsed();
    directory.install(collected, Vec::new(), Revision(1));
    let (loading, busy) = (start.elapsed(), on_cpu() - busy);
    let per_token = |kib: u64| (kib.saturating_sub(resident) * 1024) as f64 / tokens as f64;
    println!(
        "{tokens} tokens: loaded in {loading:.1?}, {busy:.1?} on the CPU (collected in {collecting:.1?}); bytes per token: {:.1} by account, {:.1} resident, {:.1} at the peak",
        directory.table_bytes() as f64 / tokens as f64,
        per_token(status_kib("VmRSS")),
        per_token(status_kib("VmHWM")),
    );

    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        random = mix(random.wrapping_add(1));
        random
    };
    let mut changes: Vec<Duration> = (0..2_000)
        .map(|revision| {
            let mut change = rows[(next() % tokens) as usize].clone();
            change.state = TokenState::Revoked;
            let start = Instant::now();
            directory.apply(Revision(2 + revision), vec![Change::Token(change)]);
            start.elapsed()
        })
        .collect();
    changes.sort();
    println!(
        "{tokens} tokens: one change takes {:.1?} (median), {:.1?} (p99), {:.1?} (worst)",
        changes[1_000], changes[1_980], changes[1_999]
    );
    drop(rows);
    keep(&directory, tokens);

    let presented: Vec<[u8; 44]> = (0..PRESENTED).map(|_| text(next() % tokens)).collect();
    let mut at = 0;
    let mut present = || {
        at = (at + 1) % PRESENTED;
        &presented[at]
    };
    for _ in 0..2 {
        let busy = on_cpu();
        for _ in 0..PRESENTED {
            black_box(directory.look_up(black_box(present())));
        }
        let hit = on_cpu() - busy;
        let busy = on_cpu();
        for _ in 0..PRESENTED {
            black_box(directory.digest(black_box(present())));
        }
        let digest = on_cpu() - busy;
        println!(
            "{tokens} tokens: a look-up takes {:.0} ns on the CPU, {:.0} of them the hash",
            hit.as_nanos() as f64 / PRESENTED as f64,
            digest.as_nanos() as f64 / PRESENTED as f64,
        );
    }
    let mut group = criterion.benchmark_group(format!("authenticate/{tokens}"));
    group.bench_function("hit", |bencher| {
        bencher.iter(|| {
            let found = directory.look_up(black_box(present()));
            assert!(found.is_some_and(|(_, entry)| entry.is_some()));
        });
    });
    let mut forged = tokens;
    group.bench_function("miss", |bencher| {
        bencher.iter(|| {
            forged += 1;
            let found = directory.look_up(black_box(&text(forged)));
            assert!(found.is_some_and(|(_, entry)| entry.is_none()));
        });
    });
    group.bench_function("digest", |bencher| {
        bencher.iter(|| directory.digest(black_box(present())));
    });
    group.finish();
}

fn keep(directory: &Directory, tokens: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept = Keep::open(folder.path()).expect("opens");
    let start = Instant::now();
    kept.save(directory).expect("saves");
    let saving = start.elapsed();
    let (start, busy) = (Instant::now(), on_cpu());
    let again = Directory::new(Config::default());
    kept.load(&again).expect("loads");
    let (loading, busy) = (start.elapsed(), on_cpu() - busy);
    assert_eq!(again.tokens(), directory.tokens());
    println!(
        "{tokens} tokens: kept copy saved in {saving:.1?}, loaded in {loading:.1?}, {busy:.1?} on the CPU"
    );
}

/// What this thread has run so far.
fn on_cpu() -> Duration {
    // The scheduler brings the figure up to date when a thread gives way.
    std::thread::yield_now();
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = schedule
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn account(id: u64) -> Change {
    Change::Account(Account {
        id: AccountId(id),
        name: format!("account {id}"),
        state: AccountState::Active,
        limits: Limits::default(),
        draws_on: None,
        destinations: [None; 3],
    })
}

fn row(key: &DigestKey, n: u64) -> Token {
    Token {
        id: TokenId(n + 1),
        digest: key.digest(&text(n)),
        account: AccountId(n % ACCOUNTS + 1),
        signal: Signal::Logs,
        state: TokenState::Live,
        expires_at: 0,
        sources: Sources::ANYWHERE,
        rates: wharfinger::model::Rates::default(),
    }
}

/// 44 bytes in a token's shape.
fn text(n: u64) -> [u8; 44] {
    let mut text = *b"whf_s_00000000000000000000000000000000000000";
    let mut rest = mix(n);
    for byte in &mut text[6..22] {
        *byte = b'a' + (rest & 15) as u8;
        rest >>= 4;
    }
    text
}

/// SplitMix64's finish: one to one.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
