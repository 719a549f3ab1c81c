//! Whether the bridge goes on: proven by its writer and its worker, never by a timer of its own.
//!
//! A beat asks the writer for an empty commit and the worker for one more round. Who answers is alive; who
//! does not within the time is stuck, whatever else of the process still runs. For systemd's watchdog, for
//! `postbridge health` and the page.

use std::time::Duration;

use tokio::sync::watch;

use crate::store::{Store, StoreError};

/// How long a beat may take before something is said to be stuck.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Clones feel the same pulse.
#[derive(Debug, Clone)]
pub struct Pulse {
    store: Store,
    /// How many rounds the worker made.
    rounds: watch::Receiver<u64>,
}

/// Counts the worker's rounds.
#[derive(Debug, Clone)]
pub struct Rounds(watch::Sender<u64>);

/// What does not go on as it should.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unwell {
    /// It answers, and cannot do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the writer of the store does not answer")]
    WriterStuck,
    #[error("the worker makes no rounds")]
    WorkerStuck,
}

impl Unwell {
    /// Only a restart could help.
    pub fn is_stuck(&self) -> bool {
        matches!(self, Unwell::WriterStuck | Unwell::WorkerStuck)
    }
}

impl Rounds {
    pub fn new() -> Rounds {
        Rounds(watch::Sender::new(0))
    }

    /// To be called by the worker, each time it has looked for work.
    pub fn count(&self) {
        self.0.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds::new()
    }
}

impl Pulse {
    pub fn new(store: Store, rounds: &Rounds) -> Pulse {
        Pulse { store, rounds: rounds.0.subscribe() }
    }

    /// One beat, within so long.
    pub async fn beat(&self, within: Duration) -> Result<(), Unwell> {
        let mut rounds = self.rounds.clone();
        let written = tokio::time::timeout(within, self.store.touch()).await;
        let written = written.map_err(|_| Unwell::WriterStuck)?;
        rounds.mark_unchanged();
        self.store.wake_worker();
        let round = tokio::time::timeout(within, rounds.changed()).await;
        match round {
            Ok(Ok(())) => Ok(written?),
            _ => Err(Unwell::WorkerStuck),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Room;

    const SOON: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_worker_that_makes_no_rounds_is_stuck_and_one_that_does_is_well() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state"), Room::default()).await.unwrap();
        let rounds = Rounds::new();
        let pulse = Pulse::new(store.clone(), &rounds);
        // What it did before it was asked proves nothing.
        rounds.count();
        let unwell = pulse.beat(SOON).await.unwrap_err();
        assert!(matches!(unwell, Unwell::WorkerStuck) && unwell.is_stuck(), "{unwell}");
        let working = tokio::spawn(async move {
            loop {
                store.spool_changed().await;
                rounds.count();
            }
        });
        pulse.beat(Duration::from_secs(60)).await.unwrap();
        working.abort();
    }

    #[tokio::test]
    async fn a_writer_that_does_not_come_back_is_stuck() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state"), Room::default()).await.unwrap();
        let pulse = Pulse::new(store.clone(), &Rounds::new());
        let (never, waits) = tokio::sync::oneshot::channel::<()>();
        let holding = tokio::spawn(async move {
            let held = store.write(move |_| {
                Box::pin(async move {
                    let _ = waits.await;
                    Ok(())
                })
            });
            held.await
        });
        tokio::task::yield_now().await;
        let unwell = pulse.beat(SOON).await.unwrap_err();
        assert!(matches!(unwell, Unwell::WriterStuck), "{unwell}");
        drop(never);
        holding.await.unwrap().unwrap();
    }
}
