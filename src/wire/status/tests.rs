//! Checked against messages that prost decodes.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, trace::v1::ExportTraceServiceResponse,
};
use proptest::prelude::*;
use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

proptest! {
    #[test]
    fn a_status_is_what_prost_reads_and_reads_back(
        number in 0usize..17,
        message in any::<String>(),
        retry in proptest::option::of((0u64..1 << 40, 0u32..1_000_000_000)),
    ) {
        let code = Code::ALL[number];
        let retry = retry.map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let wire = status_protobuf(code, &message, retry);
        let read = RpcStatus::decode(wire.as_slice()).unwrap();
        prop_assert_eq!(read.code, i32::from(code.number()));
        prop_assert_eq!(&read.message, &message);
        prop_assert_eq!(read.details.len(), usize::from(retry.is_some()));
        for detail in &read.details {
            prop_assert_eq!(detail.type_url.as_str(), "type.googleapis.com/google.rpc.RetryInfo");
            let delay = RetryInfo::decode(detail.value.as_slice()).unwrap().retry_delay.unwrap();
            let delay = Duration::new(delay.seconds.cast_unsigned(), delay.nanos.cast_unsigned());
            prop_assert_eq!(Some(delay), retry);
        }
        let expected = Status { code: u32::from(code.number()), message: message.clone(), retry };
        prop_assert_eq!(parse_status_protobuf(&wire), Some(expected.clone()));
        let details = status_details(code, &message, retry);
        prop_assert_eq!(parse_status_details(details.as_bytes()), Some(expected));
    }

    #[test]
    fn readers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse_status_protobuf(&bytes);
        parse_status_details(&bytes);
        parse_status_json(&bytes);
        parse_partial_success_protobuf(&bytes);
        parse_partial_success_json(Signal::Logs, &bytes);
    }

    #[test]
    fn a_status_cut_anywhere_loses_its_retry(cut in 0usize..60) {
        let whole = status_protobuf(Code::Unavailable, "come back", Some(Duration::from_secs(300)));
        if let Some(status) = parse_status_protobuf(&whole[..cut.min(whole.len() - 1)]) {
            prop_assert_eq!(status.retry, None);
        }
    }

    #[test]
    fn partial_success_goes_both_ways(
        rejected in 0..u64::MAX / 2,
        message in any::<String>(),
        signal in 0usize..3,
    ) {
        let signal = Signal::ALL[signal];
        let expected = (rejected != 0 || !message.is_empty()).then(|| (rejected, message.clone()));
        let wire = partial_success_protobuf(rejected, &message);
        prop_assert_eq!(wire.is_empty(), expected.is_none());
        prop_assert_eq!(parse_partial_success_protobuf(&wire), expected.clone());
        let partial = ExportTraceServiceResponse::decode(wire.as_slice()).unwrap().partial_success;
        let partial = partial.map(|partial| (partial.rejected_spans.cast_unsigned(), partial.error_message));
        prop_assert_eq!(&partial, &expected);
        let text = partial_success_json(signal, rejected, &message);
        prop_assert_eq!(parse_partial_success_json(signal, &text), expected);
    }
}

#[test]
fn a_status_in_json_reads_as_google_writes_it() {
    let retry = Some(Duration::from_millis(1_500));
    let text = status_json(Code::ResourceExhausted, "too \"much\"", retry);
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["code"], 8);
    assert_eq!(value["message"], "too \"much\"");
    assert_eq!(value["details"][0]["retryDelay"], "1.500s");
    assert_eq!(parse_status_json(&text).unwrap().retry, retry);
    assert_eq!(
        String::from_utf8(status_json(Code::Unavailable, "", None)).unwrap(),
        r#"{"code":14,"message":""}"#
    );
}

#[test]
fn json_members_of_a_wrong_type_are_skipped() {
    let odd = br#"{"code":"13","message":[1],"details":[{"@type":7},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"-1s"}],"more":{}}"#;
    let expected = Status {
        code: 13,
        ..Status::default()
    };
    assert_eq!(parse_status_json(odd), Some(expected));
    assert_eq!(parse_status_json(b"[]x"), None);
}

#[test]
fn partial_success_of_other_writers_is_read() {
    let mut response = ExportLogsServiceResponse::default();
    let parse = |response: &ExportLogsServiceResponse| {
        parse_partial_success_protobuf(&response.encode_to_vec())
    };
    assert_eq!(parse(&response), None);
    response.partial_success = Some(Default::default());
    assert_eq!(parse(&response), None);
    response
        .partial_success
        .as_mut()
        .unwrap()
        .rejected_log_records = -1;
    assert_eq!(parse(&response), None);
    let snake = br#"{"partial_success":{"rejected_spans":3,"error_message":"old"}}"#;
    assert_eq!(
        parse_partial_success_json(Signal::Traces, snake),
        Some((3, "old".to_owned()))
    );
    assert_eq!(
        partial_success_json(Signal::Logs, 2, ""),
        br#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#
    );
    assert_eq!(partial_success_json(Signal::Logs, 0, ""), b"{}");
}

#[test]
fn a_varint_of_eleven_bytes_and_a_length_past_the_end_are_refused() {
    let mut endless = vec![0x08];
    endless.extend([0xFF; 10]);
    endless.push(1);
    assert_eq!(parse_status_protobuf(&endless), None);
    let mut lying = vec![0x12];
    put_varint(&mut lying, u64::MAX);
    assert_eq!(parse_status_protobuf(&lying), None);
}
