//! The audit log's newest record, as a gateway keeps it for the control plane.

use super::*;
use crate::rpc::feed::AuditHead;

fn head(seq: u64, bytes: usize) -> AuditHead {
    AuditHead {
        store: "a".into(),
        seq,
        hash: vec![7; bytes],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_is_said_at_the_next_connection_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(folder.path());
    let mut connection = world.accept().await;
    assert_eq!(connection.hello.audit, None);
    snapshot_of_three(&mut connection).await;
    for told in [head(6, 32), head(7, 32), head(8, 31), head(0, 32)] {
        connection.tell(Told::Audit(told)).await;
    }
    connection.delta(6, &[live(4)]).await;
    connection.acknowledged(6).await;
    drop(connection);
    let connection = world.accept().await;
    assert_eq!(
        connection.hello.audit,
        Some(head(7, 32)),
        "the last one that is one"
    );
    drop(connection);
    world.stop().await;
    let mut world = World::start(folder.path());
    let connection = world.accept().await;
    assert_eq!(connection.hello.audit, Some(head(7, 32)));
    world.stop().await;
}
