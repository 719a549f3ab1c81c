//! Exit statuses, after BSD's `sysexits.h`: one for each thing a person would do about it.

use std::process::ExitCode;

use crate::app::StartError;
use crate::cli::archive::Unreadable;
use crate::cli::config::Unfit;
use crate::cli::transfer::NotEmpty;
use crate::config::ConfigError;
use crate::entra::seal::KeyError;
use crate::store::OpenError;

/// Anything without a status of its own.
pub const FAILED: u8 = 1;
/// EX_USAGE: the arguments cannot be meant (`sendmail`).
pub const USAGE: u8 = 64;
/// EX_DATAERR: the mail cannot be sent as it is (`sendmail`).
pub const BAD_MAIL: u8 = 65;
/// EX_NOUSER: a recipient is refused (`sendmail`).
pub const NO_USER: u8 = 67;
/// EX_UNAVAILABLE: the bridge refuses it (`sendmail`).
pub const UNAVAILABLE: u8 = 69;
/// EX_TEMPFAIL: not now, and it could not be kept (`sendmail`).
pub const NOT_NOW: u8 = 75;
/// EX_DATAERR: the database, or what is to be imported, is of a newer version or none at all.
pub const NEWER_DATABASE: u8 = 65;
/// EX_NOINPUT: the key file is missing or is not a key.
pub const KEY: u8 = 66;
/// EX_UNAVAILABLE: a port is in use.
pub const PORT: u8 = 69;
/// EX_CANTCREAT: the state directory cannot be used.
pub const STATE: u8 = 73;
/// EX_IOERR: the disk broke its word (the process ended itself).
pub const DISK: u8 = 74;
/// EX_TEMPFAIL: another postbridge holds the state directory.
pub const IN_USE: u8 = 75;
/// EX_NOPERM: the state directory or the key file is open to others.
pub const EXPOSED: u8 = 77;
/// EX_CONFIG: the configuration cannot be used.
pub const CONFIG: u8 = 78;

/// Prints the error with its place and remedy, and gives its status.
pub fn say(error: &anyhow::Error) -> ExitCode {
    if let Some(config) = error.downcast_ref::<ConfigError>() {
        let mut text = String::new();
        let drawn =
            miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
                .render_report(&mut text, config);
        eprintln!("postbridge: {}", if drawn.is_ok() { text } else { config.to_string() });
    } else {
        eprintln!("postbridge: {}", sentence(error));
    }
    ExitCode::from(status(error))
}

/// An error with its causes; a cause that is quoted already is not said again.
pub fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// The status of an error.
pub fn status(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| {
            if cause.is::<ConfigError>() || cause.is::<Unfit>() {
                return Some(CONFIG);
            }
            if cause.is::<NotEmpty>() {
                return Some(STATE);
            }
            if matches!(cause.downcast_ref(), Some(Unreadable::Newer(_) | Unreadable::NotOurs(..)))
            {
                return Some(NEWER_DATABASE);
            }
            if let Some(open) = cause.downcast_ref::<OpenError>() {
                return Some(of_open(open));
            }
            if let Some(key) = cause.downcast_ref::<KeyError>() {
                return Some(of_key(key));
            }
            match cause.downcast_ref::<StartError>()? {
                StartError::Port { .. } => Some(PORT),
                StartError::NotConfigured | StartError::Certificate(_) => Some(CONFIG),
                StartError::Store(open) => Some(of_open(open)),
                StartError::Key(key) => Some(of_key(key)),
                _ => None,
            }
        })
        .unwrap_or(FAILED)
}

fn of_open(error: &OpenError) -> u8 {
    match error {
        OpenError::InUse { .. } => IN_USE,
        OpenError::Exposed { .. } | OpenError::Foreign { .. } => EXPOSED,
        OpenError::Newer { .. } => NEWER_DATABASE,
        OpenError::Unusable { .. } | OpenError::Database { .. } => STATE,
    }
}

fn of_key(error: &KeyError) -> u8 {
    match error {
        KeyError::Exposed(_) => EXPOSED,
        _ => KEY,
    }
}
