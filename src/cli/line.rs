//! A command's way to whoever holds the state directory: the daemon by its socket, or, when none
//! runs, this process itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::app::{self, StartError};
use crate::config::Config;
use crate::control::{self, Control, Reply, Request, SOCKET};
use crate::store::OpenError;

pub enum Line {
    Daemon(PathBuf),
    Own(Box<Control>),
}

impl Line {
    /// Only the lock says whether a daemon is there, so it is tried first.
    pub async fn open(config: &Config) -> anyhow::Result<Line> {
        let path = config.state_dir().join(SOCKET);
        // Another command may hold the lock for a moment, and a daemon takes one before it listens.
        for patience in (0..20).rev() {
            match app::open(config).await {
                Ok(control) => return Ok(Line::Own(Box::new(control))),
                Err(StartError::Store(OpenError::InUse { .. })) => {}
                Err(error) => return Err(error.into()),
            }
            match tokio::net::UnixStream::connect(&path).await {
                Ok(_) => break,
                Err(error) if patience == 0 => {
                    return Err(error).with_context(|| {
                        format!(
                            "the state directory is held by a postbridge that does not answer on {}; \
                             if it is just starting or stopping, try again",
                            path.display()
                        )
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(Line::Daemon(path))
    }

    /// Asks; a refusal is an error in the words of the one who refused.
    pub async fn ask(&self, request: Request) -> anyhow::Result<Reply> {
        let reply = match self {
            Line::Own(control) => control::handle(request, control).await,
            Line::Daemon(path) => {
                control::call(path, &request).await.context("the daemon did not answer")?
            }
        };
        match reply {
            Reply::Refused { why } => bail!(why),
            reply => Ok(reply),
        }
    }
}

/// The answer was to another question.
pub fn odd<T>(reply: &Reply) -> anyhow::Result<T> {
    // Its Debug form holds no secret.
    bail!("the daemon gave an answer to something else: {reply:?}")
}
