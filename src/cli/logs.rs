//! `postbridge logs`: what became of a mail, step by step; or the last steps of all.

use clap::Args as Arguments;

use crate::cli::line::{Line, odd};
use crate::cli::queue_words::{accepted, step};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::store::spool::EntryId;

#[derive(Debug, Arguments)]
pub struct Args {
    /// The mail's id, as in its 250; without it, the last lines of all mails.
    id: Option<EntryId>,
    /// Without an id: at most so many.
    #[arg(long, default_value_t = 50)]
    most: u32,
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let Args { id, most, json } = args;
    let line = Line::open(&config?).await?;
    let entry = match id {
        Some(id) => match line.ask(Request::Entry { id }).await? {
            Reply::Entry { entry, .. } => Some(entry),
            other => return odd(&other),
        },
        None => None,
    };
    let mut lines = match line.ask(Request::History { id, most }).await? {
        Reply::History { lines } => lines,
        other => return odd(&other),
    };
    if json {
        println!("{}", serde_json::json!({ "entry": entry, "lines": lines }));
        return Ok(());
    }
    match &entry {
        Some(entry) => println!("{}", accepted(entry)),
        // On a terminal the newest is where the eye is.
        None => lines.reverse(),
    }
    for line in &lines {
        println!("{}", step(line));
    }
    Ok(())
}
