//! The composition root: starts the parts in order, drains them in order.

use crate::config::Config;

/// Gateway and control plane in one process.
pub fn serve(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("this build has no gateway and no control plane yet")
}

/// A gateway that follows control planes of other processes.
pub fn gateway(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("this build has no gateway yet")
}

/// A control plane for gateways of other processes.
pub fn control(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("this build has no control plane yet")
}
