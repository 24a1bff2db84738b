//! What a destination's answer is believed to say, and what it is not.

use super::{
    server::{answer, serve},
    *,
};

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
