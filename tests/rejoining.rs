//! A gateway on its own beside a control plane on its own: when it may be sent to, and how it comes back to a feed whose
//! certificates have changed.

mod world;

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use wharfinger::{
    app::{self, Running},
    config::Config,
};
use world::{Sender, World, bodies, config_on, eventually, process::free_port};

struct Papers {
    certificate: String,
    key: String,
}

fn papers() -> Papers {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("made");
    Papers {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

fn write(folder: &Path, papers: &Papers) {
    std::fs::write(folder.join("feed.pem"), &papers.certificate).expect("written");
    std::fs::write(folder.join("feed.key"), &papers.key).expect("written");
}

fn trust(folder: &TempDir, papers: &Papers) {
    std::fs::write(folder.path().join("ca.pem"), &papers.certificate).expect("written");
}

fn control_config(data: &TempDir, feed: u16) -> Config {
    let mut config = config_on(data);
    config.listen.feed = Some(([127, 0, 0, 1], feed).into());
    config.control.feed_certificate = Some(data.path().join("feed.pem"));
    config.control.feed_key = Some(data.path().join("feed.key"));
    config
}

fn gateway_config(data: &TempDir, control: &Path, endpoint: String) -> Config {
    let mut config = config_on(data);
    config.feed.join_key_file = Some(control.join("join-key"));
    if endpoint.starts_with("https") {
        config.feed.ca = Some(data.path().join("ca.pem"));
    }
    config.feed.endpoints = vec![endpoint];
    config
}

/// How many gateways have acknowledged a change that was made just now.
async fn enforced_on(control: &Running, folder: &Path) -> (u16, Value) {
    let token = std::fs::read_to_string(folder.join("admin-token")).expect("there");
    let body = json!({"account": "main", "signal": "logs", "name": "probe"});
    let admin = control.ports.admin.expect("open");
    let path = "/tokens?wait=enforced&timeout_ms=5000";
    let (status, made) = world::admin(admin, token.trim(), Method::POST, path, body).await;
    (status, made["enforcement"]["enforced"].clone())
}

async fn are_joined(control: &Running, folder: &Path, count: u64) {
    eventually("that many gateways enforce a change", async || {
        enforced_on(control, folder).await == (201, json!(count))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_of_the_feed_are_served_after_a_reload_and_gateways_rejoin_by_new_ones() {
    let (data, first, second) = (TempDir::new(), TempDir::new(), TempDir::new());
    let (data, first, second) = (
        data.expect("made"),
        first.expect("made"),
        second.expect("made"),
    );
    let feed = free_port();
    let url = format!("https://localhost:{feed}");
    let folder = data.path().to_owned();
    let [one, two, three] = [papers(), papers(), papers()];
    write(&folder, &one);
    let control = app::start_control(control_config(&data, feed)).await;
    let control = control.expect("starts");

    trust(&first, &one);
    let config = gateway_config(&first, &folder, url.clone());
    let stays = app::start_gateway(config).await.expect("starts");
    are_joined(&control, &folder, 1).await;

    // What is no certificate changes nothing; a good one is for those who come now.
    std::fs::write(folder.join("feed.pem"), "junk").expect("written");
    control.reload();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    write(&folder, &two);
    control.reload();
    trust(&second, &two);
    let config = gateway_config(&second, &folder, url);
    let joins = app::start_gateway(config).await.expect("starts");
    are_joined(&control, &folder, 2).await;

    // The control plane comes back with papers that neither gateway knew when it started.
    control.shutdown().await;
    write(&folder, &three);
    trust(&first, &three);
    trust(&second, &three);
    let control = app::start_control(control_config(&data, feed)).await;
    let control = control.expect("starts again");
    are_joined(&control, &folder, 2).await;

    stays.shutdown().await;
    joins.shutdown().await;
    control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_kept_table_cannot_be_believed_is_not_ready_until_the_feed_is_heard() {
    let world = World::start().await;
    let (_, token) = world.token("main", "logs").await;
    let live = world.bulk().ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(live.status, 200, "{live:?}");
    let control = world.stop().await;

    let data = TempDir::new().expect("a folder");
    let (from, to) = (control.path().join("gateway"), data.path().join("gateway"));
    std::fs::rename(from, &to).expect("moved");
    let mut logs = 0;
    for file in std::fs::read_dir(to.join("directory")).expect("a folder") {
        let path = file.expect("a file").path();
        // What was acknowledged is lost.
        if path.extension().is_some_and(|it| it == "log") {
            std::fs::remove_file(path).expect("removed");
            logs += 1;
        }
    }
    assert!(logs > 0);
    let feed = free_port();
    let url = format!("http://127.0.0.1:{feed}");
    let config = gateway_config(&data, control.path(), url);
    let gateway = app::start_gateway(config).await.expect("starts");
    let operate = Sender::new(gateway.ports.operate.expect("open"));
    let bulk = Sender::new(gateway.ports.bulk.expect("open"));
    let ready = async || {
        let answer = operate.send(Method::GET, "/ready", &[], Vec::new()).await;
        let page: Value = serde_json::from_slice(&answer.body).expect("JSON");
        (answer.status, page)
    };
    let (status, page) = ready().await;
    assert_eq!(status, 503, "{page}");
    assert!(
        page["reasons"][0]
            .as_str()
            .is_some_and(|it| it.contains("damaged")),
        "{page}"
    );
    let shipped = bulk.ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(shipped.status, 503, "{shipped:?}");

    let mut config = config_on(&control);
    config.listen.feed = Some(([127, 0, 0, 1], feed).into());
    let plane = app::start_control(config).await.expect("starts");
    eventually("the gateway is ready", async || ready().await.0 == 200).await;
    let shipped = bulk.ship("/", &token, &[], bodies::lines(1)).await;
    assert_eq!(shipped.status, 200, "{shipped:?}");
    gateway.shutdown().await;
    plane.shutdown().await;
}
