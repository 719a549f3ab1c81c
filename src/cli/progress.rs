//! A line that says what is being done, for a person at a terminal; nobody else sees it.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::ProgressBar;

/// On standard error, and only while that is a terminal; gone when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn begin(what: impl Into<Cow<'static, str>>) -> Progress {
        let bar = ProgressBar::new_spinner();
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    pub fn now(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
