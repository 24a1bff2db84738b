//! What a call's body may hold, and what an answer's must not.

use serde_json::{Value, json};

use super::world::World;

async fn send(world: &World, path: &str, body: String) -> (u16, String) {
    let (status, _, said) = world.raw(world.request("POST", path, body)).await;
    (status.as_u16(), String::from_utf8(said).expect("text"))
}

#[tokio::test]
async fn a_call_without_content_takes_no_body_but_an_empty_one() {
    let world = World::new().await;
    world.token("x").await;
    for verb in ["enable", "disable", "reveal", "revoke"] {
        let path = format!("/tokens/4/{verb}");
        for junk in [json!({"until": 5}), json!([]), json!("now"), json!(null)] {
            let (status, said) = send(&world, &path, junk.to_string()).await;
            assert_eq!(status, 400, "{verb} {junk}: {said}");
        }
        assert_eq!(send(&world, &path, "{".to_owned()).await.0, 400);
        assert_eq!(send(&world, &path, "{}".to_owned()).await.0, 200);
    }
    assert_eq!(
        world.call("POST", "/tokens/4/revoke", Value::Null).await.0,
        200
    );
}
