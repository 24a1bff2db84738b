//! Tokens that an account's own people give: of another account's they are told nothing that they could ask again and again.

use serde_json::{Value, json};

use super::people::{Hand, People};
use crate::model::TokenKind;

const ALL: [&str; 3] = ["read", "tokens", "accounts"];

fn theirs(n: u32) -> String {
    format!("a-token-of-others-{n:04}")
}

async fn give(people: &People, hand: &Hand, account: u64, token: &str) -> (u16, Value) {
    let body = json!({"account": account, "signal": "logs", "name": "given", "token": token});
    people.call(hand, "POST", "/tokens", &body).await
}

async fn import(people: &People, hand: &Hand, account: u64, tokens: &[String]) -> (u16, Value) {
    let Hand::Token(secret) = hand else {
        panic!("a token");
    };
    let path = format!("/tokens/import?account={account}&signal=logs");
    let mut request = people.world.request("POST", &path, tokens.join("\n"));
    let bearer = format!("Bearer {secret}").parse().expect("ASCII");
    request.headers_mut().insert("authorization", bearer);
    let (status, _, answer) = people.world.raw(request).await;
    let answer = serde_json::from_slice(&answer).expect("JSON");
    (status.as_u16(), answer)
}

/// An account with people of its own, beside one whose tokens are known to somebody.
struct Neighbours {
    people: People,
    acme: u64,
    hand: Hand,
    other: u64,
}

impl Neighbours {
    async fn new(plan: &str) -> Self {
        let people = People::new().await;
        let acme = people.account("acme", plan).await;
        let other = people.account("other", "unlimited").await;
        let (_, hand) = people.api_token(Some(acme), &ALL).await;
        let (_, owner) = people.api_token(Some(other), &["tokens"]).await;
        let tokens: Vec<_> = (0..20).map(theirs).collect();
        let (_, done) = import(&people, &owner, other, &tokens).await;
        assert_eq!(done["made"], 20, "{done}");
        Self {
            people,
            acme,
            hand,
            other,
        }
    }
}

#[tokio::test]
async fn a_token_of_our_own_form_is_refused_alike_whether_somebody_has_it_or_not() {
    let Neighbours {
        people,
        acme,
        hand,
        other,
    } = Neighbours::new("unlimited").await;
    let body = json!({"account": other, "signal": "logs", "name": "minted"});
    let minted = people.operate("POST", "/tokens", body).await;
    let minted = minted["token"].as_str().expect("text").to_owned();
    let nobodys = TokenKind::Shipping.mint(|bytes| bytes.fill(9));
    let nobodys = nobodys.reveal().to_owned();
    let told = give(&people, &hand, acme, &minted).await;
    assert_eq!(told.0, 409);
    assert_eq!(give(&people, &hand, acme, &nobodys).await, told);
    let (_, done) = import(&people, &hand, acme, &[minted.clone(), nobodys.clone()]).await;
    let reasons = &done["refusals"];
    assert_eq!(
        (&done["refused"], &reasons[0]["reason"]),
        (&json!(2), &reasons[1]["reason"])
    );
    // However often, so that being stopped tells nothing either.
    for _ in 0..30 {
        assert_eq!(give(&people, &hand, acme, &minted).await, told);
    }
    // What is theirs they may know, and operators may know everything.
    let body = json!({"account": acme, "signal": "logs", "name": "ours"});
    let ours = people.operate("POST", "/tokens", body).await;
    let ours = ours["token"].as_str().expect("text").to_owned();
    let (status, said) = give(&people, &hand, acme, &ours).await;
    assert!(
        status == 409 && said.to_string().contains("already"),
        "{said}"
    );
    let (_, done) = import(&people, &hand, acme, &[ours]).await;
    assert_eq!(done["known"], 1);
    let (status, said) = give(&people, &people.operator(), acme, &minted).await;
    assert!(
        status == 409 && said.to_string().contains("already"),
        "{said}"
    );
    assert_eq!(
        give(&people, &people.operator(), acme, &nobodys).await.0,
        201
    );
}

#[tokio::test]
async fn another_accounts_token_is_refused_without_a_word_of_it_and_on_record() {
    let Neighbours {
        people,
        acme,
        hand,
        other,
    } = Neighbours::new("unlimited").await;
    let (status, said) = give(&people, &hand, acme, &theirs(1)).await;
    assert_eq!(status, 409);
    let (_, done) = import(
        &people,
        &hand,
        acme,
        &[theirs(2), "a-token-of-nobodys".to_owned()],
    )
    .await;
    assert_eq!([&done["made"], &done["refused"]], [&json!(1), &json!(1)]);
    let path = "/audit?action=token.withheld";
    let records = people.operate("GET", path, Value::Null).await;
    let items = records["items"].as_array().expect("a list");
    assert_eq!(items.len(), 2, "{records}");
    for record in items {
        assert_eq!(record["subject"], format!("account/{acme}"));
    }
    for told in [&said, &done, &records] {
        let told = told.to_string();
        for word in [
            "already",
            "another account",
            "other",
            &theirs(1),
            &theirs(2),
        ] {
            assert!(
                !told.replace("another one", "").contains(word),
                "{word}: {told}"
            );
        }
    }
    // A main account's people reach a sub-account's, and are told as before.
    let sub = people.sub_account("acme-eu", acme, true).await;
    assert_eq!(give(&people, &hand, sub, "a-token-of-the-sub").await.0, 201);
    let (_, said) = give(&people, &hand, acme, "a-token-of-the-sub").await;
    assert!(said.to_string().contains("already"), "{said}");
    let path = format!("/accounts/{sub}");
    people
        .operate("PATCH", &path, json!({"accessible": false}))
        .await;
    let (status, said) = give(&people, &hand, acme, "a-token-of-the-sub").await;
    assert!(
        status == 409 && !said.to_string().contains("already"),
        "{said}"
    );
    assert_eq!(
        people
            .operate("GET", &format!("/tokens?account={other}"), Value::Null)
            .await["items"]
            .as_array()
            .map(Vec::len),
        Some(20)
    );
}

#[tokio::test]
async fn a_full_plan_is_no_way_to_ask_for_nothing() {
    let Neighbours {
        people, acme, hand, ..
    } = Neighbours::new("pro").await;
    for n in 0..15 {
        people.shipping_token(acme, &format!("t{n}")).await;
    }
    let told = give(&people, &hand, acme, &theirs(1)).await;
    assert_eq!(told.0, 409);
    assert_eq!(give(&people, &hand, acme, "a-token-of-nobodys").await, told);
    let tokens = [theirs(1), "a-token-of-nobodys".to_owned()];
    let (_, done) = import(&people, &hand, acme, &tokens).await;
    let reasons = &done["refusals"];
    assert_eq!(
        (&done["refused"], &reasons[0]["reason"]),
        (&json!(2), &reasons[1]["reason"])
    );
}

#[tokio::test]
async fn whoever_gives_tokens_of_others_hears_of_a_few_and_is_stopped() {
    let Neighbours {
        people,
        acme,
        hand,
        other,
    } = Neighbours::new("unlimited").await;
    let sub = people.sub_account("acme-eu", acme, true).await;
    let (_, of_sub) = people.api_token(Some(sub), &ALL).await;
    // All at once they are told of none.
    let mut many: Vec<_> = (0..11).map(theirs).collect();
    many.push("a-token-of-nobodys".to_owned());
    assert_eq!(import(&people, &hand, acme, &many).await.0, 429);
    for (hand, account) in [(&hand, acme), (&of_sub, sub)] {
        // Good ones are refused, too: else that would tell.
        for token in [theirs(1), "a-token-of-nobodys".to_owned()] {
            assert_eq!(give(&people, hand, account, &token).await.0, 429);
            assert_eq!(import(&people, hand, account, &[token]).await.0, 429);
        }
        let made = people.shipping_token(account, "made here").await;
        assert!(made > 20);
    }
    // Neither their neighbours nor operators are held up.
    let (_, owner) = people.api_token(Some(other), &["tokens"]).await;
    let (_, done) = import(&people, &owner, other, &[theirs(1)]).await;
    assert_eq!(done["known"], 1);
    let operator = people.operator();
    assert_eq!(
        give(&people, &operator, acme, "a-token-of-nobodys").await.0,
        201
    );
}

#[tokio::test]
async fn one_by_one_they_hear_of_ten() {
    let Neighbours {
        people, acme, hand, ..
    } = Neighbours::new("unlimited").await;
    for n in 0..10 {
        assert_eq!(give(&people, &hand, acme, &theirs(n)).await.0, 409, "{n}");
    }
    assert_eq!(give(&people, &hand, acme, &theirs(10)).await.0, 429);
    assert_eq!(
        give(&people, &hand, acme, "a-token-of-nobodys").await.0,
        429
    );
}
