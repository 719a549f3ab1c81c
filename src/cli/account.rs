//! `postbridge account`: add, signin, list, password, remove.
//!
//! Works through the daemon when one runs, else by itself; see `control`. The browser's redirect is
//! always taken by this process, since it runs where the browser does. No secret is an argument.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::line::{Line, odd};
use super::redirect;
use crate::access::Way;
use crate::account::{Account, Address, Profile, Standing};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::entra::hint;
use crate::secret::Secret;

/// As long as the daemon waits.
const SIGN_IN_TIME: Duration = Duration::from_secs(600);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a mailbox, sign in to Microsoft, and print its local password once.
    #[command(
        after_help = "Example: postbridge account add adele.vance@contoso.example --profile mail"
    )]
    Add {
        /// The mailbox's address; also the user name for mail clients.
        address: Address,
        /// What to ask Microsoft for.
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Add it now, sign in later.
        #[arg(long, conflicts_with_all = ["no_browser", "device_code", "port"])]
        no_signin: bool,
        #[command(flatten)]
        sign_in: SignInBy,
    },
    /// Sign in to Microsoft, for the first time or again.
    #[command(name = "signin")]
    #[command(
        after_help = "Example: postbridge account signin adele.vance@contoso.example --no-browser"
    )]
    SignIn {
        /// The mailbox's address, as it was added.
        address: Address,
        /// Ask Microsoft for more or less than before.
        #[arg(long, value_enum)]
        profile: Option<Profile>,
        #[command(flatten)]
        sign_in: SignInBy,
    },
    /// Show the accounts, and what they may do.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a new local password; the old one is void at once.
    Password {
        /// The mailbox's address, as it was added.
        address: Address,
    },
    /// Forget an account and its sign-in.
    Remove {
        /// The mailbox's address, as it was added.
        address: Address,
        /// Even if mails of it still wait; they are then held and not sent.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub struct SignInBy {
    /// Print the address instead of opening a browser, and take the one that it leads to, pasted.
    #[arg(long)]
    no_browser: bool,
    /// Sign in at another device with a code, where the tenant allows that.
    #[arg(long, conflicts_with_all = ["no_browser", "port"])]
    device_code: bool,
    /// Wait for the browser at this local port (for ssh -L); any free one otherwise.
    #[arg(long)]
    port: Option<u16>,
}

/// Runs one command against the state directory. Results go to standard output, all else to
/// standard error.
pub async fn run(command: Command, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let line = Line::open(&config?).await?;
    match command {
        Command::Add { address, profile, no_signin, sign_in: how } => {
            let password = match line.ask(Request::AddAccount { address, profile }).await? {
                Reply::Password { address, password } => (address, password),
                other => return odd(&other),
            };
            let address = password.0.clone();
            show_password(&address, &password.1)?;
            if no_signin {
                eprintln!("To sign in to Microsoft: postbridge account signin {address}");
                return Ok(());
            }
            sign_in(&line, address.clone(), None, how).await.with_context(|| {
                format!(
                    "the account was added and has not signed in yet; try again with: \
                     postbridge account signin {address}"
                )
            })
        }
        Command::SignIn { address, profile, sign_in: how } => {
            sign_in(&line, address, profile, how).await
        }
        Command::List { json } => match line.ask(Request::Accounts {}).await? {
            Reply::Accounts { accounts, .. } => list(&accounts, json),
            other => odd(&other),
        },
        Command::Password { address } => match line.ask(Request::NewPassword { address }).await? {
            Reply::Password { address, password } => show_password(&address, &password),
            other => odd(&other),
        },
        Command::Remove { address, force } => {
            let request = Request::RemoveAccount { address, even_with_mail: force };
            match line.ask(request).await? {
                Reply::Removed { address } => {
                    eprintln!(
                        "{address} is removed. Its sign-in still shows at \
                         https://myapps.microsoft.com, where it can be revoked."
                    );
                    Ok(())
                }
                other => odd(&other),
            }
        }
    }
}

async fn sign_in(
    line: &Line,
    address: Address,
    profile: Option<Profile>,
    how: SignInBy,
) -> anyhow::Result<()> {
    let reply = if how.device_code {
        by_device_code(line, address, profile).await?
    } else {
        by_browser(line, address, profile, &how).await?
    };
    let Reply::SignedIn { account, limits } = reply else { return odd(&reply) };
    eprintln!("Signed in: {} (profile {})", account.address, account.profile.name());
    for limit in limits {
        eprintln!("Note: {limit}");
    }
    Ok(())
}

async fn by_browser(
    line: &Line,
    address: Address,
    profile: Option<Profile>,
    how: &SignInBy,
) -> anyhow::Result<Reply> {
    let listeners = listen(how.port.unwrap_or(0)).await.context("no local port to wait at")?;
    let port = listeners.first().context("no local port")?.local_addr()?.port();
    let way = Way::Browser { port };
    let (flow, url) = match line.ask(Request::BeginSignIn { address, profile, way }).await? {
        Reply::Browser { flow, url } => (flow, url),
        other => return odd(&other),
    };
    eprintln!("Sign in to Microsoft at:\n\n{url}\n");
    if how.no_browser {
        eprintln!(
            "The browser ends at an address that begins with http://localhost:{port}. If it runs on \
             this machine (or with ssh -L {port}:localhost:{port}), that is all. If not, it shows an \
             error page: copy the whole address from there and paste it here:"
        );
    } else if let Err(error) = opener::open_browser(&url) {
        eprintln!("No browser could be opened ({error}); open the address yourself.");
    }
    let wait = async {
        let redirect = redirect::wait(listeners);
        if how.no_browser {
            tokio::select! {
                redirect = redirect => redirect,
                pasted = redirect::pasted() => pasted,
            }
        } else {
            redirect.await
        }
    };
    let answered = tokio::time::timeout(SIGN_IN_TIME, wait)
        .await
        .context("nobody signed in within ten minutes; start again")??;
    let redirected = answered.redirected.clone();
    let reply = line.ask(Request::FinishSignIn { flow, redirected }).await;
    let (title, text) = match &reply {
        Ok(Reply::SignedIn { account, .. }) => {
            ("Signed in", format!("{} is ready. You can close this window.", account.address))
        }
        Ok(_) => ("Not signed in", "See the terminal.".to_owned()),
        Err(why) => ("Not signed in", why.to_string()),
    };
    answered.tell(title, &text).await;
    reply
}

/// `localhost` may mean either family to the browser: wait at both, where there are both.
async fn listen(port: u16) -> std::io::Result<Vec<TcpListener>> {
    let mut last = None;
    for _ in 0..10 {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        match TcpListener::bind((Ipv6Addr::LOCALHOST, v4.local_addr()?.port())).await {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => last = Some(error),
            // A machine without IPv6.
            Err(_) => return Ok(vec![v4]),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

async fn by_device_code(
    line: &Line,
    address: Address,
    profile: Option<Profile>,
) -> anyhow::Result<Reply> {
    let way = Way::DeviceCode;
    let reply = line.ask(Request::BeginSignIn { address: address.clone(), profile, way }).await?;
    let Reply::DeviceCode { flow, user_code, verification_url, lifetime_s } = reply else {
        return odd(&reply);
    };
    eprintln!("Open {verification_url} and enter the code {user_code}");
    eprintln!(
        "Sign in there as {address}, within {} minutes.\n\n\
         Warning: whoever signs in with this code gives this postbridge access to their mailbox. \
         Enter it yourself; never pass it on, and never enter a code that somebody sent you.",
        lifetime_s / 60
    );
    poll(line, flow).await
}

async fn poll(line: &Line, flow: Uuid) -> anyhow::Result<Reply> {
    loop {
        // The one that holds the state waits as long as Microsoft wants.
        match line.ask(Request::PollSignIn { flow }).await? {
            Reply::Waiting {} => {}
            reply => return Ok(reply),
        }
    }
}

fn show_password(address: &Address, password: &Secret) -> anyhow::Result<()> {
    eprintln!("User name and password for mail clients (it is not shown again):");
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}\n{}", password.expose())?;
    Ok(out.flush()?)
}

fn list(accounts: &[Account], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, accounts)?;
        writeln!(out)?;
        return Ok(());
    }
    if accounts.is_empty() {
        eprintln!("No account yet. Add one: postbridge account add ADDRESS");
    }
    for account in accounts {
        let state = match &account.standing {
            Standing::Ready => "ready".to_owned(),
            Standing::New => "not signed in yet".to_owned(),
            Standing::NeedsSignIn(why) => format!("needs sign-in: {why}"),
        };
        writeln!(out, "{}  {}  {state}", account.address, account.profile.name())?;
        if account.standing != Standing::Ready {
            writeln!(out, "    postbridge account signin {}", account.address)?;
        }
        let aliases: Vec<_> = account.aliases.iter().map(Address::as_str).collect();
        if !aliases.is_empty() {
            writeln!(out, "    sends as: {}", aliases.join(", "))?;
        }
        if account.person.is_some() {
            writeln!(out, "    granted: {}", account.granted.join(" "))?;
            let missing: Vec<_> = account.missing().collect();
            if !missing.is_empty() {
                writeln!(out, "    not granted: {}", missing.join(" "))?;
            }
            const DRAFTS: &str = "Mail.ReadWrite";
            if !account.has(DRAFTS) {
                writeln!(out, "    without {DRAFTS}: {}", hint::without(DRAFTS))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        _command: super::Command,
    }

    #[test]
    fn every_command_and_option_has_a_name_of_its_own() {
        Line::command().debug_assert();
    }
}
