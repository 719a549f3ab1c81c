//! The command line: one file for each command, and what an error means to a shell.

pub mod account;
mod annotated;
mod archive;
pub mod config;
pub mod demo;
mod demo_invite;
mod doctor;
mod doctor_accounts;
mod doctor_machine;
mod doctor_network;
mod doctor_words;
pub mod exit;
mod fitness;
mod health;
pub mod invites;
pub mod line;
mod log;
mod logs;
mod man;
mod page;
mod passphrase;
mod progress;
pub mod queue;
mod queue_words;
mod redirect;
mod reload;
pub mod sandbox;
mod selftest;
pub mod sendmail;
mod sendmail_drop;
mod sendmail_mail;
mod sendmail_options;
mod sendmail_session;
pub mod serve;
pub mod submit;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, LogFormat};

/// SMTP submission in, Microsoft Graph out: lets programs that speak only SMTP send through
/// Microsoft 365.
#[derive(Debug, Parser)]
#[command(name = "postbridge", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: the first of
    /// ~/.config/postbridge/postbridge.toml, /etc/postbridge/postbridge.toml]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The state directory, instead of the configured one.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge in the foreground, until SIGTERM or Ctrl-C.
    Serve,
    /// Try it: sandbox, bridge and a signed-in account, with nothing of Microsoft's.
    Demo(demo::Args),
    /// Add, sign in, list and remove accounts.
    #[command(subcommand)]
    Account(account::Command),
    /// Look at the mails that were accepted.
    #[command(subcommand)]
    Queue(queue::Command),
    /// What became of a mail, step by step.
    Logs(logs::Args),
    /// Have the daemon take up its configuration anew, and renewed certificates.
    Reload,
    /// Open the status page in a browser.
    Page(page::Args),
    /// Ask the daemon whether it goes on: exit status 0 if so.
    Health,
    /// Look at the invites that became events, and why.
    #[command(subcommand)]
    Invites(invites::Command),
    /// Ask a mailbox what Microsoft's documentation leaves open, with its owner's consent.
    #[command(name = "selftest")]
    SelfTest(selftest::Args),
    /// Look at everything that a mail needs on its way, and say what to do about what is wrong.
    Doctor(doctor::Doctor),
    /// Copy all that is remembered into a directory, while the bridge runs.
    Backup(transfer::Backup),
    /// Write accounts, calendars, invites and mails into a file, to take them to another machine.
    Export(transfer::Export),
    /// Bring in what export or backup made; the state directory has no database yet.
    Import(transfer::Import),
    /// Check the configuration, or show what it comes to.
    #[command(subcommand)]
    Config(config::Command),
    /// Run a stand-in for Microsoft 365.
    Sandbox(sandbox::Args),
    /// Hand in a mail as programs do with sendmail(8): -t, -i, -f, -F, -bs, -bp, -q, -N, -R and more.
    #[command(after_help = SENDMAIL)]
    Sendmail {
        /// Those of sendmail(8).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Print the completions for a shell, such as: postbridge completions bash > postbridge.bash
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages into a directory, such as /usr/local/share/man/man1.
    #[command(hide = true)]
    Man { directory: PathBuf },
}

const SENDMAIL: &str = "Example: echo Hello | postbridge sendmail -F Backup adele.vance@contoso.example

As whom: ~/.config/postbridge/sendmail.toml, else /etc/postbridge/sendmail.toml, not open to others, with server \
(\"localhost:1465\"), user, password and ca (the CA file). Linked as sendmail or mailq it can be called so. While the \
bridge is down mails wait in ~/.local/state/postbridge/drop; -q hands them in, -bp shows them.";

/// Runs a command; what went wrong goes to standard error, once.
pub async fn run(cli: Cli) -> ExitCode {
    // The daemon's own is as its configuration says.
    if !matches!(cli.command, Command::Serve) {
        log::start("warn", LogFormat::Text);
    }
    let done = match cli.command {
        Command::Serve => serve::run(serve::Source { file: cli.config, state: cli.state }).await,
        Command::Demo(args) => demo::run(args, cli.state).await,
        Command::Account(command) => {
            account::run(command, configuration(cli.config, cli.state)).await
        }
        Command::Queue(command) => queue::run(command, configuration(cli.config, cli.state)).await,
        Command::SelfTest(args) => selftest::run(args, configuration(cli.config, cli.state)).await,
        Command::Reload => reload::run(configuration(cli.config, cli.state)).await,
        Command::Health => health::run(configuration(cli.config, cli.state)).await,
        Command::Page(args) => page::run(args, configuration(cli.config, cli.state)).await,
        Command::Logs(args) => logs::run(args, configuration(cli.config, cli.state)).await,
        Command::Invites(command) => {
            invites::run(command, configuration(cli.config, cli.state)).await
        }
        Command::Doctor(args) => {
            let file = cli.config.clone();
            return doctor::run(args, file, configuration(cli.config, cli.state)).await;
        }
        Command::Backup(args) => transfer::backup(args, configuration(cli.config, cli.state)).await,
        Command::Export(args) => transfer::export(args, configuration(cli.config, cli.state)).await,
        Command::Import(args) => transfer::import(args, configuration(cli.config, cli.state)).await,
        Command::Config(command) => {
            let file = cli.config.clone();
            config::run(command, file, configuration(cli.config, cli.state))
        }
        Command::Sandbox(args) => sandbox::run(args, cli.state).await,
        Command::Sendmail { arguments } => return sendmail::run(arguments).await,
        Command::Completions { shell } => {
            man::completions(shell);
            Ok(())
        }
        Command::Man { directory } => man::pages(&directory),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::say(&error),
    }
}

fn configuration(path: Option<PathBuf>, state: Option<PathBuf>) -> anyhow::Result<Config> {
    let mut config = Config::load(path.as_deref())?;
    if state.is_some() {
        config.state_dir = state;
    }
    Ok(config)
}

/// Resolves at SIGTERM or SIGINT; from now on they do not end the process by themselves.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
