//! The servers beside each other, each a process of its own on a free port of loopback, with its calendar
//! on the same disk: postbridge, and Radicale with its file storage.
//!
//! Neither can send anything anywhere: postbridge's account is not signed in, so a PUT is measured by
//! itself, and Radicale only keeps.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use postbridge::account::{Address, Profile};
use postbridge::config::Config;
use postbridge::control::{self, Reply, Request};
use postbridge::{app, store};

use crate::USER;

const START_TIME: Duration = Duration::from_secs(30);

/// A server that runs; killed with all it wrote when dropped.
pub struct Server {
    /// Of the calendar, with its slash.
    pub url: String,
    pub password: String,
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// The last that it said, for who has to tell why it failed.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// What it had in memory at most, in MB.
    pub fn peak_megabytes(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("VmHWM")?;
        Ok(kilobytes.parse::<f64>()? * 1024.0 / 1e6)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Under `target/`, so on a real disk.
fn directory() -> anyhow::Result<tempfile::TempDir> {
    let private = fs::Permissions::from_mode(0o700);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("caldav-").permissions(private);
    Ok(builder.tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Starts it, and returns when it takes connections.
fn once_up(command: &mut Command, address: SocketAddr, log: &Path) -> anyhow::Result<Child> {
    let mut child = command.stdin(Stdio::null()).stderr(File::create(log)?).spawn()?;
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once: {status}\n{}", fs::read_to_string(log)?);
        }
        if began.elapsed() > START_TIME {
            let _ = child.kill();
            bail!("it does not come up");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

/// `postbridge serve`, the release binary, with an account that is not signed in and an empty calendar.
pub async fn postbridge() -> anyhow::Result<Server> {
    let directory = directory()?;
    let address = free_port()?;
    let state = directory.path().join("state");
    let text = format!(
        "state_dir = {state:?}\n[smtp]\nstarttls = []\nimplicit_tls = []\n\
         [caldav]\nlisten = [\"{address}\"]\ntls = []\nwait = \"0s\"\n[page]\nlisten = []\n\
         [spool]\nkeep_free_mib = 0\n[entra]\n\
         client_id = \"5ca1ab1e-0000-4000-8000-000000000001\"\ntenant = \"organizations\"\n\
         login_url = \"http://127.0.0.1:9\"\ngraph_url = \"http://127.0.0.1:9\"\n"
    );
    let path = directory.path().join("postbridge.toml");
    fs::write(&path, &text)?;
    let control = app::open(&Config::parse(&path, &text)?).await?;
    let address_of: Address = USER.parse()?;
    let request = Request::AddAccount { address: address_of, profile: Profile::Full };
    let Reply::Password { password, .. } = control::handle(request, &control).await else {
        bail!("the account cannot be added");
    };
    drop(control);
    while store::is_held(&state) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
    command.arg("--config").arg(&path).arg("serve").env_remove("RUST_LOG");
    let child = once_up(&mut command, address, &directory.path().join("log"))?;
    let user = USER.replace('@', "%40");
    let url = format!("http://{address}/dav/calendars/{user}/calendar/");
    Ok(Server { url, password: password.expose().to_owned(), child, directory })
}

/// The Python that has Radicale, or why there is none.
fn python() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("POSTBRIDGE_TEST_PYTHON").map(PathBuf::from);
    let python = given.unwrap_or_else(|| "python3".into());
    let mut ask = Command::new(&python);
    let asked = ask.args(["-c", "import radicale"]).stderr(Stdio::null()).status();
    match asked {
        Ok(status) if status.success() => Ok(python),
        _ => bail!("{} has no Radicale (POSTBRIDGE_TEST_PYTHON names another)", python.display()),
    }
}

/// `python -m radicale`, with these objects in its calendar, or why there is none.
pub fn radicale(objects: &[(String, String)]) -> anyhow::Result<Server> {
    let python = python()?;
    let directory = directory()?;
    let address = free_port()?;
    let file = |name: &str| directory.path().join(name);
    let calendar = file(&format!("collections/collection-root/{USER}/calendar"));
    fs::create_dir_all(&calendar)?;
    fs::write(calendar.join(".Radicale.props"), "{\"tag\": \"VCALENDAR\"}")?;
    for (name, object) in objects {
        fs::write(calendar.join(name), object)?;
    }
    let password = "a-password-of-the-benchmark".to_owned();
    fs::write(file("users"), format!("{USER}:{password}\n"))?;
    let text = format!(
        "[server]\nhosts = {address}\nssl = False\n\
         [auth]\ntype = htpasswd\nhtpasswd_filename = {users}\nhtpasswd_encryption = plain\n\
         [storage]\nfilesystem_folder = {storage}\n[web]\ntype = none\n\
         [reporting]\nmax_expand_occurrence = {more}\nmax_freebusy_occurrence = {more}\n[logging]\nlevel = warning\n",
        users = file("users").display(),
        storage = file("collections").display(),
        // By default an answer may hold 10,000.
        more = 10 * objects.len(),
    );
    fs::write(file("config"), text)?;
    let mut command = Command::new(python);
    command.args(["-m", "radicale", "--config"]).arg(file("config"));
    let child = once_up(&mut command, address, &file("log"))?;
    let url = format!("http://{address}/{}/calendar/", USER.replace('@', "%40"));
    Ok(Server { url, password, child, directory })
}
