//! Where the log goes, and what it looks like. No secret is in any line, and no octet of a mail; addresses of
//! people at debug alone.

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::LogFormat;

/// To standard error. `RUST_LOG` says how much of ours is told, else `level`.
pub fn start(level: &str, format: LogFormat) {
    let ours = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,postbridge={level}")));
    // What libraries below us tell at debug and trace is theirs to change, and octets of a mail or a
    // token could be in it: whatever `RUST_LOG` asks for, there is never more than their warnings.
    let ceiling = Targets::new()
        .with_target("postbridge", LevelFilter::TRACE)
        .with_default(LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false);
    let layer: Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto if stderr_is_the_journal() => {
            lines.event_format(ForTheJournal::new()).boxed()
        }
        LogFormat::Auto | LogFormat::Text => lines.boxed(),
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

/// The same text, with the level as the journal reads it (sd-daemon(3)), and without the time, which it knows.
struct ForTheJournal(Format<Full, ()>);

impl ForTheJournal {
    fn new() -> ForTheJournal {
        let text = tracing_subscriber::fmt::format();
        ForTheJournal(text.without_time().with_level(false).with_target(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for ForTheJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
