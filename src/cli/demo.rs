//! `postbridge demo`: sandbox, bridge and a signed-in account on this machine, with nothing of
//! Microsoft's; a mail and the invites of a meeting through it, and then it stays up for the user's own
//! client.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::access::Way;
use crate::account::{Address, Profile};
use crate::app::{self, Running};
use crate::caldav::server as caldav;
use crate::cli::demo_invite::{ATTENDEES, Mailing, Told, mailings, table};
use crate::cli::submit::{Mail, submit};
use crate::config::Config;
use crate::control::{self, Reply, Request};
use crate::entra::Settings;
use crate::sandbox::{Options, Sandbox};
use crate::secret::Secret;
use crate::smtp::server::Kind;

pub const USER: &str = "adele.vance@contoso.example";
pub const COLLEAGUE: &str = "alex.wilber@contoso.example";
/// Any GUID is an app registration in the sandbox.
const CLIENT_ID: &str = "5ca1ab1e-0000-4000-8000-000000000001";
/// How long what came in may take to arrive, for each mail.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Stop after the mail and the invites; the exit status says whether all of it arrived.
    #[arg(long)]
    once: bool,
    /// Print one line of JSON instead of words.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, state: Option<PathBuf>) -> anyhow::Result<()> {
    let mut stop = pin!(super::asked_to_stop()?);
    let state = State::choose(state)?;
    let sandbox = Sandbox::start(Options {
        listen: listen(8480, args.once),
        https: None,
        mailboxes: vec![USER.into(), COLLEAGUE.into()],
        seed: 0,
        automatic: true,
        state: None,
    })
    .await
    .context("the sandbox cannot start")?;

    let running = app::start(&configuration(&state.path, &sandbox, args.once)?).await?;
    let password = signed_in(&running, &sandbox).await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let demo = Demo { client, sandbox, running, password, state };

    let shown = tokio::select! {
        shown = demo.show(&args) => shown,
        () = &mut stop => Err(anyhow!("stopped before everything arrived")),
    };
    if shown.is_ok() && !args.once {
        stop.await;
    }
    demo.running.stop().await;
    shown
}

/// A temporary directory that goes away at the end, or the one that was asked for.
struct State {
    path: PathBuf,
    temporary: bool,
}

impl State {
    fn choose(asked: Option<PathBuf>) -> anyhow::Result<State> {
        if let Some(path) = asked {
            return Ok(State { path, temporary: false });
        }
        let name = format!("postbridge-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(State { path, temporary: true })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

struct Demo {
    client: reqwest::Client,
    sandbox: Sandbox,
    running: Running,
    password: Secret,
    state: State,
}

/// As much of the sandbox's ledger as is shown.
#[derive(Deserialize)]
struct Ledger {
    mails: Vec<Value>,
    invitations: Vec<Told>,
}

fn configuration(state: &Path, sandbox: &Sandbox, once: bool) -> anyhow::Result<Config> {
    let mut config = Config { state_dir: Some(state.to_owned()), ..Config::default() };
    config.entra = Some(Settings {
        client_id: CLIENT_ID.into(),
        tenant: "organizations".into(),
        cloud: crate::entra::Cloud::Global,
        login_url: Some(sandbox.url().parse()?),
        graph_url: Some(sandbox.url().parse()?),
    });
    config.smtp.starttls = vec![listen(1587, once)];
    config.smtp.implicit_tls = vec![listen(1465, once)];
    config.caldav.listen = vec![toml::Spanned::new(0..0, listen(1080, once))];
    config.caldav.tls = vec![listen(1443, once)];
    config.page.listen = vec![toml::Spanned::new(0..0, listen(1088, once))];
    Ok(config)
}

/// The port, or a free one beside it; a demo that ends at once takes none that another may want.
fn listen(port: u16, once: bool) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
        Ok(_) if !once => address,
        _ => SocketAddr::new(address.ip(), 0),
    }
}

/// Adds the account, or gives it a new password if the state directory knows it already, and signs
/// it in as a browser would.
async fn signed_in(running: &Running, sandbox: &Sandbox) -> anyhow::Result<Secret> {
    let control = &running.control;
    let address: Address = USER.parse()?;
    let ask = async |request| control::handle(request, control).await;
    let known = control.store.account_by_login(USER).await?.is_some();
    let request = match known {
        true => Request::NewPassword { address: address.clone() },
        false => Request::AddAccount { address: address.clone(), profile: Profile::Full },
    };
    let Reply::Password { password, .. } = ask(request).await else {
        bail!("the demo's account cannot be added");
    };
    let way = Way::Browser { port: 1 };
    let Reply::Browser { flow, url } =
        ask(Request::BeginSignIn { address, profile: None, way }).await
    else {
        bail!("the sign-in cannot begin");
    };
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let answer = browser.get(&url).send().await.context(sandbox.url())?;
    let redirected = answer
        .headers()
        .get(reqwest::header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .context("the sandbox did not sign in")?;
    let redirected = Secret::new(redirected.to_owned());
    match ask(Request::FinishSignIn { flow, redirected }).await {
        Reply::SignedIn { .. } => Ok(password),
        Reply::Refused { why } => bail!("the sign-in was refused: {why}"),
        _ => bail!("the sign-in came to an odd end"),
    }
}

impl Demo {
    fn address(&self, kind: Kind) -> SocketAddr {
        let found = self.running.listening.iter().find(|(k, _)| *k == kind);
        found.map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |(_, address)| *address)
    }

    /// The base URL of the calendar.
    fn calendar(&self, kind: caldav::Kind) -> String {
        let found = self.running.calendars.iter().find(|(k, _)| *k == kind);
        let port = found.map_or(0, |(_, address)| address.port());
        format!("{}://localhost:{port}/dav/", kind.scheme())
    }

    /// Sends everything, waits for what comes of it, and prints that.
    async fn show(&self, args: &Args) -> anyhow::Result<()> {
        let raw = self.first_mail().await.context("the first mail did not arrive")?;
        let mut rows = Vec::new();
        for mailing in mailings(Timestamp::now(), uuid::Uuid::new_v4(), !args.once)? {
            let name = mailing.name;
            let told = self.told_of(&mailing).await;
            rows.push((
                mailing,
                told.with_context(|| format!("the invite did not arrive ({name})"))?,
            ));
        }
        if args.json {
            println!("{}", self.json(&self.ledger().await?));
            return Ok(());
        }
        println!("A mail went in by SMTP; this is what {COLLEAGUE} got:\n");
        for line in raw.lines() {
            println!("  │ {line}");
        }
        print!(
            "\nThen a tool that knows nothing but mail sent a meeting, as text/calendar. It became an event\n\
             in {USER}'s calendar, and Exchange told the attendees:\n\n{}",
            table(&rows)
        );
        if !args.once {
            let page = match control::handle(Request::PageLink {}, &self.running.control).await {
                Reply::PageLink { url } => Some(url),
                _ => None,
            };
            self.say_how_to_go_on(page.as_ref());
        }
        Ok(())
    }

    /// Hands in a mail at our own SMTP port, as any client would.
    async fn submit(&self, to: &[&str], message: &str) -> anyhow::Result<()> {
        let mail = Mail { user: USER, password: self.password.expose(), from: USER, to, message };
        submit(self.address(Kind::ImplicitTls), &self.running.certificates.ca, &mail).await?;
        Ok(())
    }

    /// Sends one mail; what the recipient gets.
    async fn first_mail(&self) -> anyhow::Result<String> {
        // Its id tells it from the mails of an earlier run on the same state directory.
        let id = format!("<{}@contoso.example>", uuid::Uuid::new_v4());
        let message = format!(
            "From: Adele Vance <{USER}>\r\nTo: Alex Wilber <{COLLEAGUE}>\r\nSubject: It works\r\n\
             Message-ID: {id}\r\n\r\nThis came in by SMTP and went out through Microsoft Graph.\r\n"
        );
        self.submit(&[COLLEAGUE], &message).await?;
        let arrived = self.awaited(|ledger| {
            let row = ledger.mails.iter().find(|row| row["message_id"] == *id)?;
            Some(row["seq"].clone())
        });
        let raw = format!("{}/_sandbox/mails/{}/raw", self.sandbox.url(), arrived.await?);
        Ok(self.client.get(raw).send().await?.error_for_status()?.text().await?)
    }

    /// Sends an invite; what Exchange tells the attendees because of it.
    async fn told_of(&self, mailing: &Mailing) -> anyhow::Result<Vec<Told>> {
        let before = self.ledger().await?;
        self.submit(&ATTENDEES, &mailing.message).await?;
        self.awaited(|ledger| {
            let mails = ledger.mails.get(before.mails.len()..)?;
            if mails.iter().any(|row| row["subject"] == mailing.subject) {
                return Some(Err(anyhow!("it was mailed as it stands, and is no event")));
            }
            let told = ledger.invitations.get(before.invitations.len()..)?;
            mailing.is_answered_by(told).then(|| Ok(told.to_vec()))
        })
        .await?
    }

    /// Looks into the ledger until there is what `look` looks for.
    async fn awaited<T>(&self, look: impl Fn(&Ledger) -> Option<T>) -> anyhow::Result<T> {
        let looking = async {
            loop {
                if let Some(found) = look(&self.ledger().await?) {
                    return Ok(found);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.with_context(|| {
            format!("it is not in the sandbox's ledger after {} s", PATIENCE.as_secs())
        })?
    }

    async fn ledger(&self) -> anyhow::Result<Ledger> {
        let url = format!("{}/_sandbox/ledger", self.sandbox.url());
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }

    fn json(&self, ledger: &Ledger) -> Value {
        serde_json::json!({
            "smtp": self.address(Kind::Starttls).to_string(),
            "smtps": self.address(Kind::ImplicitTls).to_string(),
            "caldav": self.calendar(caldav::Kind::Clear),
            "caldav_tls": self.calendar(caldav::Kind::Tls),
            "user": USER,
            "password": self.password.expose(),
            "ca": self.running.certificates.ca,
            "sandbox": self.sandbox.url(),
            "state": self.state.path,
            "mails": ledger.mails,
            "invitations": ledger.invitations,
        })
    }

    fn say_how_to_go_on(&self, page: Option<&Secret>) {
        let (starttls, tls) =
            (self.address(Kind::Starttls).port(), self.address(Kind::ImplicitTls).port());
        let (ca, password) = (self.running.certificates.ca.display(), self.password.expose());
        let sandbox = self.sandbox.url();
        println!(
            "\nThe other meeting stands. See it in the calendars, and answer for Alex: {sandbox}/"
        );
        if let Some(page) = page {
            println!("\nLook at the bridge itself, within five minutes: {}", page.expose());
        }
        println!("\nPoint a mail client at it:\n");
        for (name, value) in [
            ("Server", "localhost".to_owned()),
            ("Port", format!("{starttls} with STARTTLS, or {tls} with TLS")),
            ("User name", USER.to_owned()),
            ("Password", password.to_owned()),
            ("CA file", ca.to_string()),
            ("What arrives", format!("{sandbox}/")),
            ("State", self.state.path.display().to_string()),
        ] {
            println!("  {name:<13} {value}");
        }
        // Quirk(curl): it sends line ends as they are, and a bare LF is refused.
        println!("\nOr from a shell:\n");
        println!(
            "  printf 'Subject: from curl\\r\\n\\r\\nHello\\r\\n' |\n    \
             curl -sS --url smtps://localhost:{tls} --cacert '{ca}' \\\n    \
             --user '{USER}:{password}' \\\n    \
             --mail-from {USER} --mail-rcpt {COLLEAGUE} --upload-file -\n"
        );
        println!(
            "  swaks --server localhost:{starttls} --tls --tls-verify --tls-ca-path '{ca}' \\\n    \
             --auth PLAIN --auth-user {USER} --auth-password {password} \\\n    \
             --from {USER} --to {COLLEAGUE}\n"
        );
        let (clear, tls) = (self.calendar(caldav::Kind::Clear), self.calendar(caldav::Kind::Tls));
        println!(
            "Point a calendar program at it, Thunderbird with New Calendar, On the Network: user name as\n\
             above, location {clear} (or {tls} with that CA). Or from a shell:\n"
        );
        let home = USER.replace('@', "%40");
        println!(
            "  curl -sS --user '{USER}:{password}' -X PUT -H 'Content-Type: text/calendar' \\\n    \
             --data-binary @meeting.ics {clear}calendars/{home}/calendar/meeting.ics\n"
        );
        println!(
            "  curl -sS --user '{USER}:{password}' -X PROPFIND -H 'Depth: 1' --cacert '{ca}' \\\n    \
             {tls}calendars/{home}/calendar/\n"
        );
        println!(
            "Ctrl-C ends it{}.",
            if self.state.temporary { " and removes the state" } else { "" }
        );
    }
}
