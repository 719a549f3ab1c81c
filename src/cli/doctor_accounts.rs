//! What `postbridge doctor` looks at of each account: its sign-in, its permissions, its mailbox; and with
//! `--send` a mail and an event, on the way of all others.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::doctor_words::{Finding, is_for_the_administrator};
use super::line::{Line, odd};
use crate::account::{Account, Address};
use crate::control::{Reply, Request};
use crate::entra::hint;
use crate::probe::{Checked, Looked, Trial};
use crate::store::spool::{Entry, EntryId, State};

/// How long what is made may take to get to Microsoft.
const SENT_WITHIN: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What was found of one account.
pub async fn look(line: &Line, address: &Address, send: bool) -> anyhow::Result<Vec<Finding>> {
    let checked = match line.ask(Request::CheckAccount { address: address.clone() }).await? {
        Reply::Checked { checked } => *checked,
        other => return odd(&other),
    };
    let mut findings = words(&checked);
    if send {
        findings.extend(tries(line, &checked).await?);
    }
    Ok(findings)
}

fn words(checked: &Checked) -> Vec<Finding> {
    let account = &checked.account;
    let name = account.address.as_str();
    let again = format!("postbridge account signin {name}");
    let mut findings = vec![match &checked.token {
        Looked::Good => Finding::good("sign-in", name, "signed in, and Microsoft renews it"),
        Looked::Bad { why, .. } => {
            // The command stands in it, where that is what helps.
            let admin = is_for_the_administrator(why);
            let remedy = match admin {
                true => "send the text below to your administrator",
                false if why.contains("account signin") => "",
                false => again.as_str(),
            };
            Finding::bad("sign-in", name, format!("no sign-in: {why}"), remedy)
                .for_the_administrator(admin)
        }
        Looked::Not { because } => Finding::not_looked_at("sign-in", name, because),
    }];
    findings.push(permissions(account, &again));
    for (check, what, looked) in [
        ("token", "Graph", &checked.graph),
        ("mailbox", "mailbox", &checked.mailbox),
        ("calendar", "calendars", &checked.calendar),
    ] {
        findings.push(match looked {
            Looked::Good => Finding::good(check, name, format!("{what}: reached")),
            Looked::Not { because } => {
                Finding::not_looked_at(check, name, format!("{what}: {because}"))
            }
            Looked::Bad { code, why } => {
                let (remedy, admin) = of_graph(code.as_deref());
                Finding::bad(check, name, format!("{what}: {why}"), remedy)
                    .for_the_administrator(admin)
            }
        });
    }
    findings
}

fn permissions(account: &Account, again: &str) -> Finding {
    let name = account.address.as_str();
    if account.person.is_none() {
        return Finding::not_looked_at("permissions", name, "permissions: it never signed in");
    }
    let missing: Vec<&str> = account.missing().collect();
    if missing.is_empty() {
        return Finding::good(
            "permissions",
            name,
            format!("permissions: {}", account.granted.join(" ")),
        );
    }
    let without: Vec<String> =
        missing.iter().map(|scope| format!("{scope} ({})", hint::without(scope))).collect();
    let remedy = format!(
        "{again}; where only an administrator can grant it, send the text below, or ask for less with --profile"
    );
    Finding::bad("permissions", name, format!("not granted: {}", without.join("; ")), &remedy)
        .for_the_administrator(true)
}

/// What a code of Graph's asks for, and whether of the administrator.
fn of_graph(code: Option<&str>) -> (&'static str, bool) {
    let code = code.unwrap_or_default();
    match code.strip_prefix("Error").unwrap_or(code).to_ascii_lowercase().as_str() {
        "mailboxnotenabledforrestapi" | "mailboxnotsupportedforrestapi" => (
            "the account has no mailbox in Exchange Online: it is on a server of your own, has no licence, or is \
             inactive; an administrator must license or move it",
            true,
        ),
        "nonexistentmailbox" => {
            ("there is no such mailbox: an administrator must assign a licence", true)
        }
        "accessdenied" | "authorization_requestdenied" => (
            "a permission or an application access policy forbids it: an administrator must allow this application",
            true,
        ),
        "applicationthrottled" | "toomanyrequests" => ("wait: Microsoft asks for a pause", false),
        _ => ("", false),
    }
}

/// A mail to oneself, and an event that is removed again.
async fn tries(line: &Line, checked: &Checked) -> anyhow::Result<Vec<Finding>> {
    let account = &checked.account;
    let name = account.address.as_str();
    let not = |because: &str| {
        Ok(vec![
            Finding::not_looked_at("send", name, format!("a mail to itself: {because}")),
            Finding::not_looked_at("event", name, format!("an event: {because}")),
        ])
    };
    if matches!(line, Line::Own(_)) {
        return not("the bridge does not run (postbridge serve)");
    }
    if checked.token != Looked::Good {
        return not("it is not signed in");
    }
    let mut findings = vec![tried(line, account, "send", "a mail to itself", Trial::Mail).await?];
    if !account.has("Calendars.ReadWrite") {
        let because = "an event: Calendars.ReadWrite is not granted";
        findings.push(Finding::not_looked_at("event", name, because));
        return Ok(findings);
    }
    let event = Uuid::new_v4();
    let made = tried(line, account, "event", "an event is made", Trial::Event(event)).await?;
    findings.push(made);
    // Whatever came of it: nothing of it shall stay.
    findings.push(tried(line, account, "event", "and removed", Trial::RemoveEvent(event)).await?);
    Ok(findings)
}

async fn tried(
    line: &Line,
    account: &Account,
    check: &'static str,
    what: &str,
    trial: Trial,
) -> anyhow::Result<Finding> {
    let address = account.address.clone();
    let id = match line.ask(Request::Try { address, trial }).await? {
        Reply::Entry { entry, .. } => entry.id,
        other => return odd(&other),
    };
    let entry = followed(line, id).await?;
    let name = account.address.as_str();
    let note = entry.note.clone().unwrap_or_default();
    Ok(match entry.state {
        State::Sent => Finding::good(check, name, format!("{what}: done")),
        State::Failed | State::Held => {
            let remedy = format!("postbridge queue show {id}");
            Finding::bad(check, name, format!("{what}: {} {note}", entry.state.name()), &remedy)
        }
        _ => {
            let remedy = format!("it is tried on: postbridge queue show {id}");
            Finding::bad(check, name, format!("{what}: not yet, {note}"), &remedy)
        }
    })
}

/// The entry at its end, or as it is when patience ends.
async fn followed(line: &Line, id: EntryId) -> anyhow::Result<Entry> {
    let deadline = Instant::now() + SENT_WITHIN;
    loop {
        let entry = match line.ask(Request::Entry { id }).await? {
            Reply::Entry { entry, .. } => *entry,
            other => return odd(&other),
        };
        let ended = matches!(entry.state, State::Sent | State::Failed | State::Held);
        if ended || Instant::now() > deadline {
            return Ok(entry);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
