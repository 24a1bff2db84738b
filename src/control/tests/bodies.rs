//! What a call's body may hold, and what an answer's must not.

use serde_json::{Value, json};

use super::{people::People, world::World};

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

#[tokio::test]
async fn fields_without_names_are_no_body_and_whole_numbers_may_have_a_point() {
    let world = World::new().await;
    for (method, path) in [
        ("PATCH", "/tokens/1"),
        ("PATCH", "/users/1"),
        ("POST", "/tokens/1/rotate"),
    ] {
        for row in [json!([null, null]), json!([null]), json!([])] {
            let (status, said) = world.call(method, path, row.clone()).await;
            assert_eq!(status, 400, "{path} {row}: {said}");
        }
    }
    for (seconds, status) in [("60.0", 201), ("60.5", 400), ("6e30", 400), ("-1.0", 400)] {
        let made = world.token("x").await;
        let path = format!("/tokens/{}/rotate", made["id"]);
        let body = format!("{{\"overlap_seconds\": {seconds}}}");
        let (answered, said) = send(&world, &path, body).await;
        assert_eq!(answered, status, "{seconds}: {said}");
    }
}

#[tokio::test]
async fn a_body_with_a_secret_in_it_is_an_object_whose_mistakes_are_not_repeated() {
    let world = World::new().await;
    let made = world.token("x").await;
    for (method, path, row) in [
        ("POST", "/leaks", json!([made["token"], null, false])),
        ("PATCH", "/users/1", json!([null, null])),
        ("POST", "/session", json!(["somebody", "a password"])),
    ] {
        let (status, said) = world.call(method, path, row).await;
        assert_eq!(status, 400, "{path}: {said}");
    }
    let digits = 9_876_543_210_123_456_u64;
    for (method, path, body) in [
        (
            "POST",
            "/tokens",
            json!({"account": 1, "signal": "logs", "name": "n", "token": digits}),
        ),
        ("POST", "/leaks", json!({"token": digits})),
        (
            "POST",
            "/users",
            json!({"name": "zoe", "role": "operator", "password": digits}),
        ),
        ("PATCH", "/users/1", json!({"password": digits})),
        (
            "POST",
            "/session",
            json!({"name": "zoe", "password": digits}),
        ),
        (
            "PATCH",
            "/session",
            json!({"password": "old", "new_password": digits}),
        ),
    ] {
        let (status, said) = world.call(method, path, body).await;
        assert_eq!(status, 400, "{path}: {said}");
        assert!(!said.to_string().contains(&digits.to_string()), "{said}");
    }
    // What is not there repeats nobody's word; a whole number may have a point here, too.
    let (_, said) = world.call("POST", "/tokens", json!({"account": 1})).await;
    assert!(
        said.to_string().contains("missing field `signal`"),
        "{said}"
    );
    let body = r#"{"account": 1.0, "signal": "logs", "name": "n"}"#;
    assert_eq!(send(&world, "/tokens", body.to_owned()).await.0, 201);
    assert_eq!(send(&world, "/tokens", String::new()).await.0, 400);
}

#[tokio::test]
async fn secret_headers_are_shown_by_name_alone_and_what_is_not_named_stays() {
    let world = World::new().await;
    let body = json!({"name": "sink", "kind": "http", "endpoints": ["http://a"]});
    world.ok("POST", "/destinations", body).await;
    for (change, names) in [
        (
            json!({"X-Api-Key": "geheim", "x-b": "2"}),
            json!(["X-Api-Key", "x-b"]),
        ),
        (
            json!({"x-api-key": "geheimer"}),
            json!(["x-b", "x-api-key"]),
        ),
        (json!({"X-B": null}), json!(["x-api-key"])),
        (json!({}), json!(["x-api-key"])),
    ] {
        let body = json!({"secret_headers": change});
        let patched = world.ok("PATCH", "/destinations/2", body).await;
        assert_eq!(patched["secret_headers"], names);
        assert!(!patched.to_string().contains("geheim"));
    }
    let store = &world.control.inner.store;
    let kept = store.destination(2).await.expect("there").destination;
    assert_eq!(kept.secret_headers[0].1.reveal(), "geheimer");
    let body = json!({"headers": [{"name": "X-Api-Key", "value": "geheim"}]});
    let (status, refused) = world.call("PATCH", "/destinations/2", body).await;
    assert_eq!(status, 400);
    assert!(refused.to_string().contains("secret_headers"), "{refused}");
    let body = json!({"secret_headers": null});
    let patched = world.ok("PATCH", "/destinations/2", body).await;
    assert_eq!(patched["secret_headers"], json!([]));
}

#[tokio::test]
async fn a_destinations_secrets_are_repeated_by_no_answer_whatever_they_are_written_as() {
    let world = World::new().await;
    let digits = "98765432101234";
    let number: Value = digits.parse().expect("a number");
    let point: Value = format!("{digits}.0").parse().expect("a number");
    let mut wrong = Vec::new();
    for value in [number, point, json!([digits]), json!({"value": digits})] {
        wrong.extend([
            json!({"secret_headers": {"X-Api-Key": value}}),
            json!({"credentials": {"kind": "bearer", "token": value}}),
            json!({"credentials": {"kind": "basic", "user": "u", "password": value}}),
            json!({"tls": {"client_key_pem": value}}),
        ]);
    }
    wrong.extend([
        json!({"secret_headers": digits}),
        json!({"secret_headers": [digits]}),
        json!({"credentials": digits}),
        json!({"credentials": {"kind": digits}}),
        json!({"credentials": {"kind": "bearer", "token": "t", "more": digits}}),
        json!({"credentials": {"kind": "bearer", digits: "t"}}),
        json!({"secret_headers": {"X-Api-Key": format!("{digits}\n")}}),
        json!({"credentials": {"kind": "bearer", "token": format!("{digits} ")}}),
        json!({"headers": [{"name": "X-Api-Key", "value": digits}]}),
        json!({"tls": {"client_key_pem": digits}}),
        json!({"tls": digits}),
    ]);
    let fields = json!({"name": "sink", "kind": "http", "endpoints": ["http://a"]});
    for body in wrong {
        let mut new = fields.clone();
        let (object, more) = (new.as_object_mut(), body.as_object().cloned());
        object.expect("an object").extend(more.expect("an object"));
        for (method, path, body) in [
            ("POST", "/destinations", new),
            ("PATCH", "/destinations/1", body),
        ] {
            let (status, said) = world.call(method, path, body.clone()).await;
            assert_eq!(status, 400, "{method} {body}: {said}");
            assert!(
                !said.to_string().contains(digits),
                "{method} {body}: {said}"
            );
        }
    }
    let mut good = fields;
    good["secret_headers"] = json!({"X-Api-Key": digits});
    good["credentials"] = json!({"kind": "basic", "user": "u", "password": digits});
    let made = world.ok("POST", "/destinations", good).await;
    assert_eq!(made["secret_headers"], json!(["X-Api-Key"]));
    let path = format!("/destinations/{}", made["id"]);
    let change = json!({"secret_headers": {"X-More": digits}});
    let changed = world.ok("PATCH", &path, change).await;
    let audit = world.ok("GET", "/audit", Value::Null).await;
    for said in [made, changed, audit] {
        assert!(!said.to_string().contains(digits), "{said}");
    }
}

#[tokio::test]
async fn a_mark_that_turns_the_direction_of_text_stands_in_no_name() {
    let world = World::new().await;
    for mark in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
        let name = format!("acme{mark}moc");
        for (method, path, body) in [
            ("POST", "/accounts", json!({"name": name})),
            (
                "POST",
                "/tokens",
                json!({"account": 1, "signal": "logs", "name": name}),
            ),
            (
                "POST",
                "/destinations",
                json!({"name": name, "kind": "archive"}),
            ),
            (
                "POST",
                "/api-tokens",
                json!({"name": name, "scopes": ["read"]}),
            ),
            ("PATCH", "/tokens/1", json!({"description": name})),
            (
                "PATCH",
                "/accounts/1",
                json!({"reason": name, "state": "suspended"}),
            ),
        ] {
            let (status, said) = world.call(method, path, body).await;
            assert_eq!(status, 400, "{path} {:x}: {said}", u32::from(mark));
        }
    }
    // Letters of any direction may.
    let body = json!({"name": "\u{5d0}\u{5d1} acme"});
    assert_eq!(world.call("POST", "/accounts", body).await.0, 201);
}

/// A token that Wharfinger has made, and one of somebody else.
const PASTED: [&str; 2] = [
    "whf_s_0123456789abcdefghijABCDEFGHIJ0123456789",
    "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEf",
];

#[tokio::test]
async fn a_token_that_was_pasted_into_the_wrong_place_does_not_come_back() {
    let world = World::new().await;
    let new = |field: &str, value: Value| {
        let mut body = json!({"account": 1, "signal": "logs", "name": "n"});
        body[field] = value;
        body
    };
    for token in PASTED {
        for (method, path, body) in [
            ("POST", "/tokens", new("sources", json!([token]))),
            (
                "POST",
                "/tokens",
                new("sources", json!(["10.0.0.0/8", token])),
            ),
            ("POST", "/tokens", new("expires_at", json!(token))),
            ("POST", "/tokens", new("expires_in_seconds", json!(token))),
            ("POST", "/tokens", new(token, json!(1))),
            ("PATCH", "/tokens/1", json!({"sources": [token]})),
            ("PATCH", "/tokens/1", json!({"expires_at": token})),
            (
                "PATCH",
                "/tokens/1",
                json!({"rates": {"items_burst": token}}),
            ),
            ("PATCH", "/tokens/1", json!({"name": [token]})),
            ("PATCH", "/tokens/1", json!({ token: 1 })),
            (
                "POST",
                "/tokens/1/rotate",
                json!({"overlap_seconds": token}),
            ),
            ("POST", "/tokens/1/reveal", json!({ token: 1 })),
            (
                "POST",
                "/api-tokens",
                json!({"name": "n", "scopes": [token], "expires_at": null}),
            ),
            (
                "POST",
                "/api-tokens",
                json!({"name": "n", "scopes": ["read"], "expires_at": token}),
            ),
            ("PATCH", "/accounts/1", json!({"limits": {token: 1}})),
        ] {
            let (status, said) = world.call(method, path, body.clone()).await;
            assert_eq!(status, 400, "{method} {path} {body}: {said}");
            assert!(!said.to_string().contains(token), "{body}: {said}");
        }
        for query in [
            format!("{token}=1"),
            format!("limit={token}"),
            format!("after={token}"),
            format!("state={token}"),
            token.to_owned(),
        ] {
            let path = format!("/tokens?{query}");
            let (status, said) = world.call("GET", &path, Value::Null).await;
            assert_eq!(status, 400, "{query}: {said}");
            assert!(!said.to_string().contains(token), "{query}: {said}");
        }
        let path = format!("/tokens/1/disable?wait={token}");
        let (status, said) = world.call("POST", &path, Value::Null).await;
        assert_eq!(status, 400, "{said}");
        assert!(!said.to_string().contains(token), "{said}");
        assert!(said.to_string().contains("enforced"), "{said}");
    }
}

#[tokio::test]
async fn a_token_in_the_place_of_a_name_does_not_come_back_to_anybody() {
    let people = People::new().await;
    let main = people.account("acme", "unlimited").await;
    let sub = people.sub_account("acme-eu", main, true).await;
    let scopes = ["read", "tokens", "accounts"];
    let (_, tenant) = people.api_token(Some(main), &scopes).await;
    let account = format!("/accounts/{sub}");
    for token in PASTED {
        let sink = |more: Value| {
            let mut body = json!({"name": "sink", "kind": "http", "endpoints": ["http://a"]});
            let more = more.as_object().expect("an object").clone();
            body.as_object_mut().expect("an object").extend(more);
            body
        };
        let header = |name: &str, value: &str| {
            let twice = [
                json!({"name": name, "value": value}),
                json!({"name": name, "value": value}),
            ];
            ("POST", "/destinations", sink(json!({"headers": twice})))
        };
        let gateway = format!("/gateways/{token}");
        let lists = ["account", "parent"].map(|field| format!("{field}={token}"));
        let [of, under] = &lists;
        let lists = [
            format!("/tokens?{of}"),
            format!("/api-tokens?{of}"),
            format!("/users?{of}"),
            format!("/accounts?{under}"),
        ];
        let mut calls = vec![
            (
                "PATCH",
                account.as_str(),
                json!({"inherit": ["logs", token]}),
            ),
            ("PATCH", &account, json!({"destinations": {"logs": token}})),
            (
                "POST",
                "/tokens",
                json!({"account": token, "signal": "logs", "name": "n"}),
            ),
            (
                "POST",
                "/tokens",
                json!({"account": sub, "signal": token, "name": "n"}),
            ),
            ("POST", "/accounts", json!({"name": "n", "parent": token})),
            ("POST", "/accounts", json!({"name": "n", "plan": token})),
            (
                "POST",
                "/users",
                json!({"name": "n", "role": "reader", "account": token, "password": "correct horse battery"}),
            ),
            (
                "POST",
                "/api-tokens",
                json!({"name": "n", "scopes": ["read"], "account": token}),
            ),
            ("DELETE", &gateway, Value::Null),
            header(token, "x"),
            header(token, "{"),
            header(token, "a\nb"),
            header(&format!("{token} "), "x"),
            header(&format!("grpc-{token}"), "x"),
            header(&format!("x-api-key-{token}-token"), "x"),
            (
                "POST",
                "/destinations",
                sink(json!({"secret_headers": {token: "a\nb"}})),
            ),
        ];
        calls.extend(lists.iter().map(|path| ("GET", path.as_str(), Value::Null)));
        for (method, path, body) in calls {
            for hand in [&people.operator(), &tenant] {
                let (status, said) = people.call(hand, method, path, &body).await;
                let call = format!("{method} {path} {body}: {status} {said}");
                assert!((400..500).contains(&status), "{call}");
                assert!(said["detail"].is_string(), "{call}");
                // Names of headers come back in small letters.
                let said = said.to_string().to_lowercase();
                assert!(!said.contains(&token.to_lowercase()), "{call}");
            }
        }
    }
    for (method, path, body, words) in [
        (
            "PATCH",
            account.as_str(),
            json!({"inherit": ["logs", "colour"]}),
            "inherit[1] is neither a signal nor a limit",
        ),
        (
            "PATCH",
            &account,
            json!({"destinations": {"logs": "sink"}}),
            "there is no destination named \"sink\"",
        ),
        (
            "GET",
            "/tokens?account=acne",
            Value::Null,
            "there is no account named \"acne\"",
        ),
        (
            "DELETE",
            "/gateways/gw-1",
            Value::Null,
            "there is no gateway named \"gw-1\"",
        ),
    ] {
        let (_, said) = people.call(&people.operator(), method, path, &body).await;
        assert_eq!(said["detail"], words, "{method} {path}");
    }
}

#[tokio::test]
async fn a_mistyped_name_is_said_again_and_so_is_which_field_is_wrong() {
    let world = World::new().await;
    for (method, path, body, words) in [
        (
            "PATCH",
            "/tokens/1",
            json!({"expires": 1}),
            &["unknown field `expires`", "`expires_at`"][..],
        ),
        (
            "PATCH",
            "/tokens/1",
            json!({"name": 5}),
            &["invalid type: integer", "expected a string", "column"],
        ),
        (
            "PATCH",
            "/tokens/1",
            json!({"sources": ["10.0.0.0/8", "10.0.0.0/33"]}),
            &["sources[1] is not a network"],
        ),
        (
            "POST",
            "/tokens/1/reveal",
            json!({"until": 5}),
            &["no field \\\"until\\\""],
        ),
        (
            "GET",
            "/tokens?colour=red",
            Value::Null,
            &["unknown field `colour`", "`account`"],
        ),
        (
            "GET",
            "/tokens?limit=many",
            Value::Null,
            &["limit: invalid digit"],
        ),
    ] {
        let (status, said) = world.call(method, path, body).await;
        assert_eq!(status, 400, "{path}: {said}");
        for word in words {
            assert!(said.to_string().contains(word), "{word}: {said}");
        }
    }
}
