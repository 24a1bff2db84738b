//! A world with a recorder behind its account.

use http::Method;
use serde_json::{Value, json};

use crate::{
    table::{At, Seen},
    world::{Recorder, World, recorder::Script},
};

/// A world, a recorder behind account `acme`, and its tokens for logs and metrics.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) recorder: Recorder,
    pub(crate) account: u64,
    pub(crate) tokens: [(u64, String); 2],
}

impl Stage {
    pub(crate) async fn set(kind: &str) -> Self {
        let world = World::start().await;
        Self::set_in(world, kind).await
    }

    pub(crate) async fn set_in(world: World, kind: &str) -> Self {
        let recorder = Recorder::start().await;
        world.destination("there", kind, &recorder.url()).await;
        let account = world.account("acme", "there").await;
        let tokens = [
            world.token("acme", "logs").await,
            world.token("acme", "metrics").await,
        ];
        Self {
            world,
            recorder,
            account,
            tokens,
        }
    }

    pub(crate) fn token(&self, at: At) -> &str {
        &self.tokens[usize::from(at.signal() == "metrics")].1
    }

    pub(crate) fn token_id(&self, at: At) -> u64 {
        self.tokens[usize::from(at.signal() == "metrics")].0
    }

    pub(crate) async fn ship(&self, at: At) -> Seen {
        at.ship(&self.world, Some(self.token(at)), at.body()).await
    }

    pub(crate) async fn limits(&self, limits: Value) {
        let path = format!("/accounts/{}?wait=enforced", self.account);
        self.world
            .must(Method::PATCH, &path, json!({ "limits": limits }))
            .await;
    }

    /// What the recorder answers so that an honest 2.0 receiver is behind it.
    pub(crate) fn accept(&self, at: At) {
        let script = Script::status(if at == At::Write2 { 204 } else { 200 });
        self.recorder.answer(with_written(script, 3));
    }
}

pub(crate) fn with_written(script: Script, samples: u64) -> Script {
    script
        .header(
            "x-prometheus-remote-write-samples-written",
            &samples.to_string(),
        )
        .header("x-prometheus-remote-write-histograms-written", "0")
        .header("x-prometheus-remote-write-exemplars-written", "0")
}
