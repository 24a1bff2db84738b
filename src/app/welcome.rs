//! What a first-time user reads: lines to paste. Tokens are read from their files, so that none is ever printed.

use std::fmt::Write as _;

use super::Ports;
use crate::{config::Config, control::FirstStart, model::Signal};

/// The text for standard output.
pub(super) fn text(first: &FirstStart, ports: &Ports, config: &Config) -> String {
    let mut text = String::new();
    let archive = config.data.join("gateway").join("archive");
    // Writing to a String can't fail.
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{line}");
    };
    line(format_args!(
        "\nWharfinger {} is serving account `main`{}. Paste to try:\n",
        env!("CARGO_PKG_VERSION"),
        if first.is_new { ", made just now" } else { "" }
    ));
    for (signal, file) in &first.tokens {
        let token = format!("$(cat {})", quoted(&file.display().to_string()));
        match (signal, ports.bulk, ports.otlp_http) {
            (Signal::Logs, Some(bulk), _) => line(format_args!(
                "  curl -i -H \"Authorization: Bearer {token}\" http://{bulk}/ --data-binary '{{\"message\":\"hello\"}}'"
            )),
            (Signal::Metrics, _, Some(otlp)) => line(format_args!(
                "  curl -i -H \"Authorization: Bearer {token}\" -H 'Content-Type: application/json' http://{otlp}/v1/metrics -d '{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"hello\",\"gauge\":{{\"dataPoints\":[{{\"asDouble\":1}}]}}}}]}}]}}]}}'"
            )),
            (Signal::Traces, _, Some(otlp)) => line(format_args!(
                "  curl -i -H \"Authorization: Bearer {token}\" -H 'Content-Type: application/json' http://{otlp}/v1/traces -d '{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"hello\"}}]}}]}}]}}'"
            )),
            _ => {}
        }
    }
    line(format_args!(
        "\nWhat arrives lies in {}/{}, a folder per signal.",
        archive.display(),
        first.account_id
    ));
    if let Some(admin) = ports.admin {
        line(format_args!(
            "Admin API: http://{admin}/api/v1 (token in {}), or `wharfinger token list`.",
            first.admin_token.display()
        ));
        if let Some(password) = &first.operator_password {
            line(format_args!(
                "People log in as `operator`; the first password is in {}.",
                password.display()
            ));
        }
    }
    if let Some(operate) = ports.operate {
        line(format_args!(
            "Operators: http://{operate}/metrics /ready /books\n"
        ));
    }
    text
}

/// A path as one word of a shell, inside double quotes.
fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if path.bytes().all(plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}
