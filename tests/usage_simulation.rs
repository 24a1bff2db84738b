//! Gateways and a control plane with real stores and real feeds, over pipes and TCP that are cut at any moment; both ends
//! are stopped and killed meanwhile. What the API shows in the end is what was counted, to the item.
//!
//! `WHARFINGER_DOSE=1000 cargo test --release --test usage_simulation -- --nocapture` is the deep dose: reconnects.
//! `WHARFINGER_SEED` picks another run.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, to_bytes};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, copy_bidirectional, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use wharfinger::{
    control::{self, Control},
    directory::{self, Directory, FollowConfig, Keep, Source, Usage, follow, usage::Meter},
    model::{Secret, Tally, TokenId},
};

const TOKENS: u64 = 40;
const EVERY: Duration = Duration::from_millis(10);

/// requests, items, bytes, delivered items, delivered bytes, refused requests
type Counts = [u64; 6];

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Where connections to the control plane of the moment go.
#[derive(Clone)]
struct Ways {
    pipes: Arc<Mutex<Option<mpsc::Sender<std::io::Result<DuplexStream>>>>>,
    port: Arc<Mutex<Option<SocketAddr>>>,
    /// Cancelled, and replaced, to cut every connection.
    cut: Arc<Mutex<CancellationToken>>,
    opened: Arc<AtomicUsize>,
}

/// A control plane that is stopped and started again on the same data.
struct Plane {
    data: PathBuf,
    control: Control,
    stop: CancellationToken,
    admin_token: String,
}

/// A gateway without doors: its workers' counters and its follower.
struct Gateway {
    name: String,
    folder: PathBuf,
    usage: Arc<Usage>,
    meters: [Meter; 2],
    stop: CancellationToken,
    following: JoinHandle<std::io::Result<()>>,
}

// === impl Ways ===

impl Ways {
    fn new() -> Self {
        Self {
            pipes: Arc::default(),
            port: Arc::default(),
            cut: Arc::new(Mutex::new(CancellationToken::new())),
            opened: Arc::default(),
        }
    }

    fn cut(&self) {
        let mut cut = self.cut.lock().expect("not poisoned");
        std::mem::take(&mut *cut).cancel();
    }

    async fn relay(
        &self,
        mut here: impl AsyncRead + AsyncWrite + Unpin,
        mut there: impl AsyncRead + AsyncWrite + Unpin,
    ) {
        let cut = self.cut.lock().expect("not poisoned").clone();
        self.opened.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            _ = copy_bidirectional(&mut here, &mut there) => {}
            () = cut.cancelled() => {}
        }
    }

    /// A source of pipes for one gateway.
    fn over_pipes(&self) -> Source {
        let (sender, mut asked) = mpsc::channel::<DuplexStream>(4);
        let ways = self.clone();
        tokio::spawn(async move {
            while let Some(here) = asked.recv().await {
                let ways = ways.clone();
                let pipes = ways.pipes.lock().expect("not poisoned").clone();
                tokio::spawn(async move {
                    let (ours, there) = duplex(16 << 10);
                    if let Some(pipes) = pipes
                        && pipes.send(Ok(there)).await.is_ok()
                    {
                        ways.relay(here, ours).await;
                    }
                });
            }
        });
        Source::Pipe(sender)
    }

    /// A source over TCP for one gateway.
    async fn over_tcp(&self) -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ways = self.clone();
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let ways = ways.clone();
                let port = *ways.port.lock().expect("not poisoned");
                tokio::spawn(async move {
                    if let Some(port) = port
                        && let Ok(there) = TcpStream::connect(port).await
                    {
                        ways.relay(here, there).await;
                    }
                });
            }
        });
        Source::Remote {
            endpoints: vec![format!("http://{address}")],
            tls: None,
        }
    }
}

// === impl Plane ===

impl Plane {
    async fn start(data: PathBuf, ways: &Ways) -> Self {
        let config = control::Config {
            heartbeat: Duration::from_millis(100),
            ..control::Config::default()
        };
        let control = Control::open(&config, &data).await.expect("opens");
        let first = control.first_start().await.expect("starts");
        let admin_token = std::fs::read_to_string(&first.admin_token).expect("readable");
        let stop = CancellationToken::new();
        let (pipes, incoming) = mpsc::channel(4);
        let feed = control.feed(None).expect("ready");
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { feed.serve(ReceiverStream::new(incoming), stopped).await });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        *ways.port.lock().expect("not poisoned") = listener.local_addr().ok();
        *ways.pipes.lock().expect("not poisoned") = Some(pipes);
        let feed = control.feed(None).expect("ready");
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { feed.serve_port(listener, stopped).await });
        Self {
            data,
            control,
            stop,
            admin_token: admin_token.trim().to_owned(),
        }
    }

    async fn restart(self, ways: &Ways) -> Self {
        *ways.pipes.lock().expect("not poisoned") = None;
        *ways.port.lock().expect("not poisoned") = None;
        let Self {
            data,
            control,
            stop,
            ..
        } = self;
        control.close().await;
        stop.cancel();
        Self::start(data, ways).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", self.admin_token))
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = self
            .control
            .admin()
            .oneshot(request)
            .await
            .expect("answers");
        assert!(
            response.status().is_success(),
            "{method} {path}: {response:?}"
        );
        let body = to_bytes(response.into_body(), 1 << 24)
            .await
            .expect("a body");
        serde_json::from_slice(&body).expect("JSON")
    }

    async fn shown(&self, account: u64, step: &str) -> BTreeMap<u64, Counts> {
        let path = format!("/accounts/{account}/usage?group=token&step={step}");
        let page = self.call("GET", &path, Value::Null).await;
        assert!(page["next"].is_null());
        let mut sums = BTreeMap::<u64, Counts>::new();
        for row in page["items"].as_array().expect("a list") {
            let number = |key: &str| row[key].as_u64().expect("a number");
            let refused = row["refused"].as_object().expect("an object");
            let refused = refused.values().filter_map(Value::as_u64).sum();
            let counts = [
                number("requests"),
                number("items"),
                number("bytes"),
                number("delivered_items"),
                number("delivered_bytes"),
                refused,
            ];
            let sum = sums.entry(number("token")).or_default();
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        sums
    }
}

// === impl Gateway ===

impl Gateway {
    fn start(name: &str, folder: PathBuf, source: Source, join_key: Secret) -> Self {
        let directory = Arc::new(Directory::new(directory::Config::default()));
        let mut keep = Keep::open(&folder.join("directory")).expect("opens");
        keep.load(&directory).expect("loads");
        let usage = Usage::start(&folder.join("usage"), EVERY).expect("starts");
        let config = FollowConfig {
            gateway: name.to_owned(),
            instance: "one folder".into(),
            join_key: Some(join_key),
            usage: Some(usage.reports()),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Self {
            name: name.to_owned(),
            folder,
            meters: [usage.meter(), usage.meter()],
            usage: Arc::new(usage),
            stop,
            following: tokio::spawn(follow(directory, keep, config, source, stopped)),
        }
    }

    /// A request's counters, as a worker counts them.
    fn count(&self, dice: &mut Dice, sent: &mut BTreeMap<u64, Counts>) {
        let meter = &self.meters[dice.below(2) as usize];
        let id = 1 + dice.below(TOKENS);
        let token = TokenId(id);
        let (items, bytes) = (dice.below(1_000), dice.below(1_000_000));
        let (is_refused, taken) = (dice.below(4) == 0, dice.below(items + 1));
        let agent = format!("{}/{}", self.name, dice.below(9));
        meter.presented(token, agent.as_bytes(), IpAddr::from([10, 0, 0, 1]));
        meter.settled(token, Tally::new(items, bytes), Tally::new(taken, taken));
        if is_refused {
            meter.refused(token, dice.below(28) as usize);
        }
        let counts = [1, items, bytes, taken, taken, u64::from(is_refused)];
        for (sum, count) in sent.entry(id).or_default().iter_mut().zip(counts) {
            *sum += count;
        }
    }

    async fn stop_following(&mut self) {
        self.stop.cancel();
        let ended = (&mut self.following).await;
        ended.expect("no panic").expect("no error");
    }

    /// In good order, whatever is told by then.
    async fn stop(mut self) -> PathBuf {
        self.stop_following().await;
        self.usage.close().await;
        self.folder
    }

    /// What a kill leaves: the disk as it was when the last of its messages had gone out.
    async fn kill(mut self, into: PathBuf) -> PathBuf {
        self.stop_following().await;
        self.usage.flush().await;
        for part in ["directory", "usage"] {
            copy(&self.folder.join(part), &into.join(part));
        }
        into
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for file in std::fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

/// Two accounts with half of the tokens each.
async fn stock(plane: &Plane) {
    plane
        .call(
            "POST",
            "/accounts",
            json!({"name": "other", "plan": "unlimited"}),
        )
        .await;
    for id in 4..=TOKENS {
        let account = if id <= TOKENS / 2 { "main" } else { "other" };
        let signal = ["logs", "metrics", "traces"][id as usize % 3];
        let body = json!({"account": account, "signal": signal, "name": "t"});
        assert_eq!(plane.call("POST", "/tokens", body).await["id"], id);
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// A control plane, two gateways, and what has been done to them.
struct Scene {
    ways: Ways,
    plane: Plane,
    gateways: Vec<Gateway>,
    folder: tempfile::TempDir,
    cuts: usize,
    plane_restarts: usize,
    gateway_restarts: usize,
    gateway_kills: usize,
}

// === impl Scene ===

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ways = Ways::new();
        let plane = Plane::start(folder.path().join("control"), &ways).await;
        stock(&plane).await;
        let mut scene = Self {
            ways,
            plane,
            gateways: Vec::new(),
            folder,
            cuts: 0,
            plane_restarts: 0,
            gateway_restarts: 0,
            gateway_kills: 0,
        };
        for name in ["piped", "wired"] {
            let folder = scene.folder.path().join(name);
            scene.start_gateway(name, folder).await;
        }
        scene
    }

    async fn start_gateway(&mut self, name: &str, folder: PathBuf) {
        let source = match name {
            "piped" => self.ways.over_pipes(),
            _ => self.ways.over_tcp().await,
        };
        let key = self.plane.control.join_key();
        self.gateways
            .push(Gateway::start(name, folder, source, key));
    }

    fn opened(&self) -> usize {
        self.ways.opened.load(Ordering::Relaxed)
    }

    /// Something that makes somebody connect again.
    async fn disturb(mut self, round: usize, dice: &mut Dice) -> Self {
        match round % 8 {
            3 => {
                self.plane = self.plane.restart(&self.ways).await;
                self.plane_restarts += 1;
            }
            event @ (5 | 7) => {
                let gateway = self.gateways.swap_remove(dice.below(2) as usize);
                let name = gateway.name.clone();
                let folder = if event == 5 {
                    self.gateway_restarts += 1;
                    gateway.stop().await
                } else {
                    self.gateway_kills += 1;
                    let folder = format!("kill-{}", self.gateway_kills);
                    gateway.kill(self.folder.path().join(folder)).await
                };
                self.start_gateway(&name, folder).await;
            }
            _ => {
                self.ways.cut();
                self.cuts += 1;
            }
        }
        self
    }

    /// Everything shown, by token; each gateway has told all.
    async fn end(self) -> [BTreeMap<u64, Counts>; 3] {
        println!(
            "{} connections, {} cuts, {} restarts of the control plane, {} restarts and {} kills of gateways",
            self.opened(),
            self.cuts,
            self.plane_restarts,
            self.gateway_restarts,
            self.gateway_kills
        );
        for gateway in self.gateways {
            let is_told = gateway.usage.finish(Duration::from_secs(30)).await;
            assert!(is_told, "{} has not told all", gateway.name);
            gateway.stop().await;
        }
        let audit = self.plane.control.verify_audit().await;
        audit.expect("intact");
        let mut shown = [const { BTreeMap::new() }; 3];
        for (shown, step) in shown.iter_mut().zip(["minute", "hour", "day"]) {
            for account in [1, 2] {
                shown.extend(self.plane.shown(account, step).await);
            }
        }
        shown
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_what_was_counted_whatever_is_cut_stopped_or_killed() {
    let reconnects = number_from("WHARFINGER_DOSE", 40) as usize;
    let seed = number_from("WHARFINGER_SEED", 20_261_127);
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut scene = Scene::start().await;
    let mut sent = BTreeMap::new();
    let mut round = 0;
    while scene.opened() < reconnects + 2 {
        let opened = scene.opened();
        for gateway in &scene.gateways {
            for _ in 0..dice.below(60) {
                gateway.count(&mut dice, &mut sent);
            }
        }
        sleep(Duration::from_micros(dice.below(30_000))).await;
        round += 1;
        scene = scene.disturb(round, &mut dice).await;
        let came_back = async {
            while scene.opened() == opened {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let came_back = timeout(Duration::from_secs(20), came_back).await;
        came_back.expect("somebody reconnects");
    }
    let items: u64 = sent.values().map(|counts| counts[1]).sum();
    for shown in scene.end().await {
        assert_eq!(shown, sent);
    }
    println!("{items} items counted and shown");
    assert!(items > 0);
}
