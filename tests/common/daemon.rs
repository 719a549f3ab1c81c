//! The bridge as a process of its own, and a client as plain as SMTP allows.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postbridge::account::{Account, Profile};
use postbridge::app;
use postbridge::config::Config;
use postbridge::control::{self, Reply, Request, SOCKET};
use postbridge::sandbox::Sandbox;
use postbridge::sandbox::script::{Act, Kill, Rule, Script, When};
use postbridge::store::spool::{Entry, EntryId, State};
use postbridge::store::{Room, Store};
use sqlx::{Connection, SqliteConnection};
use tokio::runtime::Runtime;

use super::{PATIENCE, USER, add_account, id_in, private_directory, sandbox};

/// The account may send as this by its configuration; Microsoft says that it may not.
pub const NOT_OURS: &str = "jobs@contoso.example";
/// Between two looks at something that another process brings about.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A sandbox, and a state directory with a signed-in account for a daemon to run on.
pub struct Site {
    pub runtime: Runtime,
    pub sandbox: Sandbox,
    pub password: String,
    pub directory: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        Site::new_as(Profile::Full)
    }

    /// Whose account signed in with this profile.
    pub fn new_as(profile: Profile) -> Site {
        let runtime = Runtime::new().unwrap();
        let sandbox = runtime.block_on(sandbox());
        let directory = private_directory();
        let mut site = Site { runtime, sandbox, password: String::new(), directory };
        site.write_configuration(&site.configuration());
        let config = Config::load(Some(&site.config_file())).unwrap();
        site.password = site.runtime.block_on(async {
            let control = app::open(&config).await.unwrap();
            add_account(&control, profile).await
        });
        site.at_peace();
        site.sandbox.world().journal.clear();
        site
    }

    /// Clear text on loopback: what happens below SMTP is not what these tests are about.
    pub fn configuration(&self) -> String {
        let (state, url) = (self.state().display().to_string(), self.sandbox.url());
        format!(
            "state_dir = \"{state}\"\n\
             [entra]\nclient_id = \"5ca1ab1e-0000-4000-8000-000000000001\"\n\
             login_url = \"{url}\"\ngraph_url = \"{url}\"\n\
             [smtp]\nstarttls = []\nimplicit_tls = []\nclear = [\"127.0.0.1:0\"]\n\
             [spool]\nkeep_free_mib = 0\n\
             [doubt]\nquiet_seconds = 0.04\n\
             [account.\"{USER}\"]\nsend_as = [\"{NOT_OURS}\"]\n"
        )
    }

    pub fn write_configuration(&self, text: &str) {
        std::fs::write(self.config_file(), text).unwrap();
    }

    /// Brings the database's log into it, so that no connection of ours that is still closing has
    /// anything left to write, and sees that the directory is free.
    pub fn at_peace(&self) {
        let url = format!("sqlite://{}", self.state().join("postbridge.db").display());
        self.runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            // 1 is busy.
            while sqlx::query_scalar::<_, i64>(checkpoint).fetch_one(&mut connection).await.unwrap()
                == 1
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            connection.close().await.unwrap();
        });
        // What we opened is let go of when the last task that works on it ends. The lock is undone
        // by hand: a process that another test is starting may still share it.
        let lock = std::fs::File::open(self.state().join("lock")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while lock.try_lock().is_err() {
            assert!(Instant::now() < deadline, "somebody works in the state directory");
            std::thread::sleep(LOOK_AGAIN);
        }
        lock.unlock().unwrap();
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("postbridge.toml")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
        command.arg("--config").arg(self.config_file()).args(arguments).env_remove("RUST_LOG");
        command
    }

    pub fn serve(&self) -> Daemon {
        Daemon::start(&mut self.command(&["serve"]))
    }

    /// The sandbox kills this daemon at the n-th request that matches.
    pub fn kill_at(&self, daemon: &Daemon, nth: u64, when: When) {
        let kill = Kill { pid: daemon.pid(), when };
        let rule = Rule {
            method: None,
            route: "*".into(),
            mailbox: None,
            nth: vec![nth],
            every: false,
            probability: None,
            times: Some(1),
            act: Act::Kill(kill),
        };
        self.sandbox.world().faults.set(Script { seed: 0, faults: vec![rule] });
    }

    /// Asks the daemon; `None` when it died meanwhile.
    pub fn ask(&self, request: &Request) -> Option<Reply> {
        self.runtime.block_on(control::call(&self.state().join(SOCKET), request)).ok()
    }

    /// How many mails are in each state; `None` when the daemon died meanwhile.
    pub fn counts(&self) -> Option<Vec<(State, u64)>> {
        match self.ask(&Request::Entries { state: None, most: 0 })? {
            Reply::Entries { counts, .. } => Some(counts),
            odd => panic!("{odd:?}"),
        }
    }

    /// Has the daemon work until nothing is left to do, starting it again whenever it died. What is
    /// left is sent, failed or held.
    pub fn work_off(&self, daemon: &mut Daemon) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(
                Instant::now() < deadline,
                "not finished: {:?}\n{}",
                self.counts(),
                daemon.log()
            );
            match self.ask(&Request::Flush {}).and_then(|_| self.counts()) {
                None => {
                    daemon.ended();
                    *daemon = self.serve();
                }
                Some(counts) if counts.iter().all(|(state, _)| is_ended(*state)) => break,
                Some(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// The same, and stops it.
    pub fn finish(&self, daemon: &mut Daemon) -> Vec<Entry> {
        self.work_off(daemon);
        daemon.terminate();
        assert!(daemon.ended().success(), "{}", daemon.log());
        self.at_rest().0
    }

    /// What lies on the disk, while no daemon runs: the mails, and the account.
    pub fn at_rest(&self) -> (Vec<Entry>, Arc<Account>) {
        self.runtime.block_on(async {
            let store = Store::open(&self.state(), Room::default()).await.unwrap();
            let entries = store.entries(None, u32::MAX).await.unwrap();
            (entries, store.account_by_login(USER).await.unwrap().unwrap())
        })
    }

    /// How many copies of a mail with this subject each recipient has.
    pub fn copies(&self, subject: &str) -> HashMap<String, usize> {
        let mut copies = HashMap::new();
        for copy in self.sandbox.world().ledger.copies() {
            if copy.message.subject == subject {
                *copies.entry(copy.recipient).or_default() += 1;
            }
        }
        copies
    }

    pub fn requests(&self) -> u64 {
        self.sandbox.world().journal.entries().len() as u64
    }
}

fn is_ended(state: State) -> bool {
    matches!(state, State::Sent | State::Failed | State::Held)
}

/// A process that does not outlive its test.
pub struct Daemon {
    child: Child,
    /// Where it takes mail.
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    /// Returns when it listens.
    pub fn start(command: &mut Command) -> Daemon {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains("listening")
                    && let Some((_, rest)) = line.split_once("address=")
                    && let Some(address) = rest.split_whitespace().next()
                {
                    let _ = found.send(address.parse().unwrap());
                }
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("it does not listen: {}", log.lock().unwrap());
        };
        Daemon { child, address, log, reader: Some(reader) }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it wrote to standard error so far; all of it once it ended.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// kill -9, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.ended();
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, and for the last of its log.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it does not end: {}", self.log()),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        };
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mail to hand in.
#[derive(Debug, Clone)]
pub struct Mail {
    pub from: &'static str,
    pub to: Vec<String>,
    pub subject: String,
    /// With CRLF line ends.
    pub octets: String,
}

impl Mail {
    /// To the `to`; `bcc` get it without being named.
    pub fn new(subject: &str, to: &[&str], bcc: &[&str], body_octets: usize) -> Mail {
        Mail::sent_as(USER, subject, to, bcc, body_octets)
    }

    pub fn sent_as(
        from: &'static str,
        subject: &str,
        to: &[&str],
        bcc: &[&str],
        body_octets: usize,
    ) -> Mail {
        let line = format!("{}\r\n", "x".repeat(70));
        let octets = format!(
            "From: {from}\r\nTo: {}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@contoso.example>\r\n\r\n{}",
            to.join(", "),
            line.repeat(body_octets.div_ceil(line.len()))
        );
        let to = to.iter().chain(bcc).map(|&to| to.to_owned()).collect();
        Mail { from, to, subject: subject.to_owned(), octets }
    }
}

/// One SMTP session in clear.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and logs in.
    pub fn connect(address: SocketAddr, password: &str) -> io::Result<Client> {
        Client::connect_as(USER, address, password)
    }

    pub fn connect_as(user: &str, address: SocketAddr, password: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Client(BufReader::new(stream));
        client.expect("220")?;
        client.ask("EHLO localhost", "250")?;
        let secret = STANDARD.encode(format!("\0{user}\0{password}"));
        client.ask(&format!("AUTH PLAIN {secret}"), "235")?;
        Ok(client)
    }

    /// Sends a line and reads the reply, which is an error if it does not begin with `code`.
    pub fn ask(&mut self, line: &str, code: &str) -> io::Result<String> {
        self.send(&format!("{line}\r\n"))?;
        self.expect(code)
    }

    pub fn send(&mut self, octets: &str) -> io::Result<()> {
        self.0.get_mut().write_all(octets.as_bytes())
    }

    pub fn expect(&mut self, code: &str) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.get(3..4) == Some("-") {
                continue;
            }
            if line.starts_with(code) {
                return Ok(line.trim_end().to_owned());
            }
            return Err(io::Error::other(line.trim_end().to_owned()));
        }
    }

    /// Everything up to the 354.
    pub fn begin(&mut self, mail: &Mail) -> io::Result<()> {
        self.ask(&format!("MAIL FROM:<{}>", mail.from), "250")?;
        for to in &mail.to {
            self.ask(&format!("RCPT TO:<{to}>"), "250")?;
        }
        self.ask("DATA", "354").map(drop)
    }

    /// Hands a mail in; the id that its 250 names.
    pub fn submit(&mut self, mail: &Mail) -> io::Result<EntryId> {
        self.begin(mail)?;
        self.send(&format!("{}.\r\n", mail.octets))?;
        self.expect("250").map(|reply| id_in(&reply))
    }
}

/// The files below a directory with their modes and octets; not the log of a database, which comes
/// and goes with those who read it.
pub fn listing(directory: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt;
    let mut files = Vec::new();
    for file in std::fs::read_dir(directory).into_iter().flatten() {
        let path = file.unwrap().path();
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        if path.is_dir() {
            files.extend(listing(&path));
            files.push((path, mode, Vec::new()));
        } else if !path.to_string_lossy().ends_with("-wal")
            && !path.to_string_lossy().ends_with("-shm")
        {
            let octets = std::fs::read(&path).unwrap_or_default();
            files.push((path, mode, octets));
        }
    }
    files.sort();
    files
}
