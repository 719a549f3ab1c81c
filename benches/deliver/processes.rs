//! The two processes: the sandbox, and postbridge with signed-in accounts in its state directory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use postbridge::account::Profile;
use postbridge::config::Config;
use postbridge::control::{self, Reply, Request, SOCKET};
use postbridge::store::spool::{Entry, EntryId, State};
use postbridge::{app, store};
use serde_json::{Value, json};

use crate::common::daemon::{Client, Daemon};
use crate::common::{PATIENCE, add_account_of};

/// Of another organisation, so that the sandbox fills no inbox with what is sent.
pub const RECIPIENT: &str = "pattie.fuller@fabrikam.example";

/// Under `target/`, so on a real disk.
fn directory() -> anyhow::Result<tempfile::TempDir> {
    let private = fs::Permissions::from_mode(0o700);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("deliver-").permissions(private);
    Ok(builder.tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// `postbridge sandbox`; killed when dropped.
pub struct Sandbox {
    pub url: String,
    pub mailboxes: Vec<String>,
    http: reqwest::Client,
    child: Child,
    /// Kept open: it writes there.
    _output: BufReader<ChildStdout>,
    _state: tempfile::TempDir,
}

impl Sandbox {
    /// With so many mailboxes.
    pub fn start(mailboxes: usize) -> anyhow::Result<Sandbox> {
        let mailboxes: Vec<String> =
            (1..=mailboxes).map(|n| format!("clerk-{n}@contoso.example")).collect();
        let state = directory()?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_postbridge"))
            .arg("--state")
            .arg(state.path())
            .args(["sandbox", "--listen", "127.0.0.1:0", "--https", "127.0.0.1:0", "--automatic"])
            .arg("--mailbox")
            .args(&mailboxes)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let url = line.trim().rsplit(' ').next().context("it says where it is")?.to_owned();
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Sandbox { url, mailboxes, http, child, _output: output, _state: state })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Forgets what was, and answers every call of Graph so much later from now on.
    pub async fn reset(&self, latency: Duration) -> anyhow::Result<()> {
        self.post("/_sandbox/reset", &json!({})).await?;
        // The first only counts.
        let mut faults = vec![json!({
            "method": "POST", "route": "/v1.0/me/messages/*/send", "times": 0, "do": "cut_before",
        })];
        if !latency.is_zero() {
            let delay = json!({ "delay_ms": u64::try_from(latency.as_millis())? });
            faults
                .extend(["/v1.0/", "/api/v2.0/"].map(|route| json!({"route": route, "do": delay})));
        }
        self.post("/_sandbox/faults", &json!({ "faults": faults })).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let answer = self.http.post(format!("{}{path}", self.url)).json(body).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.text().await?);
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.http.get(format!("{}{path}", self.url)).send().await?.json().await?)
    }

    /// How many sends of drafts were begun since the reset.
    pub async fn sends(&self) -> anyhow::Result<u64> {
        let faults = self.get("/_sandbox/faults").await?;
        let count = faults.pointer("/faults/0/matched").and_then(Value::as_u64);
        count.context("a script is set")
    }

    /// That so many mails went since the reset, each once, and no request was one too many.
    pub async fn check(&self, mails: usize) -> anyhow::Result<()> {
        let ledger = self.get("/_sandbox/ledger").await?;
        let rows = |of: &str| ledger.get(of).and_then(Value::as_array).cloned().unwrap_or_default();
        let (went, throttled) = (rows("mails"), rows("throttled"));
        ensure!(throttled.is_empty(), "{} requests were throttled", throttled.len());
        let mut subjects: Vec<&str> =
            went.iter().filter_map(|row| row.get("subject")?.as_str()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        ensure!(
            went.len() == mails && subjects.len() == mails,
            "{} mails went, {} of them different, of {mails}",
            went.len(),
            subjects.len()
        );
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mailbox that postbridge sends for.
pub struct Account {
    pub address: String,
    /// What `AUTH` takes.
    password: String,
    /// The right to call Graph for it, for the one who goes without postbridge.
    pub token: String,
}

/// A state directory with an account for each mailbox of the sandbox.
pub struct Site {
    pub accounts: Vec<Account>,
    directory: tempfile::TempDir,
}

impl Site {
    pub async fn new(sandbox: &Sandbox) -> anyhow::Result<Site> {
        let directory = directory()?;
        let (state, url) = (directory.path().join("state"), &sandbox.url);
        let text = format!(
            "state_dir = {state:?}\n[smtp]\nstarttls = []\nimplicit_tls = []\n\
             clear = [\"127.0.0.1:0\"]\nmessage_octets_max = 157_286_400\n\
             [caldav]\nlisten = []\ntls = []\n[page]\nlisten = []\n[entra]\nclient_id = \"5ca1ab1e-0000-4000-8000-000000000001\"\n\
             login_url = \"{url}\"\ngraph_url = \"{url}\"\n"
        );
        let mut site = Site { accounts: Vec::new(), directory };
        fs::write(site.config_file(), &text)?;
        let control = app::open(&Config::parse(&site.config_file(), &text)?).await?;
        for address in &sandbox.mailboxes {
            let password = add_account_of(address, &control, Profile::Full).await;
            let account = control.store.account_by_login(address).await?.context("just added")?;
            let token = control.access.access_token(account.id).await?.expose().to_owned();
            site.accounts.push(Account { address: address.clone(), password, token });
        }
        drop(control);
        while store::is_held(&site.state()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(site)
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn config_file(&self) -> PathBuf {
        self.directory.path().join("postbridge.toml")
    }

    pub fn serve(&self) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
        command.arg("--config").arg(self.config_file()).arg("serve").env_remove("RUST_LOG");
        Daemon::start(&mut command)
    }

    async fn ask(&self, request: Request) -> anyhow::Result<Reply> {
        Ok(control::call(&self.state().join(SOCKET), &request).await?)
    }

    /// Whether no mail is on its way; an error if one came to another end than being sent.
    pub async fn is_done(&self) -> anyhow::Result<bool> {
        let reply = self.ask(Request::Entries { state: None, most: 0 }).await?;
        let Reply::Entries { counts, .. } = reply else { anyhow::bail!("{reply:?}") };
        let lost = counts.iter().find(|(state, _)| matches!(state, State::Failed | State::Held));
        ensure!(lost.is_none(), "{counts:?}");
        Ok(counts.iter().all(|(state, _)| *state == State::Sent))
    }

    pub async fn entry(&self, id: EntryId) -> anyhow::Result<Entry> {
        match self.ask(Request::Entry { id }).await? {
            Reply::Entry { entry, .. } => Ok(*entry),
            odd => anyhow::bail!("{odd:?}"),
        }
    }
}

impl Account {
    pub fn connect(&self, daemon: SocketAddr) -> anyhow::Result<Client> {
        Ok(Client::connect_as(&self.address, daemon, &self.password)?)
    }

    /// Hands a mail in, up to the 354.
    pub fn begin(&self, client: &mut Client) -> anyhow::Result<()> {
        client.ask(&format!("MAIL FROM:<{}>", self.address), "250")?;
        client.ask(&format!("RCPT TO:<{RECIPIENT}>"), "250")?;
        client.ask("DATA", "354")?;
        Ok(())
    }

    /// Hands in a mail of a few kB, with this subject.
    pub fn hand_in(&self, client: &mut Client, subject: &str) -> anyhow::Result<EntryId> {
        self.begin(client)?;
        let (head, body) = (self.head(subject), crate::body());
        client.send(&format!("{head}Content-Type: text/plain\r\n\r\n{body}.\r\n"))?;
        Ok(crate::common::id_in(&client.expect("250")?))
    }

    pub fn head(&self, subject: &str) -> String {
        format!(
            "From: {}\r\nTo: {RECIPIENT}\r\nSubject: {subject}\r\n\
             Date: Mon, 2 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{subject}@contoso.example>\r\n\
             MIME-Version: 1.0\r\n",
            self.address
        )
    }
}

/// Looks again until it is so.
pub async fn until(
    look: impl AsyncFn() -> anyhow::Result<bool>,
    apart: Duration,
) -> anyhow::Result<()> {
    let looking = async {
        while !look().await? {
            tokio::time::sleep(apart).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, looking).await.context("it takes too long")?
}
