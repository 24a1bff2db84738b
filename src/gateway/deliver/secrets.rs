//! What a destination must not be heard saying: our secrets, in every form in which they travel or are quoted.

use std::fmt::Write as _;

use ::http::Uri;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::target::{Piece, pieces};
use crate::{
    model::{Credentials, Destination},
    wire::grpc::percent_decode,
};

/// Of headers and queries: what is shorter is no key.
const KEY_BYTES_MIN: usize = 8;
const HIDDEN: &str = "[redacted]";

/// The words with the destination's secrets taken out.
pub(super) fn hide(words: &str, destination: &Destination) -> String {
    let mut words = words.to_owned();
    if words.is_empty() {
        return words;
    }
    let mut forms: Vec<String> = secrets(destination)
        .iter()
        .flat_map(|secret| forms(secret))
        .filter(|form| !form.is_empty())
        .collect();
    // A secret may hold another: the longer one goes first.
    forms.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    for form in forms {
        if words.contains(&form) {
            words = words.replace(&form, HIDDEN);
        }
    }
    words
}

fn secrets(destination: &Destination) -> Vec<String> {
    let sealed = destination.secret_headers.iter();
    let mut secrets: Vec<String> = sealed.map(|(_, it)| it.reveal().to_owned()).collect();
    match &destination.credentials {
        Credentials::None => {}
        Credentials::Bearer(secret) => secrets.push(secret.reveal().to_owned()),
        Credentials::Basic { user, password } => {
            let pair = format!("{user}:{}", password.reveal());
            let sent = STANDARD.encode(pair);
            // Also without its padding.
            secrets.push(sent.trim_end_matches('=').to_owned());
            secrets.push(sent);
            secrets.push(password.reveal().to_owned());
        }
    }
    let mut key = |text: &str| {
        if text.len() >= KEY_BYTES_MIN {
            secrets.push(text.to_owned());
        }
    };
    // Header values are where operators put the keys of receivers with ways of their own, often behind a scheme's name.
    for (_, value) in &destination.headers {
        key(value);
        for piece in pieces(value) {
            if let Piece::Text(text) = piece {
                key(text.trim());
                text.split_ascii_whitespace().for_each(&mut key);
            }
        }
    }
    for (_, value) in &destination.secret_headers {
        value.reveal().split_ascii_whitespace().for_each(&mut key);
    }
    for endpoint in &destination.endpoints {
        let Ok(uri) = endpoint.parse::<Uri>() else {
            continue;
        };
        for pair in uri.query().unwrap_or_default().split('&') {
            let value = pair.split_once('=').map_or(pair, |(_, value)| value);
            key(value);
            key(&percent_decode(value.as_bytes()));
        }
    }
    secrets
}

/// A text as it is, as JSON quotes it, and as URLs do.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json
        .get(1..json.len().saturating_sub(1))
        .unwrap_or_default();
    // As encoders do that mind HTML.
    let guarded = json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    let (mut upper, mut lower) = (String::new(), String::new());
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            upper.push(char::from(byte));
            lower.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(upper, "%{byte:02X}");
            let _ = write!(lower, "%{byte:02x}");
        }
    }
    vec![
        secret.to_owned(),
        json.replace('/', "\\/"),
        json.to_owned(),
        guarded,
        upper.replace("%20", "+"),
        upper,
        lower,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DestinationId, DestinationKind, Secret};

    fn destination() -> Destination {
        let mut destination = Destination::new(DestinationId(1), "sink", DestinationKind::Http);
        destination.endpoints = vec!["http://a.example/in?api_key=qu%2Fery%3Dkey&v=2".to_owned()];
        destination.headers = vec![
            (
                "x-key".to_owned(),
                "ApiKey hea\"der<key {account}-tail/of-it".to_owned(),
            ),
            ("x-env".to_owned(), "prod".to_owned()),
        ];
        destination.secret_headers = vec![
            ("x-api-key".to_owned(), Secret::new("k3y".to_owned())),
            (
                "x-other".to_owned(),
                Secret::new("Key s3cr3t-of-it".to_owned()),
            ),
        ];
        destination.credentials = Credentials::Basic {
            user: "user".to_owned(),
            password: Secret::new("pass/wo rd".to_owned()),
        };
        destination
    }

    #[test]
    fn a_secret_is_hidden_in_each_form_in_which_it_travels_or_is_quoted() {
        let destination = destination();
        for echoed in [
            "pass/wo rd",
            "pass\\/wo rd",
            "pass%2Fwo%20rd",
            "pass%2fwo%20rd",
            "pass%2Fwo+rd",
            // user:pass/wo rd
            "dXNlcjpwYXNzL3dvIHJk",
            "qu%2Fery%3Dkey",
            "qu/ery=key",
            "hea\"der<key",
            "hea\\\"der<key",
            "hea\\\"der\\u003ckey",
            "-tail/of-it",
            // However short.
            "k3y",
            "Key s3cr3t-of-it",
            "s3cr3t-of-it",
        ] {
            let words = hide(&format!("bad ({echoed}) in prod, v=2"), &destination);
            assert_eq!(words, "bad ([redacted]) in prod, v=2", "{echoed}");
        }
        // The header as it was filled in.
        let words = hide("ApiKey hea\"der<key 41-tail/of-it", &destination);
        assert!(!words.contains("hea") && !words.contains("tail"), "{words}");
    }

    #[test]
    fn words_without_a_secret_stay_as_they_are() {
        assert_eq!(hide("no index user", &destination()), "no index user");
        assert_eq!(hide("", &destination()), "");
    }
}
