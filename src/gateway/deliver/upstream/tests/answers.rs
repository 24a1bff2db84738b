//! What a destination's answer is believed to say, and what it is not.

use super::{
    server::{answer, serve},
    *,
};

fn ten_lines() -> Payload {
    let mut payload = payload(Content::Lines, Signal::Logs, &b"{\"a\":1}\n".repeat(10));
    let counted = LineCounts {
        good: Tally::new(10, 80),
        malformed: Tally::new(1, 5),
        ..LineCounts::default()
    };
    payload.counts = Counts::Lines(counted);
    payload
}

async fn answered(status: u16, body: &'static str) -> Result<Delivery, Rejection> {
    let server = serve(move |_| answer(status, "", body)).await;
    let to = destination(DestinationKind::Http, &[&server.url]);
    send_once(to, &ten_lines()).await
}

#[test]
fn a_partial_success_behind_the_ceiling_is_no_full_success() {
    run(async {
        let body = format!(
            r#"{{"partialSuccess":{{"errorMessage":"{}","rejectedLogRecords":"1"}}}}"#,
            "x".repeat(Config::default().answer_bytes_max)
        );
        let server = serve(move |_| answer(200, "content-type: application/json\r\n", &body)).await;
        let to = destination(DestinationKind::OtlpHttp, &[&server.url]);
        let sent = send_once(to, &otlp()).await;
        assert_eq!(why(sent), "destination's answer is too long");
    });
}

#[test]
fn lines_that_a_destination_took_beside_bad_ones_are_delivered() {
    run(async {
        let told =
            r#"{"malformedLines":2,"successfulLines":7,"oversizedLines":0,"emptyLogLines":1}"#;
        let delivery = answered(400, told).await.unwrap();
        assert_eq!(delivery.refused_items, 3);
        let expected = LineCounts {
            good: Tally::new(7, 56),
            malformed: Tally::new(3, 21),
            oversized: Tally::default(),
            empty: Tally::new(1, 8),
        };
        assert_eq!(delivery.lines, Some(expected));
    });
}

#[test]
fn counters_that_do_not_add_up_or_took_nothing_are_a_refusal_of_all() {
    run(async {
        for (status, told) in [
            (400, r#"{"malformedLines":2,"successfulLines":7}"#),
            (400, r#"{"malformedLines":10,"successfulLines":0}"#),
            (400, r#"{"malformedLines":-1,"successfulLines":11}"#),
            (
                400,
                r#"{"malformedLines":18446744073709551615,"successfulLines":11}"#,
            ),
            (422, r#"{"malformedLines":2,"successfulLines":8}"#),
            (400, "no"),
        ] {
            match answered(status, told).await {
                Err(Rejection::DestinationRefused {
                    lines: Some(lines), ..
                }) => {
                    assert_eq!(lines.good.items, 0, "{told}");
                    assert_eq!(lines.malformed.items, 11, "{told}");
                }
                other => panic!("{told}: {other:?}"),
            }
        }
    });
}

#[test]
fn a_destination_that_only_validates_has_taken_nothing_and_is_not_asked_to() {
    run(async {
        let mut to = destination(DestinationKind::Http, &["http://127.0.0.1:1"]);
        to.headers = vec![("X-Validate".into(), "true".into())];
        setup(send_once(to, &ten_lines()).await);
        let took = r#"{"malformedLines":1,"successfulLines":9}"#;
        for (code, body) in [(200, ""), (204, ""), (400, took)] {
            let server = serve(move |_| answer(code, "x-validated-items: 9\r\n", body)).await;
            let to = destination(DestinationKind::Http, &[&server.url]);
            let why = setup(send_once(to, &ten_lines()).await);
            assert_eq!(
                why,
                "destination sink validates what it is sent, and keeps none of it"
            );
        }
    });
}
