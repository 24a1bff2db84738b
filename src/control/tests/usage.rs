//! Usage from the feed to the API, with gateways of every kind.

use axum::body::Body;
use serde_json::{Value, json};

use super::world::{Follower, Kept, World};
use crate::{
    control::record,
    rpc::feed::{RefusedRequests, Sender, TokenUsage, Usage, from_gateway},
};

pub(super) fn token(id: u64, items: u64) -> TokenUsage {
    TokenUsage {
        token: id,
        requests: 2,
        items,
        bytes: items * 10,
        delivered_items: items / 2,
        delivered_bytes: items * 5,
        last_used_at: now(),
        last_accepted_ms: 0,
        refused: vec![RefusedRequests {
            reason: 0,
            requests: 1,
        }],
        senders: vec![Sender {
            agent: "shipper/1".into(),
            address: "192.0.2.7".into(),
            last_used_at: now(),
        }],
    }
}

fn now() -> u64 {
    record::now() / 1000
}

pub(super) fn report(epoch: u64, sequence: u64, tokens: Vec<TokenUsage>) -> Usage {
    Usage {
        epoch,
        sequence,
        at: now(),
        sent_at: now(),
        reasons: vec!["too_large".into()],
        tokens,
        sent_at_ms: 0,
    }
}

pub(super) async fn tell(follower: &mut Follower, usage: Usage) {
    let number = (usage.epoch, usage.sequence);
    follower.applied = None;
    follower.say(from_gateway::Message::Usage(usage)).await;
    while follower.applied.is_none() {
        follower.step().await.expect("the stream goes on");
    }
    assert_eq!(follower.applied, Some(number));
}

async fn items(world: &World) -> u64 {
    let page = world
        .ok("GET", "/accounts/1/usage?step=day", Value::Null)
        .await;
    let rows = page["items"].as_array().expect("a list");
    rows.iter().filter_map(|row| row["items"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_counts_once_over_reconnects_duplicates_and_a_restart() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    follower.until(1).await;
    tell(&mut follower, report(7, 1, vec![token(1, 10)])).await;
    tell(&mut follower, report(7, 1, vec![token(1, 10)])).await;
    assert_eq!(items(&world).await, 10);
    let mut again = world.follow("a", follower.kept.clone()).await;
    tell(&mut again, report(7, 1, vec![token(1, 10)])).await;
    tell(&mut again, report(7, 2, vec![token(1, 1)])).await;
    // One that is late on its way, and another process under the same name.
    tell(&mut again, report(7, 1, vec![token(1, 10)])).await;
    tell(&mut again, report(8, 1, vec![token(1, 100)])).await;
    assert_eq!(items(&world).await, 111);
    let kept = again.kept.clone();
    let World {
        control, folder, ..
    } = world;
    control.close().await;
    let world = World::within(crate::control::Config::default(), folder).await;
    let mut follower = world.follow("a", kept).await;
    for (epoch, sequence) in [(7, 1), (7, 2), (8, 1)] {
        tell(
            &mut follower,
            report(epoch, sequence, vec![token(1, 5_000)]),
        )
        .await;
    }
    assert_eq!(items(&world).await, 111);
    world.control.verify_audit().await.expect("intact");
    assert_eq!(
        world.control.feed_state().head,
        1,
        "usage takes no revision"
    );
}

#[tokio::test]
async fn a_report_counts_once_where_its_gateway_has_got_another_name() {
    let world = World::new().await;
    let mut before = world.follow("before", Kept::default()).await;
    before.until(1).await;
    tell(&mut before, report(7, 1, vec![token(1, 10)])).await;
    let kept = before.kept.clone();
    drop(before);
    let mut after = world.follow("after", kept).await;
    tell(&mut after, report(7, 1, vec![token(1, 10)])).await;
    assert_eq!(items(&world).await, 10);
    tell(&mut after, report(7, 2, vec![token(1, 5)])).await;
    assert_eq!(items(&world).await, 15);
}

#[tokio::test]
async fn strangers_tokens_and_impossible_counts_are_left_out_and_the_stream_goes_on() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    let mut absurd = token(1, 3);
    absurd.bytes = u64::MAX;
    let tokens = vec![token(999, 5), absurd, token(0, 5), token(2, 7)];
    tell(&mut follower, report(1, 1, tokens)).await;
    tell(
        &mut follower,
        report(1, 2, (1..=2_000).map(|id| token(id, 1)).collect()),
    )
    .await;
    tell(&mut follower, report(0, 0, vec![token(1, 5)])).await;
    assert_eq!(items(&world).await, 7 + 3);
    // Deltas and acknowledgements go on beside it.
    let made = world.token("x").await;
    follower
        .until(made["revision"].as_u64().expect("a number"))
        .await;
}

#[tokio::test]
async fn usage_is_shown_by_step_signal_and_token_as_json_and_as_csv() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    let tokens = (1..=3).map(|id| token(id, id * 10)).collect();
    tell(&mut follower, report(1, 1, tokens)).await;
    let get = async |query: &str| {
        let path = format!("/accounts/1/usage?{query}");
        let page = world.ok("GET", &path, Value::Null).await;
        page["items"].as_array().expect("a list").clone()
    };
    for step in ["minute", "hour", "day"] {
        let rows = get(&format!("step={step}")).await;
        assert_eq!(rows.len(), 1, "{step}");
        let row = &rows[0];
        assert_eq!(
            (
                &row["requests"],
                &row["items"],
                &row["bytes"],
                &row["delivered_items"]
            ),
            (&json!(6), &json!(60), &json!(600), &json!(30))
        );
        assert_eq!(row["refused"], json!({"too_large": 3}));
        assert!(row["token"].is_null() && row["signal"].is_null());
    }
    let rows = get("group=signal").await;
    let signals: Vec<_> = rows
        .iter()
        .map(|row| row["signal"].as_str().expect("text"))
        .collect();
    assert_eq!(signals, ["logs", "metrics", "traces"]);
    let rows = get("group=token&signal=metrics").await;
    assert_eq!(
        (rows.len(), &rows[0]["token"], &rows[0]["items"]),
        (1, &json!(2), &json!(20))
    );
    assert_eq!(get("token=3").await[0]["items"], 30);
    assert!(get("token=4").await.is_empty());

    let first = world
        .ok("GET", "/accounts/1/usage?group=token&limit=2", Value::Null)
        .await;
    let next = first["next"].as_str().expect("a next page").to_owned();
    let rows = get(&format!("group=token&limit=2&after={next}")).await;
    assert_eq!((rows.len(), &rows[0]["token"]), (1, &json!(3)));

    for (accept, is_csv) in [
        ("text/csv;q=0, application/json", false),
        ("text/csv; q=0.0", false),
        ("TEXT/CSV;q=0.5", true),
        ("application/json;q=0, text/csv", true),
        ("application/json, text/csv", false),
    ] {
        let mut request = world.request("GET", "/accounts/1/usage", Body::empty());
        let headers = request.headers_mut();
        headers.insert("accept", accept.parse().expect("a value"));
        let (_, kind, _) = world.raw(request).await;
        assert_eq!(kind.starts_with("text/csv"), is_csv, "{accept}: {kind}");
    }
    let mut request = world.request(
        "GET",
        "/accounts/1/usage?group=token&limit=2",
        Body::empty(),
    );
    request
        .headers_mut()
        .insert("accept", "text/csv".parse().expect("a value"));
    let (status, kind, body) = world.raw(request).await;
    assert_eq!(status, 200);
    assert!(kind.starts_with("text/csv"), "{kind}");
    let text = String::from_utf8(body).expect("text");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("start,signal,token,requests,items,bytes,"));
    assert!(
        lines[2].ends_with(",metrics,2,2,20,200,10,100,1,too_large=1"),
        "{}",
        lines[2]
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_in_words() {
    let world = World::new().await;
    for query in [
        "step=week",
        "group=account",
        "signal=profiles",
        "limit=0",
        "limit=1501",
        "from=yesterday",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00Z&to=2026-01-02T01:00:01Z&step=minute",
        "after=x",
        "after=1",
        "after=-1.2",
        "token=-1",
        "who=me",
    ] {
        let (status, problem) = world
            .call("GET", &format!("/accounts/1/usage?{query}"), Value::Null)
            .await;
        assert_eq!(status, 400, "{query}: {problem}");
    }
    let day = "from=2026-01-01T00:00:00Z&to=2026-01-02T01:00:00Z&step=minute";
    let page = world
        .ok("GET", &format!("/accounts/1/usage?{day}"), Value::Null)
        .await;
    assert_eq!(page, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn a_token_shows_when_and_by_whom_it_was_last_used() {
    let world = World::new().await;
    let never = world.ok("GET", "/tokens/1", Value::Null).await;
    assert_eq!(
        (&never["last_used_at"], &never["senders"]),
        (&Value::Null, &json!([]))
    );
    let mut follower = world.follow("a", Kept::default()).await;
    for sequence in 1..=7 {
        let mut used = token(1, 1);
        used.senders[0].agent = format!("shipper/{sequence}\u{1b}[2J");
        tell(&mut follower, report(1, sequence, vec![used])).await;
    }
    let senders = world.ok("GET", "/tokens/1/senders", Value::Null).await;
    let senders = senders["items"].as_array().expect("a list");
    assert_eq!(senders.len(), 5);
    assert_eq!(senders[0]["agent"], "shipper/7?[2J");
    assert_eq!(senders[0]["address"], "192.0.2.7");
    let shown = world.ok("GET", "/tokens/1", Value::Null).await;
    assert_eq!(shown["senders"].as_array(), Some(senders));
    let at = shown["last_used_at"].as_str().expect("a time");
    let at = humantime::parse_rfc3339(at).expect("a time");
    assert!(at.elapsed().expect("past").as_secs() < 60);
    let list = world.ok("GET", "/tokens", Value::Null).await;
    assert_eq!(list["items"][0]["last_used_at"], shown["last_used_at"]);
    assert_eq!(list["items"][1]["last_used_at"], Value::Null);
    // Sights of a token are no change of it.
    assert_eq!(shown["revision"], never["revision"]);
}

#[tokio::test]
async fn the_old_token_of_a_rotation_is_not_ended_while_somebody_ships_with_it_unless_forced() {
    let world = World::new().await;
    let mut follower = world.follow("a", Kept::default()).await;
    let past = json!({"expires_at": "2020-01-01T00:00:00Z"});
    let ends = [
        ("POST", "/revoke", Value::Null),
        ("POST", "/disable", Value::Null),
        ("PATCH", "", past),
    ];
    for (sequence, (method, path, body)) in (1..).zip(ends) {
        let mut ids = [0; 2];
        for id in &mut ids {
            let old = world.token("x").await["id"].as_u64().expect("an id");
            let rotate = format!("/tokens/{old}/rotate");
            world.ok("POST", &rotate, Value::Null).await;
            *id = old;
        }
        let [used, quiet] = ids;
        let mut long_ago = token(quiet, 1);
        long_ago.last_used_at = now() - 900;
        long_ago.senders[0].last_used_at = now() - 900;
        let tokens = vec![token(used, 1), long_ago];
        tell(&mut follower, report(1, sequence, tokens)).await;
        let path = |id: u64| format!("/tokens/{id}{path}");
        let (status, problem) = world.call(method, &path(used), body.clone()).await;
        assert_eq!(status, 409, "{method}");
        let detail = problem["detail"].as_str().expect("text");
        for word in ["\"shipper/1\" from 192.0.2.7", "force=true"] {
            assert!(detail.contains(word), "{detail}");
        }
        let shown = format!("/tokens/{used}");
        let shown = world.ok("GET", &shown, Value::Null).await;
        assert_eq!(shown["state"], "live");
        let forced = format!("{}?force=true", path(used));
        world.ok(method, &forced, body.clone()).await;
        world.ok(method, &path(quiet), body).await;
    }
    // Without a rotation there is no window to close.
    let one = world.token("x").await["id"].as_u64().expect("an id");
    tell(&mut follower, report(1, 9, vec![token(one, 1)])).await;
    world
        .ok("POST", &format!("/tokens/{one}/revoke"), Value::Null)
        .await;
}
