//! Log shipping tokens are tokens for logs.

use serde_json::{Value, json};

use super::{Shop, TOKENS, id};

#[tokio::test]
async fn a_token_for_another_signal_is_no_log_shipping_token() {
    let shop = Shop::new("pro").await;
    let mut ids = Vec::new();
    for signal in ["logs", "metrics", "traces"] {
        let body = json!({"account": shop.account, "signal": signal, "name": signal});
        ids.push(id(&shop
            .people
            .operate("POST", "/tokens", body.clone())
            .await));
        // Another one, so that none is the last.
        shop.people.operate("POST", "/tokens", body).await;
    }
    for token in &ids[1..] {
        let path = format!("{TOKENS}/{token}");
        for (method, body) in [
            ("GET", Value::Null),
            ("PUT", json!({"name": "other", "enabled": false})),
            ("DELETE", Value::Null),
        ] {
            let (status, answer) = shop.call(method, &path, body).await;
            assert_eq!(status, 404, "{method}: {answer}");
            let why = format!("there is no log shipping token {token}");
            assert_eq!(answer["message"], why, "{method}");
        }
        let path = format!("/tokens/{token}");
        let shown = shop.people.operate("GET", &path, Value::Null).await;
        assert_eq!(shown["state"], "live");
        assert_ne!(shown["name"], "other");
    }
    let path = format!("{TOKENS}/{}", ids[0]);
    shop.ok("GET", &path, Value::Null).await;
    shop.ok("DELETE", &path, Value::Null).await;
}
