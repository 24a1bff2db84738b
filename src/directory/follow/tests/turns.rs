//! Control planes elsewhere, in turn: whichever is there is followed.

use std::net::SocketAddr;

use tokio::net::TcpSocket;
use tonic::transport::server::TcpIncoming;

use super::*;

/// A port that is ours, and its URL. Nobody gets in before it is opened.
fn door() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("binds");
    let url = format!("http://{}", socket.local_addr().expect("bound"));
    (socket, url)
}

/// A control plane at that port from now on.
fn open(socket: TcpSocket) -> (mpsc::Receiver<Connection>, JoinHandle<()>) {
    let listener = socket.listen(16).expect("listens");
    let (sender, connections) = mpsc::channel(4);
    let server = Server::builder().add_service(FeedServer::new(Acceptor(sender)));
    let serving = server.serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(async {
        serving.await.expect("serves");
    });
    (connections, server)
}

fn follow_both(folder: &Path, endpoints: Vec<String>, there: mpsc::Receiver<Connection>) -> World {
    let directory = Arc::new(Directory::new(Config::default()));
    let mut keep = Keep::open(folder).expect("opens");
    let loaded = keep.load(&directory).expect("loads");
    let broken = Arc::clone(&keep.broken);
    let (stop, stopped) = oneshot::channel::<()>();
    let config = FollowConfig {
        gateway: "g1".into(),
        instance: "i1".into(),
        join_key: None,
        usage: None,
    };
    let source = Source::Remote {
        endpoints,
        tls: None,
    };
    let followed = follow(Arc::clone(&directory), keep, config, source, async {
        let _ = stopped.await;
    });
    World {
        directory,
        loaded,
        connections: there,
        stop,
        follower: tokio::spawn(followed),
        broken,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_endpoint_is_there_is_followed_and_the_other_one_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((first, first_url), (second, second_url)) = (door(), door());
    let (connections, server) = open(second);
    let mut world = follow_both(folder.path(), vec![first_url, second_url], connections);
    let mut connection = world.accept().await;
    snapshot_of_three(&mut connection).await;

    server.abort();
    let (connections, _server) = open(first);
    world.connections = connections;
    drop(connection);
    let mut connection = world.accept().await;
    assert_eq!(connection.hello.revision, 5, "it goes on where it was");
    connection.welcome("a", 6).await;
    connection.delta(6, &[revoked(2)]).await;
    connection.acknowledged(6).await;
    assert_eq!(state_of(&world.directory, 2), Some(TokenState::Revoked));
    world.stop().await;
}
