//! Bodies and values as these routes' callers write them.

use axum::extract::{FromRequest, Request};
use serde::{Deserialize, Deserializer, de};

use super::{
    super::{extract::buffered, unsaid::unsaid},
    trouble::Trouble,
};
use crate::control::record::Millis;

/// A JSON body; an empty one counts as `{}`. Fields that we don't know are left unread: callers send what their own
/// vendor has come to have.
pub(super) struct Loose<T>(pub(super) T);

impl<S: Send + Sync, T: de::DeserializeOwned> FromRequest<S> for Loose<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, _: &S) -> Result<Self, Trouble> {
        let bytes = buffered(request.into_body()).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // Fields in a row, without their names, would fit too.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(Trouble::invalid("the body must be a JSON object"));
        }
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let said = unsaid(&error.to_string());
            Trouble::invalid(format!("the body does not fit: {said}"))
        })
    }
}

/// A boolean, or the word for one: callers write either. Null and `""` are nothing.
pub(super) fn boolean<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Boolean(bool),
        Word(String),
    }
    match Option::<Either>::deserialize(from) {
        Ok(None) => Ok(None),
        Ok(Some(Either::Boolean(value))) => Ok(Some(value)),
        Ok(Some(Either::Word(word))) => match word.as_str() {
            "" => Ok(None),
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(de::Error::custom("expected true or false")),
        },
        Err(_) => Err(de::Error::custom("expected true or false")),
    }
}

/// Seconds since 1970 with a fraction.
pub(super) fn seconds(at: Millis) -> f64 {
    // Exact far past any date: 53 bits of milliseconds.
    at as f64 / 1000.0
}

/// Milliseconds since 1970 of a second.
pub(super) fn millis(seconds: u32) -> u64 {
    u64::from(seconds) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "boolean")]
        enabled: Option<bool>,
    }

    #[test]
    fn a_boolean_is_read_as_a_word_too() {
        for (text, value) in [
            (r#"{"enabled": true}"#, Some(true)),
            (r#"{"enabled": "false"}"#, Some(false)),
            (r#"{"enabled": null}"#, None),
            (r#"{"enabled": ""}"#, None),
            ("{}", None),
        ] {
            let body: Body = serde_json::from_str(text).expect(text);
            assert_eq!(body.enabled, value, "{text}");
        }
        for wrong in [r#"{"enabled": "yes"}"#, r#"{"enabled": 1}"#] {
            assert!(serde_json::from_str::<Body>(wrong).is_err(), "{wrong}");
        }
    }
}
