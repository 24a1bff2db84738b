//! Following the feed: a scripted control plane at the other end of a pipe.

mod history;
mod turns;
mod usage;
mod audit;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::StreamExt;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::*;
use crate::{
    directory::{
        Config, content_hash,
        keep::Loaded,
        tests::{account, destination, key, state_of, token},
    },
    model::{Change, Revision, TokenState},
    rpc::feed::{
        Delta, FromControl, FromGateway, Heartbeat, Hello, SnapshotBegin, SnapshotChunk,
        SnapshotEnd, Welcome,
        feed_server::{Feed, FeedServer},
        from_control::Message as Told,
        from_gateway::Message as Said,
    },
};

/// One connection, seen from the control plane.
struct Connection {
    hello: Hello,
    authorization: Option<String>,
    said: Streaming<FromGateway>,
    tell: mpsc::Sender<Result<FromControl, Status>>,
}

struct Acceptor(mpsc::Sender<Connection>);

#[tonic::async_trait]
impl Feed for Acceptor {
    type FollowStream = ReceiverStream<Result<FromControl, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FromGateway>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut said = request.into_inner();
        let first = said
            .next()
            .await
            .ok_or_else(|| Status::aborted("no hello"))??;
        let Some(Said::Hello(hello)) = first.message else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (tell, told) = mpsc::channel(64);
        let connection = Connection {
            hello,
            authorization,
            said,
            tell,
        };
        self.0
            .send(connection)
            .await
            .map_err(|_| Status::unavailable("test is over"))?;
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

/// A gateway's follower with a scripted control plane.
struct World {
    directory: Arc<Directory>,
    loaded: Loaded,
    connections: mpsc::Receiver<Connection>,
    stop: oneshot::Sender<()>,
    follower: JoinHandle<std::io::Result<()>>,
    broken: Arc<AtomicBool>,
}

impl World {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, Config::default(), None)
    }

    fn start_with(folder: &Path, config: Config, usage: Option<Reports>) -> Self {
        let (pipes, accepted) = mpsc::channel(4);
        let (sender, connections) = mpsc::channel(4);
        let incoming = ReceiverStream::new(accepted).map(Ok::<_, std::io::Error>);
        let server = Server::builder().add_service(FeedServer::new(Acceptor(sender)));
        tokio::spawn(server.serve_with_incoming(incoming));
        let directory = Arc::new(Directory::new(config));
        let mut keep = Keep::open(folder).expect("opens");
        let loaded = keep.load(&directory).expect("loads");
        let broken = Arc::clone(&keep.broken);
        let (stop, stopped) = oneshot::channel::<()>();
        let config = FollowConfig {
            gateway: "g1".into(),
            instance: "i1".into(),
            join_key: Some(Secret::new("join".into())),
            usage,
        };
        let followed = follow(
            Arc::clone(&directory),
            keep,
            config,
            Source::Pipe(pipes),
            async {
                let _ = stopped.await;
            },
        );
        Self {
            directory,
            loaded,
            connections,
            stop,
            follower: tokio::spawn(followed),
            broken,
        }
    }

    async fn accept(&mut self) -> Connection {
        let waited = time::timeout(Duration::from_secs(10), self.connections.recv());
        waited.await.expect("in time").expect("a connection")
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.follower.await.expect("ends").expect("no error");
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Directory) -> bool) {
        for _ in 0..2_000 {
            if is_so(&self.directory) {
                return;
            }
            time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}");
    }
}

/// What the commit of that revision drew, in the one history there is unless a test says otherwise.
fn history(revision: u64) -> u64 {
    revision + 1_000
}

impl Connection {
    async fn tell(&self, message: Told) {
        let message = FromControl {
            message: Some(message),
        };
        self.tell.send(Ok(message)).await.expect("listened to");
    }

    async fn welcome(&self, store: &str, head: u64) {
        self.tell(Told::Welcome(Welcome {
            store: store.into(),
            digest_key_id: key().id,
            digest_key: key().bytes().to_vec(),
            head,
            heartbeat_ms: 1_000,
            continues: self.hello.store == store
                && (1..=head).contains(&self.hello.revision)
                && self.hello.history == history(self.hello.revision),
            ..Welcome::default()
        }))
        .await;
    }

    async fn begin(&self, revision: u64, tokens: u64) {
        self.tell(Told::SnapshotBegin(SnapshotBegin {
            revision,
            tokens,
            history: history(revision),
        }))
        .await;
    }

    async fn chunk(&self, changes: &[Change]) {
        let changes = changes.iter().map(Into::into).collect();
        self.tell(Told::SnapshotChunk(SnapshotChunk { changes }))
            .await;
    }

    async fn end(&self, revision: u64, tokens: u64) {
        self.tell(Told::SnapshotEnd(SnapshotEnd { revision, tokens }))
            .await;
    }

    async fn delta(&self, revision: u64, changes: &[Change]) {
        self.delta_of(history(revision), revision, changes).await;
    }

    async fn delta_of(&self, history: u64, revision: u64, changes: &[Change]) {
        self.tell(Told::Delta(Delta {
            revision,
            changes: changes.iter().map(Into::into).collect(),
            history,
        }))
        .await;
    }

    async fn heartbeat(&self, head: u64) {
        self.tell(Told::Heartbeat(Heartbeat { head })).await;
    }

    /// The same to one who may have left by now.
    async fn heartbeat_if_heard(&self, head: u64) {
        let message = FromControl {
            message: Some(Told::Heartbeat(Heartbeat { head })),
        };
        let _ = self.tell.send(Ok(message)).await;
    }

    /// Waits until that revision, and none past it, is acknowledged.
    async fn acknowledged(&mut self, revision: u64) {
        loop {
            let next = time::timeout(Duration::from_secs(10), self.said.next()).await;
            let said = next.unwrap_or_else(|_| panic!("no acknowledgement of {revision}"));
            let Some(Said::Acknowledge(said)) = said.expect("open").expect("whole").message else {
                panic!("not an acknowledgement");
            };
            assert!(said.revision <= revision, "{} acknowledged", said.revision);
            if said.revision == revision {
                return;
            }
        }
    }

    /// Waits until the gateway hangs up.
    async fn closed(mut self) {
        let ended = time::timeout(Duration::from_secs(10), async {
            while let Some(Ok(_)) = self.said.next().await {}
        });
        ended.await.expect("hung up");
    }

    /// The same, and it has acknowledged nothing.
    async fn closed_unacknowledged(mut self) {
        let next = time::timeout(Duration::from_secs(10), self.said.next()).await;
        let said = next.expect("hung up");
        assert!(!matches!(said, Some(Ok(_))), "{said:?}");
    }
}

fn live(n: u64) -> Change {
    token(n, TokenState::Live)
}

fn revoked(n: u64) -> Change {
    token(n, TokenState::Revoked)
}

/// A store `a` at revision 5 with tokens 1 to 3.
async fn snapshot_of_three(connection: &mut Connection) {
    connection.welcome("a", 5).await;
    connection.begin(5, 3).await;
    connection
        .chunk(&[destination(1, "s"), account(1), live(1)])
        .await;
    connection.chunk(&[live(2), live(3)]).await;
    connection.end(5, 3).await;
    connection.acknowledged(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_then_deltas_are_enforced_kept_and_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    assert_eq!(world.loaded, Loaded::Nothing);
    let mut connection = world.accept().await;
    assert_eq!(
        (connection.hello.revision, connection.hello.store.as_str()),
        (0, "")
    );
    assert_eq!(connection.authorization.as_deref(), Some("Bearer join"));
    snapshot_of_three(&mut connection).await;
    connection.delta(6, &[revoked(2)]).await;
    connection.acknowledged(6).await;
    assert_eq!(state_of(&world.directory, 2), Some(TokenState::Revoked));
    connection.heartbeat(6).await;
    world.until("fresh", Directory::is_fresh).await;
    let rows = [
        destination(1, "s"),
        account(1),
        live(1),
        revoked(2),
        live(3),
    ];
    assert_eq!(world.directory.hash(), content_hash(rows));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_copy_serves_with_the_control_plane_gone_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    connection.delta(6, &[revoked(2)]).await;
    connection.acknowledged(6).await;
    connection.heartbeat(6).await;
    world.until("fresh", Directory::is_fresh).await;
    world.stop().await;

    let mut world = World::start(folder.path());
    assert!(matches!(
        world.loaded,
        Loaded::Table {
            revision: Revision(6),
            tokens: 3,
            ..
        }
    ));
    assert_eq!(state_of(&world.directory, 2), Some(TokenState::Revoked));
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Live));
    assert!(world.directory.is_loaded() && !world.directory.is_fresh());
    assert!(world.directory.age().expect("kept") < Duration::from_secs(60));
    let mut connection = world.accept().await;
    assert_eq!(
        (connection.hello.revision, connection.hello.store.as_str()),
        (6, "a")
    );
    connection.welcome("a", 7).await;
    connection.delta(7, &[live(4)]).await;
    connection.acknowledged(7).await;
    assert!(world.directory.is_fresh(), "the welcome's head is reached");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_beside_a_snapshot_win_over_its_rows_in_any_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    connection.welcome("a", 5).await;
    connection.begin(5, 3).await;
    connection.delta(6, &[revoked(1)]).await;
    connection.chunk(&[account(1), live(1), live(2)]).await;
    connection.delta(7, &[revoked(2)]).await;
    connection.chunk(&[live(3)]).await;
    connection.end(8, 3).await;
    time::sleep(Duration::from_millis(50)).await;
    assert!(
        !world.directory.is_loaded(),
        "the delta up to the end is missing"
    );
    connection.delta(8, &[live(4)]).await;
    connection.acknowledged(8).await;
    for (n, state) in [
        (1, TokenState::Revoked),
        (2, TokenState::Revoked),
        (3, TokenState::Live),
        (4, TokenState::Live),
    ] {
        assert_eq!(state_of(&world.directory, n), Some(state), "token {n}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_ignored_and_a_gap_reconnects() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    connection.delta(6, &[revoked(1)]).await;
    connection.delta(6, &[live(1)]).await;
    connection.delta(5, &[live(1)]).await;
    connection.delta(7, &[live(4)]).await;
    connection.acknowledged(7).await;
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Revoked));
    connection.delta(9, &[revoked(3)]).await;
    connection.closed().await;
    assert_eq!(state_of(&world.directory, 3), Some(TokenState::Live));
    let mut connection = world.accept().await;
    assert_eq!(connection.hello.revision, 7);
    connection.welcome("a", 9).await;
    connection.delta(8, &[]).await;
    connection.delta(9, &[revoked(3)]).await;
    connection.acknowledged(9).await;
    assert_eq!(state_of(&world.directory, 3), Some(TokenState::Revoked));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_older_than_the_table_waits_for_its_deltas() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    connection.delta(6, &[revoked(1)]).await;
    connection.acknowledged(6).await;
    connection.begin(5, 3).await;
    connection
        .chunk(&[account(1), live(1), live(2), live(3)])
        .await;
    connection.end(5, 3).await;
    connection.heartbeat(6).await;
    time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.directory.revision(), Revision(6));
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Revoked));
    connection.delta(6, &[revoked(1)]).await;
    connection.delta(7, &[revoked(2)]).await;
    connection.acknowledged(7).await;
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Revoked));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_store_needs_no_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    connection.welcome("new", 0).await;
    world
        .until("fresh", |directory| {
            directory.is_fresh() && directory.is_loaded()
        })
        .await;
    assert_eq!(state_of(&world.directory, 1), None);
    connection.delta(1, &[account(1), live(1)]).await;
    connection.acknowledged(1).await;
    assert_eq!(state_of(&world.directory, 1), Some(TokenState::Live));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_feed_is_left_and_impossible_changes_are_not_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let connection = world.accept().await;
    connection
        .tell(Told::Welcome(Welcome {
            store: "a".into(),
            digest_key_id: 3,
            digest_key: key().bytes().to_vec(),
            head: 0,
            heartbeat_ms: 20,
            ..Welcome::default()
        }))
        .await;
    connection.closed().await;
    let connection = world.accept().await;
    connection.welcome("a", 1).await;
    let mut bad = crate::rpc::feed::Change::from(&live(1));
    if let Some(crate::rpc::feed::change::Change::Token(token)) = &mut bad.change {
        token.digest.pop();
    }
    connection
        .tell(Told::Delta(Delta {
            revision: 1,
            changes: vec![bad],
            history: history(1),
        }))
        .await;
    connection.closed().await;
    assert_eq!(world.directory.revision(), Revision(0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_deltas_is_applied_in_order_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;
    for revision in 6..=2_005u64 {
        let n = revision % 50 + 1;
        let state = [TokenState::Live, TokenState::Disabled, TokenState::Revoked];
        connection
            .delta(revision, &[token(n, state[revision as usize % 3])])
            .await;
    }
    connection.acknowledged(2_005).await;
    let hash = world.directory.hash();
    world.stop().await;
    let again = World::start(folder.path());
    assert_eq!(again.directory.hash(), hash);
    assert_eq!(again.directory.revision(), Revision(2_005));
    again.stop().await;
}
