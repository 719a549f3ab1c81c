//! Many runs of the same kind, side by side, and chance that can be had again.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::say;

/// Works through jobs on as many places as the machine has cores, and one more for the time that each
/// spends waiting. What came of them is in no order.
pub fn side_by_side<P, J: Sync, R: Send>(
    jobs: &[J],
    prepare: impl Fn() -> P + Sync,
    work: impl Fn(&P, &J) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let mut all = Vec::new();
    std::thread::scope(|threads| {
        let some = || {
            let (place, mut some) = (prepare(), Vec::new());
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                some.push(work(&place, job));
            }
            some
        };
        let workers: Vec<_> = (0..workers.min(jobs.len())).map(|_| threads.spawn(some)).collect();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    all
}

/// Tells what was done when it went wrong, wherever that was found.
pub struct Told(pub String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&self.0);
        }
    }
}

/// The same numbers for the same seed.
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    /// In 0..below.
    pub fn below(&mut self, below: usize) -> usize {
        // Knuth, MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % below as u64).unwrap()
    }

    /// One of these, if there are any.
    pub fn of<'t, T>(&mut self, all: &'t [T]) -> Option<&'t T> {
        (!all.is_empty()).then(|| &all[self.below(all.len())])
    }
}
