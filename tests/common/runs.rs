//! Many runs of the same kind, side by side.

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
