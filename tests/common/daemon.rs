//! The bridge as a process of its own, and a client as plain as SMTP allows.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postbridge::account::{Account, Profile, Standing};
use postbridge::app;
use postbridge::config::Config;
use postbridge::control::{self, Reply, Request, SOCKET};
use postbridge::sandbox::Sandbox;
use postbridge::sandbox::script::{Act, Kill, Rule, Script, When};
use postbridge::sandbox::world::Switches;
use postbridge::store::spool::{Entry, EntryId, State};
use postbridge::store::{Room, Store};
use sqlx::{Connection, SqliteConnection};
use tokio::runtime::Runtime;

use super::{COLLEAGUE, PATIENCE, USER, add_account, id_in, private_directory, sandbox, sign_in};

/// The account may send as this by its configuration; Microsoft says that it may not.
pub const NOT_OURS: &str = "jobs@contoso.example";
/// Between two looks at something that another process brings about.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A certificate, as PEM.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["nobody.example".to_owned()]).unwrap();
    made.cert.pem()
});

/// A sandbox, and a state directory with a signed-in account for a daemon to run on.
pub struct Site {
    pub runtime: Runtime,
    pub sandbox: Sandbox,
    pub password: String,
    pub directory: tempfile::TempDir,
    /// Where the state directory is, if not there.
    elsewhere: Option<PathBuf>,
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
        let trusted = directory.path().join("trusted");
        std::fs::create_dir(&trusted).unwrap();
        std::fs::write(trusted.join("nobody.pem"), NOBODY.as_str()).unwrap();
        let mut site =
            Site { runtime, sandbox, password: String::new(), directory, elsewhere: None };
        site.write_configuration(&site.configuration());
        site.password = site.runtime.block_on(async {
            let control = app::open(&site.loaded()).await.unwrap();
            add_account(&control, profile).await
        });
        site.at_peace();
        site.sandbox.world().journal.clear();
        site
    }

    fn loaded(&self) -> Config {
        Config::load(Some(&self.config_file())).unwrap()
    }

    /// From now on the account waits for its user, and its mails with it. No daemon runs.
    pub fn sign_out(&self) {
        self.runtime.block_on(async {
            let store = Store::open(&self.state(), Room::default()).await.unwrap();
            let account = store.account_by_login(USER).await.unwrap().unwrap();
            store.needs_sign_in(account.id, "It was signed out.").await.unwrap();
        });
        self.at_peace();
    }

    /// Its user comes. No daemon runs.
    pub fn sign_in(&self) {
        self.runtime.block_on(async {
            let control = app::open(&self.loaded()).await.unwrap();
            sign_in(&control).await;
        });
        self.at_peace();
    }

    /// Clear text on loopback: what happens below SMTP is not what these tests are about.
    pub fn configuration(&self) -> String {
        let (state, url) = (self.state().display().to_string(), self.sandbox.url());
        format!(
            "state_dir = \"{state}\"\n\
             [entra]\nclient_id = \"5ca1ab1e-0000-4000-8000-000000000001\"\n\
             login_url = \"{url}\"\ngraph_url = \"{url}\"\n\
             [smtp]\nstarttls = []\nimplicit_tls = []\nclear = [\"127.0.0.1:0\"]\n\
             [caldav]\nlisten = []\ntls = []\n[page]\nlisten = []\n\
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
        drop(lock);
        self.closed();
    }

    /// Waits until this process has nothing open of the state directory. Who closes a database last
    /// deletes its log by name, and must not meet that of another one.
    fn closed(&self) {
        let deadline = Instant::now() + PATIENCE;
        let open = || {
            let mut files = std::fs::read_dir("/proc/self/fd").unwrap().map_while(Result::ok);
            files.any(|file| file.path().read_link().is_ok_and(|to| to.starts_with(self.state())))
        };
        while open() {
            assert!(Instant::now() < deadline, "somebody reads in the state directory");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    pub fn state(&self) -> PathBuf {
        self.elsewhere.clone().unwrap_or_else(|| self.directory.path().join("state"))
    }

    /// Moves the state directory. No daemon runs.
    pub fn move_state_to(&mut self, to: &Path) {
        copy(&self.state(), to);
        self.elsewhere = Some(to.to_owned());
        self.write_configuration(&self.configuration());
    }

    /// The state as it was in `begun`, and a world of Microsoft's in which nothing was done yet. No daemon
    /// runs.
    pub fn renew(&self, begun: &Path, switches: &Switches) {
        std::fs::remove_dir_all(self.state()).unwrap();
        copy(begun, &self.state());
        let world = self.sandbox.world();
        *world.switches() = switches.clone();
        world.faults.set(Script::default());
        world.throttle.clear();
        world.mail.clear();
        world.calendar.clear();
        world.uploads.clear();
        world.ledger.clear();
        world.journal.clear();
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("postbridge.toml")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
        command.arg("--config").arg(self.config_file()).args(arguments).env_remove("RUST_LOG");
        // A start reads every certificate of the machine, which is most of its time in a build without
        // optimisation. The sandbox speaks HTTP: one certificate that nobody has will do.
        let trusted = self.directory.path().join("trusted");
        command.env("SSL_CERT_FILE", trusted.join("nobody.pem")).env("SSL_CERT_DIR", trusted);
        command
    }

    pub fn serve(&self) -> Daemon {
        Daemon::start(&mut self.command(&["serve"]))
    }

    /// A daemon that does nothing before `at_birth` has returned, which gets its process id. It may be
    /// dead before it listens.
    pub fn serve_after(&self, at_birth: impl FnOnce(i32)) -> Result<Daemon, Daemon> {
        // The shell becomes the daemon when it has read a line.
        let command = self.command(&["serve"]);
        let mut held = Command::new("sh");
        held.args(["-c", "read -r _ && exec \"$@\"", "sh"]).arg(command.get_program());
        held.args(command.get_args()).env_remove("RUST_LOG");
        held.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = spawn(held.stdin(Stdio::piped()));
        at_birth(i32::try_from(child.id()).unwrap());
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        Daemon::of(child)
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

    /// Hands a mail in as a client does that does not give up: until it has read a 250. A daemon that
    /// dies of it is replaced.
    pub fn hand_in(&self, daemon: &mut Daemon, mail: &Mail) -> EntryId {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let handed_in = Client::connect(daemon.address, &self.password)
                .and_then(|mut client| client.submit(mail));
            match handed_in {
                Ok(id) => return id,
                Err(error) => {
                    assert!(Instant::now() < deadline, "{error}: {}", daemon.log());
                    // Only death is an excuse.
                    daemon.ended();
                    *daemon = self.serve();
                }
            }
        }
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
        while !self.work_off_by(daemon, deadline) {
            daemon.ended();
            *daemon = self.serve();
        }
    }

    /// Has this daemon work until nothing is left to do, or until it dies; whether it did not.
    pub fn work_off_or_die(&self, daemon: &Daemon) -> bool {
        self.work_off_by(daemon, Instant::now() + PATIENCE)
    }

    fn work_off_by(&self, daemon: &Daemon, deadline: Instant) -> bool {
        loop {
            assert!(
                Instant::now() < deadline,
                "not finished: {:?}\n{}",
                self.counts(),
                daemon.log()
            );
            match self.ask(&Request::Flush {}).and_then(|_| self.counts()) {
                None => return false,
                Some(counts) if counts.iter().all(|(state, _)| is_ended(*state)) => return true,
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

    /// What a daemon knows of its mails. It lives.
    pub fn entries(&self) -> Vec<Entry> {
        match self.ask(&Request::Entries { state: None, most: u32::MAX }) {
            Some(Reply::Entries { entries, .. }) => entries,
            odd => panic!("{odd:?}"),
        }
    }

    /// Whether a daemon's account is ready to send. It lives.
    pub fn is_signed_in(&self) -> bool {
        match self.ask(&Request::Accounts {}) {
            Some(Reply::Accounts { accounts, .. }) => {
                accounts.iter().all(|account| account.standing == Standing::Ready)
            }
            odd => panic!("{odd:?}"),
        }
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

/// A state directory, while no daemon runs.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let (source, target) = (file.path(), to.join(file.file_name()));
        match file.file_type().unwrap() {
            kind if kind.is_dir() => copy(&source, &target),
            kind if kind.is_file() => drop(std::fs::copy(source, target).unwrap()),
            // The control socket: each daemon makes its own.
            _ => {}
        }
    }
}

fn is_ended(state: State) -> bool {
    matches!(state, State::Sent | State::Failed | State::Held)
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A process that does not outlive its test.
#[derive(Debug)]
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
        Daemon::try_start(command)
            .unwrap_or_else(|ended| panic!("it does not listen: {}", ended.log()))
    }

    /// The same, or what is left of it if it never listens.
    pub fn try_start(command: &mut Command) -> Result<Daemon, Daemon> {
        Daemon::of(spawn(command.stdin(Stdio::null())))
    }

    fn of(mut child: Child) -> Result<Daemon, Daemon> {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains("listening")
                    && let Some((_, rest)) =
                        line.split_once("address=").or_else(|| line.split_once("address\":\""))
                    && let Some(address) = rest.split([' ', '"']).next()
                {
                    let _ = found.send(address.parse().unwrap());
                }
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        // Its end ends the wait as well: nobody is left to find an address.
        let found = address.recv_timeout(PATIENCE);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = *found.as_ref().unwrap_or(&nowhere);
        let daemon = Daemon { child, address, log, reader: Some(reader) };
        if found.is_ok() { Ok(daemon) } else { Err(daemon) }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it wrote to standard error so far; all of it once it ended.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged this.
    pub fn logged(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < deadline, "{words:?} is not in\n{}", self.log());
            std::thread::sleep(LOOK_AGAIN);
        }
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

impl Mail {
    /// An interview, with a colleague and this UID.
    pub fn invite(uid: &str) -> Mail {
        let mut invite = Mail::new("interview", &[COLLEAGUE], &[], 0);
        invite.octets = format!(
            "From: {USER}\r\nTo: {COLLEAGUE}\r\nSubject: Interview\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\n\
             VERSION:2.0\r\nPRODID:-//contoso//hr//EN\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
             DTSTAMP:20261120T080000Z\r\nDTSTART:20301120T080000Z\r\nDTEND:20301120T090000Z\r\n\
             SUMMARY:Interview\r\nORGANIZER:mailto:{USER}\r\nATTENDEE:mailto:{COLLEAGUE}\r\n\
             END:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        invite
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
