//! What counting costs a request: the three calls that every accepted request makes, on a page that has its size.
//!
//! `cargo bench --bench usage`. `refused` is the path of a known token that is refused.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wharfinger::{
    directory::{Account, usage::Meter},
    model::{self, AccountId, AccountState, Books, InFlight, Limits, Tally, TokenId},
};

// As the executable has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AGENT: &[u8] = b"OpenTelemetry Collector/0.131.0 (linux/amd64)";
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn usage(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("usage");
    group.throughput(Throughput::Elements(1));
    for (name, tokens) in [
        ("request/1-token", 1),
        ("request/1k-tokens", 1_000),
        ("request/100k-tokens", 100_000),
    ] {
        let (meter, account) = (Meter::default(), account());
        let mut next = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // A stride that visits every token, and no neighbour of the last one.
                next = (next + 7_919) % tokens;
                let token = TokenId(next + 1);
                meter.presented(black_box(token), black_box(AGENT), HERE);
                let account = meter.accepted(token, || Ok::<_, ()>(Arc::clone(&account)));
                black_box(account).expect("good");
                meter.settled(token, Tally::new(10, 1_000), Tally::new(10, 1_000));
            });
        });
    }
    let meter = Meter::default();
    group.bench_function("refused/1-token", |bencher| {
        bencher.iter(|| {
            meter.presented(black_box(TokenId(1)), black_box(AGENT), HERE);
            meter.refused(TokenId(1), 14);
        });
    });
    group.finish();
}

fn account() -> Arc<Account> {
    Arc::new(Account {
        record: model::Account {
            id: AccountId(1),
            name: "main".to_owned(),
            state: AccountState::Active,
            limits: Limits::default(),
            draws_on: None,
            destinations: [None; 3],
        },
        books: Arc::new(Books::default()),
        in_flight: Arc::new(InFlight::default()),
        buckets: Arc::default(),
        main_buckets: None,
    })
}

criterion_group!(benches, usage);
criterion_main!(benches);
