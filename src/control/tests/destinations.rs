//! When success may be answered for a destination: set, changed, taken back, refused, and told to gateways.

use serde_json::{Value, json};

use super::{
    stores,
    world::{Follower, Kept, World},
};
use crate::{
    control::Error,
    model::{Ack, Change, Signal},
};

const SINK: &str = "/destinations/2";

/// What a gateway was told of the destination that every test makes.
fn told(follower: &Follower) -> Option<Ack> {
    match &follower.kept.state["destination/2"] {
        Change::Destination(destination) => destination.ack,
        other => panic!("{other:?}"),
    }
}

/// A destination of that kind with those fields, as its first request has them.
fn sink(kind: &str, fields: &Value) -> Value {
    let mut body = json!({"name": "sink", "kind": kind});
    if kind != "archive" {
        body["endpoints"] = json!(["http://a"]);
    }
    let (object, fields) = (body.as_object_mut(), fields.as_object().cloned());
    object
        .expect("an object")
        .extend(fields.expect("an object"));
    body
}

async fn follow_up(world: &World, follower: &mut Follower) {
    follower.until(world.control.feed_state().head).await;
    // What the store would tell a new gateway is what the deltas told this one.
    assert_eq!(follower.kept.state, world.state().await);
}

#[tokio::test]
async fn when_success_is_answered_is_set_kept_changed_and_taken_back_and_gateways_are_told() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    let body = sink("http", &json!({"ack": "spool"}));
    let made = world.ok("POST", "/destinations", body).await;
    assert_eq!(made["ack"], "spool");
    follow_up(&world, &mut follower).await;
    assert_eq!(told(&follower), Some(Ack::Spool));
    for (change, shown, expected) in [
        (
            json!({"ack": "destination"}),
            json!("destination"),
            Some(Ack::Destination),
        ),
        (json!({"ack": "spill"}), json!("spill"), Some(Ack::Spill)),
        // What is not named stays.
        (
            json!({"compression": "identity"}),
            json!("spill"),
            Some(Ack::Spill),
        ),
        (json!({"ack": null}), Value::Null, None),
        (json!({"request_timeout_ms": 5}), Value::Null, None),
    ] {
        let changed = world.ok("PATCH", SINK, change.clone()).await;
        assert_eq!(changed["ack"], shown, "{change}");
        let read = world.ok("GET", SINK, Value::Null).await;
        assert_eq!(read["ack"], shown, "{change}");
        follow_up(&world, &mut follower).await;
        assert_eq!(told(&follower), expected, "{change}");
    }
}

#[tokio::test]
async fn a_destination_that_says_nothing_of_it_has_the_default_of_each_signal() {
    let world = World::new().await;
    let bodies = [
        sink("http", &json!({})),
        sink("http", &json!({"name": "other", "ack": null})),
    ];
    for body in bodies {
        let made = world.ok("POST", "/destinations", body).await;
        assert_eq!(made.get("ack"), Some(&Value::Null));
        let id = made["id"].as_u64().expect("an id");
        let kept = world.control.inner.store.destination(id).await;
        let kept = kept.expect("there").destination;
        assert_eq!(
            Signal::ALL.map(|signal| kept.ack_for(signal)),
            [Ack::Spill, Ack::Destination, Ack::Spill]
        );
    }
}

#[tokio::test]
async fn a_word_that_is_none_is_refused_with_the_list_of_those_that_are() {
    let world = World::new().await;
    let body = sink("http", &json!({"ack": "spill"}));
    world.ok("POST", "/destinations", body).await;
    for wrong in [
        json!("default"),
        json!("Spool"),
        json!(""),
        json!(1),
        json!(["spool"]),
    ] {
        let mut fields = json!({"name": "other"});
        fields["ack"] = wrong.clone();
        for (method, path, body) in [
            ("POST", "/destinations", sink("http", &fields)),
            ("PATCH", SINK, json!({"ack": wrong})),
        ] {
            let (status, said) = world.call(method, path, body.clone()).await;
            assert_eq!(status, 400, "{method} {body}: {said}");
            let detail = said["detail"].as_str().expect("a detail");
            if wrong.is_string() {
                assert!(
                    detail.contains("destination, spool or spill"),
                    "{method} {body}: {detail}"
                );
            }
        }
    }
    let kept = world.ok("GET", SINK, Value::Null).await;
    assert_eq!(kept["ack"], "spill");
}

#[tokio::test]
async fn an_archive_answers_by_itself_and_is_told_nothing_else() {
    let world = World::new().await;
    for ack in ["spool", "spill"] {
        let body = sink("archive", &json!({"ack": ack}));
        let (status, said) = world.call("POST", "/destinations", body).await;
        assert_eq!(status, 400, "{ack}: {said}");
        let detail = said["detail"].as_str().expect("a detail");
        assert!(
            detail.contains("archive") && detail.contains("fsynced"),
            "{detail}"
        );
    }
    let body = sink("archive", &json!({"ack": "destination"}));
    let made = world.ok("POST", "/destinations", body).await;
    assert_eq!(made["ack"], "destination");
    for (change, status) in [
        (json!({"ack": "spool"}), 400),
        (json!({"ack": null}), 200),
        (json!({"ack": "spill"}), 400),
        // It becomes another kind with it, and doesn't come back with it.
        (
            json!({"kind": "http", "endpoints": ["http://a"], "ack": "spill"}),
            200,
        ),
        (json!({"kind": "archive", "endpoints": []}), 400),
        (
            json!({"kind": "archive", "endpoints": [], "ack": null}),
            200,
        ),
    ] {
        let (answered, said) = world.call("PATCH", SINK, change.clone()).await;
        assert_eq!(answered, status, "{change}: {said}");
    }
    assert_eq!(world.ok("GET", SINK, Value::Null).await["ack"], Value::Null);
}

#[tokio::test]
async fn the_audit_log_says_what_it_was_and_what_it_is() {
    let world = World::new().await;
    world
        .ok("POST", "/destinations", sink("http", &json!({})))
        .await;
    world.ok("PATCH", SINK, json!({"ack": "spill"})).await;
    world.ok("PATCH", SINK, json!({"ack": null})).await;
    let path = "/audit?subject=destination/2";
    let list = world.ok("GET", path, Value::Null).await;
    let acks = |side: &str| -> Vec<Value> {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|record| record[side]["ack"].clone()).collect()
    };
    let (none, spill) = (Value::Null, json!("spill"));
    assert_eq!(acks("old"), [none.clone(), none.clone(), spill.clone()]);
    assert_eq!(acks("new"), [none.clone(), spill, none]);
}

#[tokio::test]
async fn a_word_in_the_store_that_this_version_does_not_know_is_no_default() {
    let world = World::new().await;
    world
        .ok("POST", "/destinations", sink("http", &json!({})))
        .await;
    let sql = "UPDATE destinations SET ack = 'sometime' WHERE id = 2";
    stores::alter(world.folder.path(), sql).await;
    let read = world.control.inner.store.destination(2).await;
    assert!(matches!(read.err(), Some(Error::Damaged(_))));
}

#[tokio::test]
async fn the_document_names_every_word() {
    let world = World::new().await;
    let document = world.ok("GET", "/openapi.json", Value::Null).await;
    let schemas = &document["components"]["schemas"];
    let field = &schemas["DestinationBody"]["properties"]["ack"];
    assert_eq!(
        field["enum"],
        json!(["destination", "spool", "spill", null])
    );
    assert!(
        field["description"]
            .as_str()
            .is_some_and(|it| it.contains("default"))
    );
    let shown = &schemas["Destination"]["properties"]["ack"];
    assert_eq!(shown["type"], json!(["string", "null"]));
}
