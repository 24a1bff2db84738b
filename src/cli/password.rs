//! `wharfinger user change-password`: a person's own, proven by the one that they have.

use std::path::PathBuf;

use clap::Args;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{
    access::{Failure, read_secret},
    client::{Answer, Client},
    output::{line, plain},
};
use crate::model::Secret;

const PATH: &str = "/api/v1/session";

/// Whose, and from which to which.
#[derive(Debug, Args)]
pub(super) struct Own {
    /// What they log in with.
    name: String,
    /// File with the password that they have; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// File with the password that they are to have, 12 to 256 characters.
    #[arg(long, value_name = "FILE")]
    new_password_file: PathBuf,
}

/// What a session's every change goes with.
struct Session([(HeaderName, HeaderValue); 2]);

// === impl Own ===

impl Own {
    /// Logs in, changes it, and leaves no session behind.
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let (old, new) = (read(&self.password_file)?, read(&self.new_password_file)?);
        let login = json!({"name": self.name, "password": old.reveal()});
        let begun = client.send_with(Method::POST, PATH, Vec::new(), bytes(&login));
        let session = Session::of(&begun.await?)?;
        let change = json!({"password": old.reveal(), "new_password": new.reveal()});
        let changed = session.send(client, Method::PATCH, bytes(&change)).await;
        if let Err(failure) = changed {
            // The change would have ended it with all others. What is left of it ends by itself.
            let _ = session.send(client, Method::DELETE, None).await;
            return Err(failure);
        }
        line(&format!(
            "the password of {} is changed, and all their sessions have ended",
            plain(&self.name)
        ))
    }
}

fn read(file: &std::path::Path) -> Result<Secret, Failure> {
    read_secret(file).map_err(|why| Failure::Failed(format!("cannot read the password: {why}")))
}

fn bytes(body: &Value) -> Option<Vec<u8>> {
    Some(body.to_string().into_bytes())
}

// === impl Session ===

impl Session {
    fn of(begun: &Answer) -> Result<Self, Failure> {
        begun.succeeded()?;
        let body: Value = serde_json::from_slice(&begun.body).unwrap_or_default();
        let cookie = begun.headers.get(header::SET_COOKIE);
        let cookie = cookie.and_then(|it| it.to_str().ok()?.split(';').next());
        let csrf = body["csrf_token"].as_str();
        let value = |text: &str| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let (Some(cookie), Some(csrf)) = (cookie.and_then(value), csrf.and_then(value)) else {
            return Err(Failure::Failed(
                "the answer has no session: is that an admin API?".to_owned(),
            ));
        };
        Ok(Self([
            (header::COOKIE, cookie),
            (HeaderName::from_static("x-csrf-token"), csrf),
        ]))
    }

    async fn send(
        &self,
        client: &Client,
        method: Method,
        body: Option<Vec<u8>>,
    ) -> Result<(), Failure> {
        let answer = client
            .send_with(method, PATH, self.0.to_vec(), body)
            .await?;
        answer.succeeded()
    }
}
