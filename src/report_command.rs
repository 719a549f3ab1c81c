//! A local command that gets a copy of each report on its standard input.
//!
//! For those whose mailbox is the very thing that does not work: `logger`, a pager, a mail to root. The
//! command is a list of arguments and no shell reads it; it must come to its end by itself, and nothing
//! here may hold up a mail: a command that fails, hangs or is one too many is a line in the log.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::store::spool::EntryId;

/// From the start of the command to its end.
const TIME: Duration = Duration::from_secs(10);
/// Commands that run at the same time; a report beyond that is not copied.
const AT_ONCE_MAX: usize = 16;

/// The command, if one is configured; clones share it.
#[derive(Debug, Clone)]
pub struct ReportCommand {
    /// Program and arguments; empty: none.
    arguments: Arc<[String]>,
    places: Arc<Semaphore>,
}

impl ReportCommand {
    /// `arguments` begin with the path of the program; none at all is no command.
    pub fn new(arguments: &[String]) -> ReportCommand {
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        ReportCommand { arguments: arguments.into(), places }
    }

    /// Gives it the report on a mail, in a task of its own. A stop of the daemon ends the command.
    pub fn give(&self, id: EntryId, report: Vec<u8>) {
        if self.arguments.is_empty() {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(entry = %id, "too many report commands run; this report was not copied");
            return;
        };
        let arguments = self.arguments.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(TIME, run(&arguments, &report)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(entry = %id, error, "the report command failed");
                }
                Err(_) => {
                    tracing::warn!(entry = %id, "the report command took too long and was ended");
                }
            }
            drop(place);
        });
    }
}

async fn run(arguments: &[String], report: &[u8]) -> Result<(), String> {
    let Some((program, arguments)) = arguments.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // What stands in our environment, such as the place of credentials, is no affair of it.
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    // One that does not want to read it all may still do well: what it says at its end counts.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(report).await;
    }
    let status = child.wait().await.map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}")) }
}
