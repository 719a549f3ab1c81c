//! `postbridge queue`: the mails that were accepted, and what became of them.

use clap::Subcommand;

use crate::cli::line::{Line, odd};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::store::spool::{Entry, EntryId, State};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The newest mails, newest first.
    List {
        /// Only those in this state.
        #[arg(long, value_enum, value_name = "STATE")]
        only: Option<State>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        most: u32,
        #[arg(long)]
        json: bool,
    },
    /// One mail: envelope, attempts, what was answered.
    Show {
        id: EntryId,
        #[arg(long)]
        json: bool,
    },
    /// Try all that waits now.
    Flush,
}

pub async fn run(command: Command, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let line = Line::open(&config?).await?;
    match command {
        Command::List { only, most, json } => {
            match line.ask(Request::Entries { state: only, most }).await? {
                Reply::Entries { entries, counts } if json => {
                    println!("{}", serde_json::json!({ "entries": entries, "counts": counts }));
                }
                Reply::Entries { entries, counts } => {
                    for entry in &entries {
                        println!("{}", row(entry));
                    }
                    let counts: Vec<String> =
                        counts.iter().map(|(state, n)| format!("{n} {}", state.name())).collect();
                    eprintln!(
                        "{}",
                        if counts.is_empty() { "empty".into() } else { counts.join(", ") }
                    );
                }
                other => odd(&other)?,
            }
        }
        Command::Show { id, json } => match line.ask(Request::Entry { id }).await? {
            Reply::Entry { entry } if json => println!("{}", serde_json::to_string(&entry)?),
            Reply::Entry { entry } => show(&entry),
            other => odd(&other)?,
        },
        Command::Flush => match line.ask(Request::Flush {}).await? {
            Reply::Flushed { entries } => println!("{entries} made due"),
            other => odd(&other)?,
        },
    }
    Ok(())
}

fn row(entry: &Entry) -> String {
    let to: Vec<&str> = entry.envelope.recipients().map(|address| address.as_str()).collect();
    let to = match to.as_slice() {
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    };
    let (id, state) = (entry.id, entry.state.name());
    let note = entry.note.as_deref().unwrap_or_default();
    format!("{id}  {state:<10} {:>9} octets  {}  {to}  {note}", entry.size, entry.accepted_at)
}

fn show(entry: &Entry) {
    let sender = entry.envelope.reverse_path().map_or("<>", |address| address.as_str());
    println!("id        {}", entry.id);
    println!("state     {}", entry.state.name());
    println!("kind      {}", entry.kind.name());
    println!("from      {sender}");
    for to in entry.envelope.recipients() {
        println!("to        {to}");
    }
    println!("size      {} octets", entry.size);
    println!("accepted  {}", entry.accepted_at);
    println!("attempts  {}", entry.attempts);
    let when = if entry.state == State::Queued { "next try  " } else { "since     " };
    println!("{when}{}", entry.due_at);
    if let Some(note) = &entry.note {
        println!("note      {note}");
    }
}
