//! A control plane and two gateways, each a process of its own: what the admin API says is what the gateways do.
//!
//! Quick dose with `cargo test`; the deep one: `WHARFINGER_DOSE=2000 cargo test --release --test enforcement -- --nocapture`.

mod world;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use world::process::{Process, free_port, local, write_config};

struct Cluster {
    control: Option<Process>,
    gateways: Vec<Gateway>,
    admin: u16,
    admin_token: String,
    folder: tempfile::TempDir,
}

struct Gateway {
    process: Option<Process>,
    config: PathBuf,
    data: PathBuf,
    bulk: u16,
    operate: u16,
}

impl Gateway {
    fn start(&mut self) {
        self.process = Some(Process::start(
            "gateway",
            &self.config,
            &self.data,
            self.operate,
        ));
    }

    async fn ready(&self) {
        self.process.as_ref().expect("runs").ready().await;
    }

    /// A connection that outlives refusals, as HTTP/2's does.
    async fn connect(&self) -> Knocker {
        let stream = tokio::net::TcpStream::connect(local(self.bulk))
            .await
            .expect("connects");
        stream.set_nodelay(true).expect("sets");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("shakes hands");
        tokio::spawn(connection);
        Knocker {
            sender,
            port: self.bulk,
        }
    }
}

struct Knocker {
    sender: SendRequest<Full<Bytes>>,
    port: u16,
}

impl Knocker {
    /// The status that a token gets for an empty body.
    async fn knock(&mut self, token: &str) -> u16 {
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("http://127.0.0.1:{}/", self.port))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .expect("a request");
        let answer = self.sender.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        answer.into_body().collect().await.expect("a body");
        status
    }

    /// Knocks until the answer is `status`; when that was.
    async fn until(&mut self, token: &str, status: u16) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if self.knock(token).await == status {
                return Instant::now();
            }
            assert!(Instant::now() < deadline, "not {status} within 10 s");
        }
    }
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (admin, feed, operate) = (free_port(), free_port(), free_port());
        let data = folder.path().join("control");
        let open = [("admin", admin), ("feed", feed), ("operate", operate)];
        let config = write_config(&folder.path().join("control-config"), &open, "");
        let control = Process::start("control", &config, &data, operate);
        control.ready().await;
        let mut gateways = Vec::new();
        for n in 0..2 {
            let (bulk, operate) = (free_port(), free_port());
            let rest = format!(
                "[gateway]\nname = \"gateway-{n}\"\nworkers = 1\n[feed]\nendpoints = [\"http://127.0.0.1:{feed}\"]\njoin_key_file = \"{}\"\n",
                data.join("join-key").display()
            );
            let open = [("bulk", bulk), ("operate", operate)];
            let config = write_config(
                &folder.path().join(format!("gateway-{n}-config")),
                &open,
                &rest,
            );
            let mut gateway = Gateway {
                process: None,
                config,
                data: folder.path().join(format!("gateway-{n}")),
                bulk,
                operate,
            };
            gateway.start();
            gateway.ready().await;
            gateways.push(gateway);
        }
        let admin_token = std::fs::read_to_string(data.join("admin-token")).expect("there");
        Self {
            control: Some(control),
            gateways,
            admin,
            admin_token: admin_token.trim().to_owned(),
            folder,
        }
    }

    async fn admin(&self, path: &str, body: Value) -> Value {
        let (status, answer) = world::admin(
            local(self.admin),
            &self.admin_token,
            Method::POST,
            path,
            body,
        )
        .await;
        assert!(
            (200..300).contains(&status) && status != 202,
            "{path}: {status} {answer}"
        );
        answer
    }

    async fn create(&self) -> (u64, String) {
        let body = json!({"account": "main", "signal": "logs", "name": "dose"});
        let token = self.admin("/tokens", body).await;
        (
            token["id"].as_u64().expect("a number"),
            token["token"].as_str().expect("a token").to_owned(),
        )
    }
}

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
    let cluster = Cluster::start().await;
    let mut first = cluster.gateways[0].connect().await;
    let mut second = cluster.gateways[1].connect().await;
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
            let (a, b) = tokio::join!(first.knock(&token), second.knock(&token));
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
    let mut cluster = Cluster::start().await;
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
            let mut knocker = gateway.connect().await;
            assert_eq!(knocker.knock(&live).await, 200);
            assert_eq!(knocker.knock(&dead).await, 401, "revoked means revoked");
            // Past `fresh_within` an unknown token may be one that was made meanwhile.
            knocker.until(unknown, 503).await;
        }
    }
    assert!(cluster.folder.path().exists());
}
