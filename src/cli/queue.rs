//! `postbridge queue`: the mails that were accepted, what became of them, and what is to.

use clap::Subcommand;

use crate::cli::line::{Line, odd};
use crate::cli::queue_words::{in_short, line_of, row, show};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::store::order::Order;
use crate::store::spool::{EntryId, State};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the newest mails, newest first.
    List {
        /// Only those in this state.
        #[arg(long, value_enum, value_name = "STATE")]
        only: Option<State>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        most: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one mail: envelope, attempts, what was answered, what to do.
    Show {
        /// The id that the 250 and the list show.
        id: EntryId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try a mail that waits now.
    Retry {
        /// The id that the 250 and the list show.
        id: EntryId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a mail that waits or is held: it is not sent, and nobody is told.
    Drop {
        /// The id that the 250 and the list show.
        id: EntryId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what became of a held mail, after a look in Sent Items.
    #[command(after_help = "Example: postbridge queue resolve 01j9zq3m5n7r9t1v3x5z7b9d1f --sent")]
    Resolve {
        /// The id that the 250 and the list show.
        id: EntryId,
        #[command(flatten)]
        seen: Seen,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try all that waits now.
    Flush,
}

/// What was seen in Sent Items.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Seen {
    /// It is there: it was sent.
    #[arg(long)]
    sent: bool,
    /// It is not there: send it again.
    #[arg(long)]
    send_again: bool,
}

pub async fn run(command: Command, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let line = Line::open(&config?).await?;
    match command {
        Command::List { only, most, json } => {
            match line.ask(Request::Entries { state: only, most }).await? {
                Reply::Entries { entries, counts, waiting } if json => {
                    let all = serde_json::json!({
                        "entries": entries, "counts": counts, "waiting": waiting
                    });
                    println!("{all}");
                }
                Reply::Entries { entries, counts, waiting } => {
                    for entry in &entries {
                        println!("{}", row(entry));
                    }
                    let counts: Vec<String> =
                        counts.iter().map(|(state, n)| format!("{n} {}", state.name())).collect();
                    eprintln!(
                        "{}",
                        if counts.is_empty() { "empty".into() } else { counts.join(", ") }
                    );
                    for one in &waiting {
                        eprintln!("{}", line_of(one));
                    }
                }
                other => odd(&other)?,
            }
        }
        Command::Show { id, json } => match line.ask(Request::Entry { id }).await? {
            Reply::Entry { entry, expected, .. } if json => {
                let mut entry = serde_json::to_value(&entry)?;
                if let (Some(entry), Some(expected)) = (entry.as_object_mut(), expected) {
                    entry.insert("expected".into(), serde_json::to_value(expected)?);
                }
                println!("{entry}");
            }
            Reply::Entry { entry, account, expected, .. } => {
                print!("{}", show(&entry, account.as_deref(), expected));
            }
            other => odd(&other)?,
        },
        Command::Retry { id, json } => order(&line, id, Order::Retry, json).await?,
        Command::Drop { id, json } => order(&line, id, Order::Drop, json).await?,
        Command::Resolve { id, seen, json } => {
            let seen = if seen.sent { Order::Sent } else { Order::SendAgain };
            order(&line, id, seen, json).await?;
        }
        Command::Flush => match line.ask(Request::Flush {}).await? {
            Reply::Flushed { entries } => println!("{entries} made due"),
            other => odd(&other)?,
        },
    }
    Ok(())
}

async fn order(line: &Line, id: EntryId, order: Order, json: bool) -> anyhow::Result<()> {
    match line.ask(Request::Order { id, order }).await? {
        Reply::Entry { entry, .. } if json => println!("{}", serde_json::to_string(&entry)?),
        Reply::Entry { entry, account, .. } => {
            println!("{id}: {}", in_short(order, &entry, account.as_deref()));
        }
        other => odd(&other)?,
    }
    Ok(())
}
