//! `postbridge doctor`: looks at everything that a mail needs on its way, and says what to do about what is
//! wrong. It reads no mail and no appointment, and makes nothing unless asked to with `--send`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::doctor_words::{Finding, Outcome, to_the_administrator};
use super::line::Line;
use super::progress::Progress;
use super::{doctor_accounts, doctor_machine, doctor_network, exit};
use crate::account::{Address, Profile};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::store::snapshot::DATABASE;

#[derive(Debug, Args)]
#[command(after_help = "Example: postbridge doctor --send adele.vance@contoso.example")]
pub struct Doctor {
    /// Only this account; otherwise each of them.
    address: Option<Address>,
    /// Send a mail to oneself, and make and remove an event without attendees.
    #[arg(long)]
    send: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// How long an answer of Microsoft's may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    wait: u64,
}

pub async fn run(args: Doctor, file: Option<PathBuf>, config: anyhow::Result<Config>) -> ExitCode {
    let subject = Config::find(file.as_deref())
        .map_or_else(|| "no file, the defaults".to_owned(), |path| path.display().to_string());
    let (findings, profile) = match &config {
        Ok(config) => look(&args, config, &subject).await,
        Err(error) => {
            let remedy = "postbridge config check shows the place; nothing else was looked at";
            let bad = Finding::bad("configuration", "configuration", format!("{error:#}"), remedy);
            (vec![bad], Profile::Full)
        }
    };
    let settings = config.as_ref().ok().and_then(|config| config.entra.as_ref());
    let administrator = settings
        .filter(|_| findings.iter().any(|finding| finding.needs_administrator))
        .map(|settings| to_the_administrator(settings, profile, &findings));
    let ok = findings.iter().all(|finding| finding.outcome != Outcome::Bad);
    if args.json {
        println!(
            "{}",
            serde_json::json!({"ok": ok, "findings": findings, "for_the_administrator": administrator})
        );
    } else {
        for finding in &findings {
            println!("{}", finding.line());
        }
        if let Some(text) = administrator {
            println!("\nTo the tenant's administrator:\n\n{text}");
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) }
}

/// All of it, and the widest profile that an account asks for.
async fn look(args: &Doctor, config: &Config, subject: &str) -> (Vec<Finding>, Profile) {
    let progress = Progress::begin("looking at this machine");
    let mut findings = doctor_machine::configuration(config, subject);
    findings.extend(doctor_machine::state(config));
    findings.extend(doctor_machine::ports(config));
    findings.push(doctor_machine::certificate(config));
    let Some(settings) = &config.entra else {
        let because = "no app registration is configured";
        for check in ["login", "graph", "clock", "accounts"] {
            findings.push(Finding::not_looked_at(check, check, because));
        }
        return (findings, Profile::Full);
    };
    progress.now("asking Microsoft");
    findings.extend(doctor_network::look(settings, Duration::from_secs(args.wait)).await);
    progress.now("looking at the accounts");
    let (of_accounts, profile) = accounts(args, config).await;
    findings.extend(of_accounts);
    (findings, profile)
}

async fn accounts(args: &Doctor, config: &Config) -> (Vec<Finding>, Profile) {
    const CHECK: &str = "accounts";
    let none = || {
        let text = "none yet: postbridge account add ADDRESS";
        (vec![Finding::not_looked_at(CHECK, CHECK, text)], Profile::Full)
    };
    // To open a state directory that is not there would make one.
    if !config.state_dir().join(DATABASE).exists() {
        return none();
    }
    let looked = async {
        let line = Line::open(config).await?;
        let accounts = match line.ask(Request::Accounts {}).await? {
            Reply::Accounts { accounts, .. } => accounts,
            other => return super::line::odd(&other),
        };
        let asked = |address: &Address| {
            args.address.as_ref().is_none_or(|asked| asked.same_mailbox(address))
        };
        let mut findings = Vec::new();
        let mut profile = Profile::SendOnly;
        for account in accounts.iter().filter(|account| asked(&account.address)) {
            if account.profile.scopes().len() > profile.scopes().len() {
                profile = account.profile;
            }
            findings.extend(doctor_accounts::look(&line, &account.address, args.send).await?);
        }
        if let (Some(address), true) = (&args.address, findings.is_empty()) {
            let remedy = "postbridge account list shows those there are";
            findings.push(Finding::bad(
                CHECK,
                CHECK,
                format!("there is no account {address}"),
                remedy,
            ));
        }
        anyhow::Ok((findings, profile))
    };
    match looked.await {
        Ok((findings, _)) if findings.is_empty() => none(),
        Ok(found) => found,
        Err(error) => {
            let bad =
                Finding::bad(CHECK, CHECK, format!("they cannot be looked at: {error:#}"), "");
            (vec![bad], Profile::Full)
        }
    }
}
