//! What a first-time user reads: lines to paste. Tokens are read from their files, so that none is ever printed.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::Ports;
use crate::{
    config::Config,
    control::FirstStart,
    model::{Account, AccountState, Signal},
};

/// The text for standard output; whole paths, because it is read in another terminal than the one that serves.
pub(super) fn text(
    first: &FirstStart,
    ports: &Ports,
    config: &Config,
    has_gateway: bool,
) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![String::new()];
    match &first.account {
        Some(account) if has_gateway => {
            let made = if first.is_new { ", made just now" } else { "" };
            lines.push(format!(
                "Wharfinger {version} is serving account `{}`{made}.{}",
                account.name,
                of_account(account, first, ports)
            ));
            lines.extend(archive(account, first, config));
        }
        _ if has_gateway => lines.push(format!("Wharfinger {version} is serving.")),
        _ => {
            lines.push(format!("Wharfinger {version} is the control plane."));
            if let Some(feed) = ports.feed {
                lines.push(format!(
                    "Gateways follow it at {feed} with the key in {}.",
                    whole(&first.join_key).display()
                ));
            }
        }
    }
    if let Some(admin) = ports.admin {
        let file = whole(&first.admin_token);
        lines.push(format!(
            "Admin API: http://{admin}/api/v1 (token in {}), or\n  wharfinger token list --url http://{admin} --admin-token-file {}",
            file.display(),
            quoted(&file)
        ));
        if let Some(password) = &first.operator_password {
            lines.push(format!(
                "People log in as `operator`; the first password is in {}.",
                whole(password).display()
            ));
        }
    }
    if let Some(operate) = ports.operate {
        lines.push(format!("Operators: http://{operate}/metrics /ready /books"));
    }
    lines.push(String::new());
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// Lines to paste where one would be let in, else why there are none.
fn of_account(account: &Account, first: &FirstStart, ports: &Ports) -> String {
    if account.state == AccountState::Suspended {
        return " It is suspended: its tokens open nothing.".to_owned();
    }
    let mut text = String::new();
    for (signal, file) in &first.tokens {
        if let Some(line) = curl(*signal, &whole(file), ports) {
            // Writing to a String can't fail.
            let _ = write!(text, "\n  {line}");
        }
    }
    if text.is_empty() {
        return format!(
            " None of its first tokens is live here; for a new one:\n  wharfinger token create --account {} --signal logs --name NAME",
            account.id
        );
    }
    format!(" Paste to try:\n{text}\n")
}

fn curl(signal: Signal, file: &Path, ports: &Ports) -> Option<String> {
    let token = format!("-H \"Authorization: Bearer $(cat {})\"", quoted(file));
    let json = "-H 'Content-Type: application/json'";
    Some(match signal {
        Signal::Logs => format!(
            "curl -i {token} http://{}/ --data-binary '{{\"message\":\"hello\"}}'",
            ports.bulk?
        ),
        Signal::Metrics => format!(
            "curl -i {token} {json} http://{}/v1/metrics -d '{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"hello\",\"gauge\":{{\"dataPoints\":[{{\"asDouble\":1}}]}}}}]}}]}}]}}'",
            ports.otlp_http?
        ),
        Signal::Traces => format!(
            "curl -i {token} {json} http://{}/v1/traces -d '{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"name\":\"hello\"}}]}}]}}]}}'",
            ports.otlp_http?
        ),
    })
}

/// Nothing where everything goes elsewhere.
fn archive(account: &Account, first: &FirstStart, config: &Config) -> Option<String> {
    let folder = whole(&config.data).join("gateway/archive");
    let names: Vec<&str> = first.archived.iter().map(|it| it.name()).collect();
    let what = match names.len() {
        0 => return None,
        3 => "What arrives".to_owned(),
        _ => format!("What arrives as {}", names.join(" or ")),
    };
    Some(format!(
        "{what} lies in {}/{}, a folder per signal.",
        folder.display(),
        account.id
    ))
}

/// From the root, if it can be told.
fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A path as one word of a shell, inside double quotes.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if path.bytes().all(plain) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountId, DestinationId, Limits};

    fn first(folder: &Path) -> FirstStart {
        FirstStart {
            account: Some(Account {
                id: AccountId(7),
                name: "renamed".to_owned(),
                state: AccountState::Active,
                limits: Limits::default(),
                draws_on: None,
                destinations: [Some(DestinationId(1)); 3],
            }),
            archived: Signal::ALL.to_vec(),
            tokens: Signal::ALL
                .iter()
                .map(|signal| (*signal, folder.join(format!("tokens/main-{signal}"))))
                .collect(),
            admin_token: folder.join("admin-token"),
            operator_password: Some(folder.join("operator-password")),
            join_key: folder.join("join-key"),
            is_new: false,
        }
    }

    fn ports() -> Ports {
        let port = |port: u16| Some(([127, 0, 0, 1], port).into());
        Ports {
            bulk: port(1),
            otlp_http: port(2),
            admin: port(3),
            feed: port(4),
            operate: port(5),
            ..Ports::default()
        }
    }

    fn said(edit: impl FnOnce(&mut FirstStart), has_gateway: bool) -> String {
        let config = Config {
            data: "data".into(),
            ..Config::default()
        };
        let mut first = first(Path::new("data"));
        edit(&mut first);
        text(&first, &ports(), &config, has_gateway)
    }

    #[test]
    fn the_account_is_called_what_it_is_called_now_and_every_live_token_has_its_line() {
        let all = said(|_| (), true);
        assert!(all.contains("serving account `renamed`. Paste to try:"));
        assert_eq!(all.matches("\n  curl ").count(), 3);
        assert!(all.contains("What arrives lies in data/gateway/archive/7, a folder per signal."));
        assert!(all.ends_with("\nOperators: http://127.0.0.1:5/metrics /ready /books\n\n"));
        let logs = said(|first| first.tokens.truncate(1), true);
        assert_eq!(logs.matches("\n  curl ").count(), 1);
    }

    #[test]
    fn nothing_is_said_to_paste_where_nothing_would_be_let_in() {
        let none = said(|first| first.tokens.clear(), true);
        assert!(none.contains("token create --account 7"), "{none}");
        let suspended = |first: &mut FirstStart| {
            if let Some(account) = &mut first.account {
                account.state = AccountState::Suspended;
            }
        };
        let suspended = said(suspended, true);
        assert!(suspended.contains("It is suspended"), "{suspended}");
        let gone = said(|first| first.account = None, true);
        for text in [none, suspended, gone] {
            assert!(!text.contains("curl") && !text.contains("Paste"), "{text}");
        }
    }

    #[test]
    fn a_control_plane_names_its_feed_and_no_archive() {
        let text = said(|_| (), false);
        assert!(text.contains("Gateways follow it at 127.0.0.1:4 with the key in data/join-key."));
        assert!(
            !text.contains("archive") && !text.contains("curl"),
            "{text}"
        );
    }

    #[test]
    fn what_goes_elsewhere_is_not_said_to_lie_in_the_archive() {
        let some = said(|first| first.archived.truncate(1), true);
        assert!(some.contains("What arrives as logs lies in"), "{some}");
        assert!(!said(|first| first.archived.clear(), true).contains("archive"));
    }
}
