//! `postbridge serve`: the bridge in the foreground, until SIGTERM or SIGINT. SIGHUP takes the configuration
//! up anew.
//!
//! What systemd hands in (sockets) is used, and what it wants to be told (sd_notify(3)) it is told: ready,
//! reloading, stopping, and alive, as long as writer and worker prove to be.

use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::configuration;
use crate::app::{self, Running};
use crate::control::Reload;
use crate::listen::Inherited;
use crate::pulse::Pulse;

/// What the configuration is read from, at the start and again.
pub struct Source {
    pub file: Option<PathBuf>,
    /// Instead of the configured one.
    pub state: Option<PathBuf>,
}

pub async fn run(source: Source) -> anyhow::Result<()> {
    let config = configuration(source.file.clone(), source.state.clone())?;
    super::log::start(config.log.level.name(), config.log.format);
    // No core file and no debugger of the same user: tokens are in this memory.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let stop = super::asked_to_stop()?;
    tokio::pin!(stop);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut sockets = Inherited::from_env()?;

    let (reloads, mut asked_for) = mpsc::channel::<Reload>(1);
    let mut running = app::start_on(&config, &mut sockets, reloads).await?;
    for (kind, address) in &running.listening {
        tracing::info!(%address, kind = kind.name(), "listening");
    }
    for (kind, address) in &running.calendars {
        tracing::info!(%address, kind = kind.name(), "listening");
    }
    for address in &running.page {
        tracing::info!(%address, kind = "page", "listening");
    }
    for address in sockets.left() {
        tracing::warn!(
            %address,
            "systemd listens there, and the configuration does not: who connects waits in vain; \
             change postbridge.socket or postbridge.toml"
        );
    }
    let accounts = running.control.store.accounts().await?;
    if accounts.is_empty() {
        tracing::info!("no account yet; add one with: postbridge account add ADDRESS");
    }
    tell(&[NotifyState::Ready]);
    let fed = running.control.pulse.clone().zip(sd_notify::watchdog_enabled());
    let feeding = fed.map(|(pulse, period)| tokio::spawn(feed(pulse, period)));
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(()) = hangup.recv() => drop(reload(&mut running, &source).await),
            Some(asked) = asked_for.recv() => {
                let _ = asked.send(reload(&mut running, &source).await);
            }
        }
    }
    tracing::info!("stopping");
    tell(&[NotifyState::Stopping]);
    running.stop().await;
    if let Some(feeding) = feeding {
        feeding.abort();
    }
    Ok(())
}

/// A configuration that cannot be used changes nothing. The keys that need a restart, or why nothing changed.
async fn reload(running: &mut Running, source: &Source) -> Result<Vec<&'static str>, String> {
    if let Ok(since) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, since]);
    }
    let reloaded = match configuration(source.file.clone(), source.state.clone()) {
        Ok(config) => running.reload(config).await.map_err(|error| error.to_string()),
        Err(error) => Err(super::exit::sentence(&error)),
    };
    match &reloaded {
        Ok(fixed) if fixed.is_empty() => tracing::info!("reloaded"),
        Ok(fixed) => {
            let keys = fixed.join(", ");
            tracing::warn!(keys, "reloaded, but for these keys, which need a restart");
        }
        Err(why) => tracing::error!(why, "not reloaded"),
    }
    tell(&[NotifyState::Ready]);
    reloaded
}

/// Nobody listens where it was not systemd that started us.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Tells systemd that we are alive, for as long as that is so: three times in a period, as it may be slow.
async fn feed(pulse: Pulse, period: Duration) {
    let mut ticks = tokio::time::interval(period / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match pulse.beat(period).await {
            Err(unwell) if unwell.is_stuck() => {
                tracing::error!(%unwell, "the watchdog is not told that all is well");
            }
            // A full disk is not mended by a restart.
            Ok(()) | Err(_) => tell(&[NotifyState::Watchdog]),
        }
    }
}
