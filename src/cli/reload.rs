//! `postbridge reload`: has the daemon take up its configuration anew.

use anyhow::Context;

use super::line::odd;
use crate::config::Config;
use crate::control::{self, Reply, Request, SOCKET};

/// What cannot be used is said here; the daemon reads the file that it was started with.
pub async fn run(config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let config = config?;
    let path = config.state_dir().join(SOCKET);
    let reply = control::call(&path, &Request::Reload {}).await;
    match reply.with_context(|| format!("no daemon answers on {}", path.display()))? {
        Reply::Reloaded { but_for } if but_for.is_empty() => println!("reloaded"),
        Reply::Reloaded { but_for } => {
            println!("reloaded, but for {}: they need a restart", but_for.join(", "));
        }
        Reply::Refused { why } => anyhow::bail!("not reloaded: {why}"),
        other => odd(&other)?,
    }
    Ok(())
}
