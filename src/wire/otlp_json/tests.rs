//! OTLP in JSON: counted and checked while it streams.

use super::*;

fn scan(signal: Signal, body: &str) -> Result<u64, Fault> {
    let mut scan = Scan::new(signal);
    scan.push(body.as_bytes())?;
    scan.finish()
}

#[test]
fn items_are_counted_at_their_place_only() {
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"logRecords":[{},{}]},{}]},{"logRecords":[{}]}]}],"logRecords":[{}]}"#;
    assert_eq!(scan(Signal::Logs, logs), Ok(3));
    assert_eq!(scan(Signal::Traces, logs), Ok(0));
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"gauge":{"dataPoints":[{},{}]}},{"sum":{"dataPoints":[{}]}},{"histogram":{"dataPoints":[{}]}},
        {"exponentialHistogram":{"dataPoints":[{}]}},{"summary":{"dataPoints":[{}]}},{"other":{"dataPoints":[{}]}}]}]}]}"#;
    assert_eq!(scan(Signal::Metrics, metrics), Ok(6));
}

#[test]
fn an_escaped_name_is_the_name() {
    let logs = r#"{"resource\u004cogs":[{"scopeLogs":[{"\u006cogRecords":[{}]}]}]}"#;
    assert_eq!(scan(Signal::Logs, logs), Ok(1));
    let longer = format!(r#"{{"resourceLogs{}":7}}"#, "x".repeat(100));
    assert_eq!(scan(Signal::Logs, &longer), Ok(0));
}

#[test]
fn a_known_field_of_another_type_is_malformed_and_null_is_absent() {
    let bodies = [
        "[]",
        "null",
        "7",
        "",
        "{",
        r#"{"resourceLogs":{}}"#,
        r#"{"resourceLogs":7}"#,
        r#"{"resourceLogs":[7]}"#,
        r#"{"resourceLogs":[null]}"#,
        r#"{"resourceLogs":[[]]}"#,
        r#"{"resourceLogs":[{"scopeLogs":"x"}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[null]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[[]]}]}]}"#,
        r#"{"resourceLogs":[]} {}"#,
    ];
    for body in bodies {
        assert!(
            matches!(scan(Signal::Logs, body), Err(Fault::Malformed(_))),
            "{body}"
        );
    }
    let absent = r#"{"resourceLogs":[{"scopeLogs":null,"resource":null,"schemaUrl":7}]}"#;
    assert_eq!(scan(Signal::Logs, absent), Ok(0));
    assert_eq!(scan(Signal::Logs, "{}"), Ok(0));
}

#[test]
fn too_many_elements_are_refused_wherever_they_stand() {
    let four_mib = 4 << 20;
    for element in ["{},", "[],", "0,"] {
        for (before, after) in [
            (r#"{"x":["#, "]}"),
            (
                r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":["#,
                "]}]}]}]}",
            ),
        ] {
            let elements = element.repeat(four_mib / element.len());
            let body = format!("{before}{}{after}", elements.trim_end_matches(','));
            assert_eq!(
                scan(Signal::Logs, &body),
                malformed("too many elements"),
                "{element}"
            );
        }
    }
}
