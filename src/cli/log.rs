//! Where the log goes, and what it looks like. No secret is in any line, and no octet of a mail; addresses of
//! people at debug alone.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::LogFormat;

/// `RUST_LOG` says how much of ours is told, else `level`.
pub fn start(level: &str, format: LogFormat) {
    let ours = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,postbridge={level}")));
    // What libraries below us tell at debug and trace is theirs to change, and octets of a mail or a
    // token could be in it: whatever `RUST_LOG` asks for, there is never more than their warnings.
    let ceiling = Targets::new()
        .with_target("postbridge", LevelFilter::TRACE)
        .with_default(LevelFilter::WARN);
    let to_stderr = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false);
    let layer: Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => to_stderr.json().flatten_event(true).boxed(),
        LogFormat::Auto if stderr_is_the_journal() => match tracing_journald::layer() {
            // A field of ours is one of the journal's: journalctl ENTRY=…
            Ok(journal) => journal
                .with_field_prefix(None)
                .with_syslog_identifier("postbridge".to_owned())
                .boxed(),
            Err(_) => to_stderr.boxed(),
        },
        LogFormat::Auto | LogFormat::Text => to_stderr.boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(ceiling)).with(ours).try_init();
}

/// systemd says of which file: what it connected there may have been redirected since
/// (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}
