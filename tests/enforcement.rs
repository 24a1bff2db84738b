//! A control plane and two gateways, each a process of its own: what the admin API says is what the gateways do.
//!
//! Quick dose with `cargo test`; the deep one: `WHARFINGER_DOSE=2000 cargo test --release --test enforcement -- --nocapture`.

mod world;

use std::time::{Duration, Instant};

use serde_json::Value;
use world::{Cluster, cluster::Line};

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: n {}, p50 {:?}, p99 {:?}, worst {:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn dose() -> usize {
    std::env::var("WHARFINGER_DOSE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_enforced_everywhere_within_moments_and_a_confirmed_one_at_once() {
    let cluster = Cluster::start(2).await;
    let mut first = Line::http2(cluster.gateways[0].bulk).await;
    let mut second = Line::http2(cluster.gateways[1].bulk).await;
    let (mut created, mut revoked) = (Vec::new(), Vec::new());
    let mut accepted_after_answer = 0;
    for n in 0..dose() {
        let (id, token) = cluster.create().await;
        let answered = Instant::now();
        let (a, b) = tokio::join!(first.until(&token, 200), second.until(&token, 200));
        created.push(a.max(b) - answered);
        if n % 2 == 0 {
            cluster
                .admin(&format!("/tokens/{id}/revoke"), Value::Null)
                .await;
            let answered = Instant::now();
            let (a, b) = tokio::join!(first.until(&token, 401), second.until(&token, 401));
            revoked.push(a.max(b) - answered);
        } else {
            let answer = cluster
                .admin(&format!("/tokens/{id}/revoke?wait=enforced"), Value::Null)
                .await;
            assert_eq!(answer["enforcement"]["gateways"], 2, "{answer}");
            assert_eq!(answer["enforcement"]["enforced"], 2, "{answer}");
            let (a, b) = tokio::join!(first.post(&token, b""), second.post(&token, b""));
            accepted_after_answer += usize::from(a != 401) + usize::from(b != 401);
        }
    }
    print("creation, answer to enforced on both gateways", created);
    print("revocation, answer to enforced on both gateways", revoked);
    println!("accepted after ?wait=enforced had answered: {accepted_after_answer}");
    assert_eq!(accepted_after_answer, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_go_on_without_their_control_plane_also_after_their_own_restart() {
    let mut cluster = Cluster::start(2).await;
    let (_, live) = cluster.create().await;
    let (id, dead) = cluster.create().await;
    cluster
        .admin(&format!("/tokens/{id}/revoke?wait=enforced"), Value::Null)
        .await;
    cluster.control.take().expect("runs").kill();
    let unknown = "0123456789abcdef0123456789abcdef";
    for is_restarted in [false, true] {
        for gateway in &mut cluster.gateways {
            if is_restarted {
                // One dies, the other ends in order.
                let process = gateway.process.take().expect("runs");
                if gateway.data.ends_with("gateway-0") {
                    process.kill();
                } else {
                    assert_eq!(process.terminate(), Some(0));
                }
                gateway.start();
                gateway.ready().await;
            }
            let mut knocker = Line::http2(gateway.bulk).await;
            assert_eq!(knocker.post(&live, b"").await, 200);
            assert_eq!(knocker.post(&dead, b"").await, 401, "revoked means revoked");
            // Past `fresh_within` an unknown token may be one that was made meanwhile.
            knocker.until(unknown, 503).await;
        }
    }
    assert!(cluster.folder.path().exists());
}
