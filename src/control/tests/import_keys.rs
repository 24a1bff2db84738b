//! Imports under an `Idempotency-Key`: the same lines are answered alike, and no line is taken in twice.

use std::io;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    etags::{Answer, send},
    world::World,
};

const PATH: &str = "/tokens/import?account=1&signal=traces";

fn given(n: u32) -> String {
    format!("imported-token-{n:06}")
}

async fn import(world: &World, path: &str, name: &str, value: &str, body: Body) -> Answer {
    let mut request = world.request("POST", path, body);
    let name: header::HeaderName = name.parse().expect("a name");
    let value = value.parse().expect("a value");
    request.headers_mut().insert(name, value);
    send(world, request).await
}

async fn keyed(world: &World, path: &str, lines: &str) -> Answer {
    import(
        world,
        path,
        "idempotency-key",
        "file",
        Body::from(lines.to_owned()),
    )
    .await
}

fn is_replayed(headers: &HeaderMap) -> bool {
    headers.contains_key("idempotent-replayed")
}

#[tokio::test]
async fn the_same_lines_under_one_key_are_answered_alike_and_taken_in_once() {
    let world = World::new().await;
    let lines = format!("{}\n{}\nno token\n", given(1), given(2));
    let first = keyed(&world, PATH, &lines).await;
    assert_eq!((first.status, is_replayed(&first.headers)), (200, false));
    let said = first.json();
    assert_eq!([&said["made"], &said["refused"]], [&json!(2), &json!(1)]);
    assert!(said["revision"].is_u64());
    // Asked without the key, the same lines would be told otherwise by now.
    world.ok("POST", "/tokens/4/revoke", Value::Null).await;
    let head = world.control.feed_state().head;
    for path in [PATH, &format!("{PATH}&wait=enforced")] {
        let again = keyed(&world, path, &lines).await;
        let mut told = again.json();
        let fields = told.as_object_mut().expect("an object");
        assert_eq!(fields.remove("enforcement").is_some(), path != PATH);
        assert_eq!((again.status, told), (200, said.clone()), "{path}");
        assert!(is_replayed(&again.headers));
    }
    let of_others = [
        (PATH.to_owned(), format!("{lines}{}\n", given(3))),
        (PATH.to_owned(), String::new()),
        (PATH.replace("traces", "metrics"), lines.clone()),
        ("/tokens/import".to_owned(), lines.clone()),
    ];
    for (path, lines) in of_others {
        let other = keyed(&world, &path, &lines).await;
        assert_eq!(other.status, 422, "{path}: {}", other.json());
    }
    assert_eq!(world.control.feed_state().head, head, "nothing was made");
    // Nor is it a key for anything else.
    let body = json!({"account": 1, "signal": "logs", "name": "n"}).to_string();
    let token = import(&world, "/tokens", "idempotency-key", "file", body.into()).await;
    assert_eq!(token.status, 422);
    for junk in ["", "a b"] {
        let refused = import(&world, PATH, "idempotency-key", junk, lines.clone().into()).await;
        assert_eq!(refused.status, 400);
    }
}

#[tokio::test]
async fn lines_that_made_nothing_are_answered_alike_too() {
    let world = World::new().await;
    for is_again in [false, true] {
        let answer = keyed(&world, PATH, "no token\n").await;
        assert_eq!(
            (answer.status, is_replayed(&answer.headers)),
            (200, is_again)
        );
        let said = answer.json();
        assert_eq!(said["refused"], 1);
        assert!(said.get("revision").is_none());
    }
}

#[tokio::test]
async fn an_import_that_broke_off_leaves_its_key_to_the_one_that_is_whole() {
    let world = World::new().await;
    let many: String = (0..5_000).map(|n| given(n) + "\n").collect();
    let pieces = [Ok(many.clone()), Err(io::Error::other("gone"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let broken = import(&world, PATH, "idempotency-key", "file", body).await;
    assert_eq!(broken.status, 400);
    let whole = many + &given(5_000);
    let done = keyed(&world, PATH, &whole).await.json();
    assert_eq!([&done["known"], &done["made"]], [&json!(5_000), &json!(1)]);
    assert_eq!(keyed(&world, PATH, &whole).await.json(), done);
}

#[tokio::test]
async fn while_an_import_is_under_way_nobody_else_has_its_key() {
    let world = World::new().await;
    let (pieces, incoming) = tokio::sync::mpsc::channel::<io::Result<String>>(1);
    let body = Body::from_stream(ReceiverStream::new(incoming));
    let slow = import(&world, PATH, "idempotency-key", "file", body);
    let others = async {
        for _ in 0..2 {
            // Taken once the channel has room again: the import has begun.
            pieces.send(Ok(given(1) + "\n")).await.expect("taken");
        }
        pieces.send(Ok(given(2) + "\n")).await.expect("taken");
        let second = keyed(&world, PATH, &given(3)).await;
        assert_eq!(second.status, 409, "{}", second.json());
        let elsewhere = import(&world, PATH, "idempotency-key", "other", given(4).into());
        assert_eq!(elsewhere.await.json()["made"], 1);
        drop(pieces);
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert_eq!(slow.json()["made"], 2);
    let lines = format!("{0}\n{0}\n{1}\n", given(1), given(2));
    let again = keyed(&world, PATH, &lines).await;
    assert_eq!(
        (again.json(), is_replayed(&again.headers)),
        (slow.json(), true)
    );
}

#[tokio::test]
async fn an_import_changes_nothing_that_has_a_version() {
    let world = World::new().await;
    let head = world.control.feed_state().head;
    for (name, value, status) in [
        ("if-match", "\"1\"", 412),
        ("if-match", "1", 400),
        ("if-none-match", "*", 400),
    ] {
        let refused = import(&world, PATH, name, value, given(1).into()).await;
        assert_eq!(refused.status, status, "{name}: {value}");
    }
    assert_eq!(world.control.feed_state().head, head);
    let any = import(&world, PATH, "if-match", "*", given(1).into()).await;
    assert_eq!(any.json()["made"], 1);
}
