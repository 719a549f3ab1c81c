//! `postbridge serve`: the bridge in the foreground, until SIGTERM or SIGINT.

use crate::app;
use crate::config::Config;

pub async fn run(config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let config = config?;
    // No core file and no debugger of the same user: tokens are in this memory.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let stop = super::asked_to_stop()?;

    let running = app::start(&config).await?;
    for (kind, address) in &running.listening {
        tracing::info!(%address, kind = kind.name(), "listening");
    }
    for (kind, address) in &running.calendars {
        tracing::info!(%address, kind = kind.name(), "listening");
    }
    let accounts = running.control.store.accounts().await?;
    if accounts.is_empty() {
        tracing::info!("no account yet; add one with: postbridge account add ADDRESS");
    }
    stop.await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}
