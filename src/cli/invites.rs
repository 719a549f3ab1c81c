//! `postbridge invites`: the invites that became events, and why each is as it is.

use anyhow::bail;
use clap::Subcommand;

use super::line::{Line, odd};
use crate::account::Address;
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::invite::{Invite, Part, Way};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the invites, newest first.
    List {
        /// Only those of this account.
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Address>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        most: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one of them: the event at Microsoft, the history of decisions, the calendar object.
    Show {
        /// The UID of the invite, as the list shows it.
        uid: String,
        /// Only that of this account.
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Address>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget one; its event stays as it is.
    Forget {
        /// The UID of the invite, as the list shows it.
        uid: String,
        /// Only that of this account.
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Address>,
    },
}

pub async fn run(command: Command, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let line = Line::open(&config?).await?;
    match command {
        Command::List { account, most, json } => {
            match line.ask(Request::Invites { address: account, most }).await? {
                Reply::Invites { invites } if json => {
                    println!("{}", serde_json::to_string(&invites)?)
                }
                Reply::Invites { invites } => {
                    for (address, one) in invites {
                        println!("{}", row(&address, &one.invite));
                    }
                }
                other => odd(&other)?,
            }
        }
        Command::Show { uid, account, json } => {
            match line.ask(Request::Invite { address: account, uid }).await? {
                reply @ Reply::Invite { .. } if json => {
                    println!("{}", serde_json::to_string(&reply)?)
                }
                Reply::Invite { address, invite, octets, history, .. } => {
                    println!("{}", row(&address, &invite));
                    for part in &invite.parts {
                        println!("{}", event(part));
                    }
                    println!();
                    for decided in history {
                        println!("{}  {}  {}", decided.at, decided.entry, decided.why);
                    }
                    println!("\n{}", String::from_utf8_lossy(&octets));
                }
                other => odd(&other)?,
            }
        }
        Command::Forget { uid, account } => {
            let request = Request::ForgetInvite { address: account, uid: uid.clone() };
            match line.ask(request).await? {
                Reply::ForgottenInvites { invites: 0 } => {
                    bail!("No invite with the UID {uid} is known.")
                }
                Reply::ForgottenInvites { invites } => println!("{invites} forgotten"),
                other => odd(&other)?,
            }
        }
    }
    Ok(())
}

fn row(address: &Address, invite: &Invite) -> String {
    let uid = &invite.uid;
    let first = invite.standing().next();
    let state = match (invite.way, &first) {
        (Way::Mail, _) => "mailed",
        (Way::Event, None) => "cancelled",
        (Way::Event, Some((part, _))) if part.done.event.is_some() => "stands",
        (Way::Event, Some(_)) => "wanted",
    };
    let Some((_, wanted)) = first else { return format!("{uid}  {state:<9}  ({address})") };
    let subject = wanted.content["subject"].as_str().unwrap_or_default();
    let start = wanted.content["start"]["dateTime"].as_str().unwrap_or_default();
    let attendees = invite.attendees().len();
    let events = match invite.standing().count() {
        1 => String::new(),
        n => format!("  {n} events"),
    };
    format!("{uid}  {state:<9} {start}  {attendees} attendees{events}  {subject}  ({address})")
}

/// One event at Microsoft, with what is different about its occurrences.
fn event(part: &Part) -> String {
    let done = &part.done;
    let (id, ical_uid) = match &done.event {
        Some(event) => (event.id.as_str(), event.ical_uid.as_deref().unwrap_or("-")),
        None => ("-", "-"),
    };
    let cancelled = if done.cancelled { ", cancelled" } else { "" };
    let mut text = format!(
        "event       {id}\niCalUId     {ical_uid}\ngeneration  {}{cancelled}",
        part.generation
    );
    if let Some(original) = part.original {
        text.push_str(&format!("\noccurrence  {original}"));
    }
    for (original, one) in &done.occurrences {
        let what = if one.cancelled { "does not take place" } else { "changed" };
        text.push_str(&format!(
            "\noccurrence  {original}  {what}  {}",
            one.id.as_deref().unwrap_or("-")
        ));
    }
    text
}
