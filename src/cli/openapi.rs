//! `wharfinger openapi`: the admin API's own description.

use clap::Args;
use http::Method;

use super::{access::Failure, client::Client, output::line};

/// Which one.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// That of the compatible routes.
    #[arg(long)]
    compatible: bool,
}

// === impl Which ===

impl Which {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let path = match self.compatible {
            true => "/api/v1/compat/openapi.json",
            false => "/api/v1/openapi.json",
        };
        let answer = client.send(Method::GET, path, None, None, None).await?;
        answer.succeeded()?;
        line(answer.text().trim())
    }
}
