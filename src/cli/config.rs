//! `postbridge config`: whether the configuration is good, and what it comes to.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use toml::{Table, Value};

use super::{annotated, fitness};
use crate::config::{self, Config};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which file is used, and whether the bridge can start with it (exit status 78 if not).
    Check,
    /// Print the configuration as it is used, with the comments of the annotated example.
    Show {
        /// The defaults instead: a file to begin with.
        #[arg(long)]
        defaults: bool,
    },
    /// Print docs/configuration.md.
    #[command(hide = true)]
    Reference,
}

/// The text is right, and yet the bridge cannot start with it.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Unfit(Vec<String>);

pub fn run(
    command: Command,
    file: Option<PathBuf>,
    config: anyhow::Result<Config>,
) -> anyhow::Result<()> {
    let found = Config::find(file.as_deref());
    match command {
        Command::Check => {
            let faults = fitness::faults(&config?);
            let subject = match &found {
                Some(path) => path.display().to_string(),
                None => nothing_found(),
            };
            if !faults.is_empty() {
                eprintln!("{subject}:");
                return Err(Unfit(faults).into());
            }
            println!("{subject} is good.");
        }
        Command::Show { defaults: true } => print!("{}", annotated::TEXT),
        Command::Show { defaults: false } => {
            let config = config?;
            let mut given = match &found {
                Some(path) => std::fs::read_to_string(path)
                    .with_context(|| path.display().to_string())?
                    .parse::<Table>()?,
                None => Table::new(),
            };
            let state = config.state_dir().display().to_string();
            given.insert("state_dir".into(), Value::String(state));
            match &found {
                Some(path) => eprintln!("From {}", path.display()),
                None => eprintln!("{}", nothing_found()),
            }
            print!("{}", annotated::filled_in(annotated::TEXT, &given));
        }
        Command::Reference => print!("{}", annotated::reference(annotated::TEXT)),
    }
    Ok(())
}

fn nothing_found() -> String {
    let places: Vec<String> =
        config::usual_places().iter().map(|path| path.display().to_string()).collect();
    format!("No configuration file was found in {}; what the defaults say", places.join(", "))
}
