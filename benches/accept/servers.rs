//! The servers beside each other, each a process of its own on a free port of loopback, with its
//! state on the same disk: postbridge, mailin-embedded with an fsync for each mail, and Postfix.
//!
//! None of them can send anything anywhere: postbridge's account is not signed in, mailin-embedded
//! only takes, and Postfix holds every mail and has no transport but one that discards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailin_embedded::{Handler, Response, Server as Mailin, SslConfig, response};
use postbridge::account::{Address, Profile};
use postbridge::config::Config;
use postbridge::control::{self, Reply, Request};
use postbridge::tls;
use postbridge::{app, store};

pub const USER: &str = "adele.vance@contoso.example";
pub const COLLEAGUE: &str = "alex.wilber@contoso.example";
/// Threads of mailin-embedded, which are the connections it can have.
const MAILIN_THREADS: u32 = 128;
const START_TIME: Duration = Duration::from_secs(20);

/// A server that runs; killed with all it wrote when dropped.
pub struct Server {
    pub address: SocketAddr,
    /// What `AUTH PLAIN` takes, where a login is asked for.
    pub auth: Option<String>,
    /// Implicit TLS, and the CA file for it.
    pub tls: Option<(SocketAddr, PathBuf)>,
    child: Child,
    /// Stops it where killing the one process would leave others.
    stop: Option<Command>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.stop {
            Some(stop) => drop(stop.status()),
            None => drop(self.child.kill()),
        }
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Under `target/`, so on a real disk.
fn directory(mode: u32) -> io::Result<tempfile::TempDir> {
    let mode = fs::Permissions::from_mode(mode);
    tempfile::Builder::new()
        .prefix("accept-")
        .permissions(mode)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

fn once_up(child: &mut Child, address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("the server ended at once: {status}");
        }
        if began.elapsed() > START_TIME {
            let _ = child.kill();
            bail!("the server does not come up");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `postbridge serve`, the release binary, with one account that is not signed in: what is accepted
/// stays in the spool.
pub async fn postbridge() -> anyhow::Result<Server> {
    let directory = directory(0o700)?;
    let (clear, implicit) = (free_port()?, free_port()?);
    let state = directory.path().join("state");
    let text = format!(
        "state_dir = {state:?}\n[smtp]\nstarttls = []\nimplicit_tls = [\"{implicit}\"]\n\
         clear = [\"{clear}\"]\n[caldav]\nlisten = []\ntls = []\n[page]\nlisten = []\n[spool]\nquota_mib = 16384\n[entra]\n\
         client_id = \"5ca1ab1e-0000-4000-8000-000000000001\"\ntenant = \"organizations\"\n\
         login_url = \"http://127.0.0.1:9\"\ngraph_url = \"http://127.0.0.1:9\"\n"
    );
    let path = directory.path().join("postbridge.toml");
    fs::write(&path, &text)?;
    let config = Config::parse(&path, &text)?;

    let control = app::open(&config).await?;
    let address: Address = USER.parse()?;
    let request = Request::AddAccount { address, profile: Profile::Full };
    let Reply::Password { password, .. } = control::handle(request, &control).await else {
        bail!("the account cannot be added");
    };
    drop(control);
    while store::is_held(&state) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fs::DirBuilder::new().mode(0o700).create(state.join("tls"))?;
    let ca = tls::provide(&state.join("tls"), "localhost")?.ca;

    let mut child = Command::new(env!("CARGO_BIN_EXE_postbridge"))
        .arg("--config")
        .arg(&path)
        .arg("serve")
        .stderr(File::create(directory.path().join("log"))?)
        .spawn()?;
    once_up(&mut child, clear)?;
    let auth = STANDARD.encode(format!("\0{USER}\0{}", password.expose()));
    let tls = Some((implicit, ca));
    Ok(Server { address: clear, auth: Some(auth), tls, child, stop: None, _directory: directory })
}

/// This program again, as [`serve_mailin`].
pub fn mailin() -> anyhow::Result<Server> {
    let directory = directory(0o700)?;
    let address = free_port()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(MAILIN_ARGUMENT)
        .arg(address.to_string())
        .arg(directory.path())
        .spawn()?;
    once_up(&mut child, address)?;
    Ok(Server { address, auth: None, tls: None, child, stop: None, _directory: directory })
}

pub const MAILIN_ARGUMENT: &str = "--serve-mailin-embedded";

/// mailin-embedded on this address; each mail becomes a file in the directory.
pub fn serve_mailin(address: &str, directory: &str) -> anyhow::Result<()> {
    let handler = ToFiles { directory: directory.into(), file: None };
    let mut server = Mailin::new(handler);
    let wrong = |error: mailin_embedded::err::Error| anyhow::anyhow!("{error}");
    server.with_name("localhost").with_num_threads(MAILIN_THREADS);
    server.with_ssl(SslConfig::None).map_err(wrong)?;
    server.with_addr(address).map_err(wrong)?;
    server.serve().map_err(wrong)
}

#[derive(Clone)]
struct ToFiles {
    directory: PathBuf,
    file: Option<std::sync::Arc<File>>,
}

impl Handler for ToFiles {
    fn helo(&mut self, _: IpAddr, _: &str) -> Response {
        response::OK
    }

    fn data_start(&mut self, _: &str, _: &str, _: bool, _: &[String]) -> Response {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        match File::create_new(self.directory.join(number.to_string())) {
            Ok(file) => {
                self.file = Some(file.into());
                response::OK
            }
            Err(_) => response::INTERNAL_ERROR,
        }
    }

    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => (&**file).write_all(octets),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn data_end(&mut self) -> Response {
        let Some(file) = self.file.take() else { return response::INTERNAL_ERROR };
        let synced = file.sync_all().and_then(|()| File::open(&self.directory)?.sync_all());
        synced.map_or(response::INTERNAL_ERROR, |()| response::OK)
    }
}

/// A Postfix of its own, or why there is none.
pub fn postfix() -> anyhow::Result<Server> {
    let postfix = Path::new("/usr/sbin/postfix");
    if !postfix.exists() {
        bail!("Postfix is not installed");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("Postfix needs root");
    }
    let directory = directory(0o755)?;
    let address = free_port()?;
    let (queue, data) = (directory.path().join("queue"), directory.path().join("data"));
    for path in [&queue, &data] {
        fs::DirBuilder::new().mode(0o755).create(path)?;
    }
    let owned = Command::new("chown").arg("postfix").arg(&data).status()?;
    if !owned.success() {
        bail!("there is no user postfix");
    }
    // What would hold it back for reasons other than accepting is off, in its favour: the pause
    // when mail comes in faster than it goes out, name look-ups, the limits per client, the log.
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {queue}\ndata_directory = {data}\n\
         inet_interfaces = loopback-only\ninet_protocols = ipv4\nmyhostname = localhost.localdomain\n\
         mydestination =\nalias_maps =\nalias_database =\nlocal_recipient_maps =\n\
         mynetworks = 127.0.0.0/8\ndefault_transport = discard\nrelay_transport = discard\n\
         virtual_transport = discard\nlocal_transport = discard\n\
         smtpd_data_restrictions = check_client_access static:hold\n\
         smtpd_peername_lookup = no\nsmtp_dns_support_level = disabled\nin_flow_delay = 0\n\
         default_process_limit = 300\nsmtpd_client_connection_count_limit = 0\n\
         smtpd_tls_security_level = none\n",
        queue = queue.display(),
        data = data.display(),
    );
    let master = format!(
        "{address} inet n - n - - smtpd\n\
         cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\nanvil unix - - n - 1 anvil\n\
         bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
         discard unix - - n - - discard\n"
    );
    fs::write(directory.path().join("main.cf"), main)?;
    fs::write(directory.path().join("master.cf"), master)?;
    let command = |verb: &str| {
        let mut command = Command::new(postfix);
        command.arg("-c").arg(directory.path()).arg(verb);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut child = command("start-fg").spawn()?;
    once_up(&mut child, address).context("postfix start-fg")?;
    let stop = Some(command("stop"));
    Ok(Server { address, auth: None, tls: None, child, stop, _directory: directory })
}
