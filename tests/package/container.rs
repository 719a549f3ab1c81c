//! A Debian that was booted in a container of its own: its own init, network, users and files.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::PATIENCE;

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// It is shut down, and its files are gone, when this is dropped.
pub struct Container {
    nspawn: Child,
    /// The process id of its init, as seen from here.
    init: String,
    _directory: tempfile::TempDir,
}

impl Container {
    /// Boots a copy of `root`, with these files in its root directory. Or why that cannot be done here.
    pub fn boot(root: &Path, files: &[&Path]) -> Result<Container, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it takes root".to_owned());
        }
        let directory = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
        let copy = directory.path().join("root");
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([root, &copy]).status();
        assert!(copied.unwrap().success());
        for file in files {
            fs::copy(file, copy.join(file.file_name().unwrap())).unwrap();
        }
        let told = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut nspawn = Command::new("systemd-nspawn")
            .arg("--directory")
            .arg(&copy)
            .args(["--boot", "--register=no", "--keep-unit", "--private-network"])
            .args(["--notify-ready=yes", "--console=pipe", "--link-journal=no", "--quiet"])
            .env("NOTIFY_SOCKET", directory.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("systemd-nspawn: {error}"))?;
        let deadline = Instant::now() + PATIENCE;
        let mut init = None;
        loop {
            let mut octets = [0; 4096];
            if let Ok(read) = told.recv(&mut octets) {
                let said = String::from_utf8_lossy(&octets[..read]).into_owned();
                let leader =
                    said.lines().find_map(|line| line.strip_prefix("X_NSPAWN_LEADER_PID="));
                init = init.or(leader.map(str::to_owned));
                if said.lines().any(|line| line == "READY=1") && init.is_some() {
                    break;
                }
            }
            if let Some(status) = nspawn.try_wait().unwrap() {
                let mut why = String::new();
                let _ = nspawn.stderr.take().unwrap().read_to_string(&mut why);
                return Err(format!("systemd-nspawn ended with {status}: {why}"));
            }
            assert!(Instant::now() < deadline, "it does not come up");
        }
        let init = init.unwrap();
        let container = Container { nspawn, init, _directory: directory };
        container.ok("ip link set lo up 2>/dev/null || true");
        Ok(container)
    }

    /// Runs a line in a shell; its status, and what it printed.
    pub fn run(&self, line: &str) -> (i32, String) {
        let ran = Command::new("nsenter")
            .args(["--target", &self.init, "--mount", "--uts", "--ipc", "--net", "--pid", "--root"])
            .args(["--wdns=/root", "--", "/usr/bin/env", "-i", "HOME=/root", "LC_ALL=C.UTF-8"])
            .args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["timeout", "100", "bash", "-c", line])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut said = String::from_utf8_lossy(&ran.stdout).into_owned();
        if !ran.status.success() {
            said.push_str(&String::from_utf8_lossy(&ran.stderr));
        }
        (ran.status.code().unwrap_or(-1), said)
    }

    /// The same, where it must succeed.
    pub fn ok(&self, line: &str) -> String {
        let (status, said) = self.run(line);
        let log = || self.run("journalctl --no-pager -n 60 -o short-monotonic").1;
        assert_eq!(status, 0, "{line}\n{said}\n--- journal ---\n{}", log());
        said
    }

    /// Looks again until it succeeds.
    pub fn until(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(line).0 != 0 {
            if Instant::now() > deadline {
                self.ok(line);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Its init takes SIGRTMIN+4 for a power-off; whoever is in a hurry ends it at once.
        let _ = Command::new("kill").args(["-KILL", &self.init]).status();
        let _ = self.nspawn.wait();
    }
}

/// A sign-in with the person at the browser: what it prints at last is in `/root/login`.
pub fn with_a_browser(command: &str) -> String {
    format!(
        "({command} >/root/login 2>/root/asked &); \
         until grep -q '^http' /root/asked; do sleep 0.1; done; \
         curl -sSL $(grep -m1 '^http' /root/asked) >/root/browser; \
         until postbridge account list | grep -q '  ready'; do sleep 0.1; done"
    )
}
