//! `postbridge invites`: the invites that became events, and why each is as it is.

use clap::Subcommand;

use super::line::{Line, odd};
use crate::account::Address;
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::invite::{Goal, Invite};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The invites, newest first.
    List {
        /// Only those of this account.
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Address>,
        #[arg(long, default_value_t = 50)]
        most: u32,
        #[arg(long)]
        json: bool,
    },
    /// One of them: the event at Microsoft, the history of decisions, the calendar object.
    Show {
        uid: String,
        #[arg(long, value_name = "ADDRESS")]
        account: Option<Address>,
        #[arg(long)]
        json: bool,
    },
    /// Forget one; its event stays as it is.
    Forget {
        uid: String,
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
                Reply::Invite { address, invite, octets, history } => {
                    println!("{}", row(&address, &invite));
                    if let Some(event) = &invite.done.event {
                        println!("event      {}", event.id);
                        println!("iCalUId    {}", event.ical_uid.as_deref().unwrap_or("-"));
                    }
                    println!("generation {}\n", invite.generation);
                    for decided in history {
                        println!("{}  {}  {}", decided.at, decided.entry, decided.why);
                    }
                    println!("\n{}", String::from_utf8_lossy(&octets));
                }
                other => odd(&other)?,
            }
        }
        Command::Forget { uid, account } => {
            match line.ask(Request::ForgetInvite { address: account, uid }).await? {
                Reply::ForgottenInvites { invites } => println!("{invites} forgotten"),
                other => odd(&other)?,
            }
        }
    }
    Ok(())
}

fn row(address: &Address, invite: &Invite) -> String {
    let (state, subject, start, attendees) = match &invite.goal {
        Goal::Cancelled => ("cancelled", "", "", 0),
        Goal::Stand { content, attendees, .. } => (
            if invite.done.event.is_some() { "stands" } else { "wanted" },
            content["subject"].as_str().unwrap_or_default(),
            content["start"]["dateTime"].as_str().unwrap_or_default(),
            attendees.len(),
        ),
    };
    let uid = &invite.uid;
    format!("{uid}  {state:<9} {start}  {attendees} attendees  {subject}  ({address})")
}
