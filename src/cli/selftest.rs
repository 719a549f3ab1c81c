//! `postbridge selftest`: what a tenant does where Microsoft's documentation leaves it open. Asked with the
//! owner's consent, and kept.

use std::io::{BufRead, IsTerminal};

use anyhow::bail;
use clap::Args as Arguments;
use jiff::Timestamp;

use super::line::{Line, odd};
use crate::account::Address;
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::finding::{Finding, Inquiry, Question};

#[derive(Debug, Arguments)]
pub struct Args {
    /// The mailbox that is asked.
    address: Address,
    /// Ask it now; without this, the answers that it gave before are shown.
    #[arg(long)]
    tenant: bool,
    /// The owner of the mailbox agrees: do not ask.
    #[arg(long, requires = "tenant")]
    yes: bool,
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let Args { address, tenant, yes, json } = args;
    let line = Line::open(&config?).await?;
    let mut missed = Vec::new();
    if tenant {
        if !yes && !agreed(&address)? {
            bail!("nothing was asked of {address}");
        }
        for inquiry in Inquiry::ALL {
            eprintln!("{address}: {} …", inquiry.deed());
            let request = Request::Inquire { address: address.clone(), inquiry };
            if let Err(why) = line.ask(request).await {
                eprintln!("  {why}");
                missed.push(why);
            }
        }
    }
    let findings = match line.ask(Request::Findings { address: address.clone() }).await? {
        Reply::Findings { findings } => findings,
        other => return odd(&other),
    };
    show(&findings, json)?;
    match missed.into_iter().next() {
        Some(why) => Err(why.context("not all of it could be asked")),
        None => Ok(()),
    }
}

/// Only a person at a terminal can agree by typing.
fn agreed(address: &Address) -> anyhow::Result<bool> {
    eprintln!("This asks questions of the mailbox {address} by doing things in it. It");
    for inquiry in Inquiry::ALL {
        eprintln!("  {};", inquiry.deed());
    }
    eprintln!("nobody else is mailed or invited, and nothing else in it is looked at.");
    if !std::io::stdin().is_terminal() {
        bail!("its owner must agree: say so with --yes");
    }
    eprint!("Does its owner agree? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(findings: &[(Finding, Timestamp)], json: bool) -> anyhow::Result<()> {
    if json {
        let rows = findings.iter().map(|(finding, at)| {
            let Finding { question, answer } = finding;
            serde_json::json!({ "question": question, "answer": answer, "at": at })
        });
        println!("{}", serde_json::Value::from_iter(rows));
        return Ok(());
    }
    for question in Question::ALL {
        let found = findings.iter().find(|(finding, _)| finding.question == *question);
        match found {
            Some((finding, at)) => {
                let day = at.strftime("%Y-%m-%d");
                println!(
                    "{}\n    {}  ({}, {day})",
                    question.words(),
                    finding.answer,
                    question.name()
                );
            }
            None => println!("{}\n    not asked  ({})", question.words(), question.name()),
        }
    }
    Ok(())
}
