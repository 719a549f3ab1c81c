//! A Postfix of the test's own: its configuration, queue and log in a directory of its own, and every
//! way out of it leads to the bridge.
//!
//! Postfix starts as root only. It listens nowhere: mail gets in by its `sendmail`.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Scene;
use crate::common::{self, PATIENCE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

/// Its services, none of which listens on the network.
const MASTER: &str = include_str!("../data/clients/postfix-master.cf");
/// What keeps it to itself: no DNS, no local delivery, no transport but smtp to the relayhost.
const PRIVATE: &str = include_str!("../data/clients/postfix-private.cf");
/// What docs/clients.md tells its readers to write, with a port and places to be filled in.
const AS_DOCUMENTED: &str = include_str!("../data/clients/postfix-relayhost.cf");

pub struct Postfix {
    directory: tempfile::TempDir,
    postfix: PathBuf,
    sendmail: PathBuf,
}

impl Postfix {
    /// Configured, not yet started; it opens so many connections at once. `None`, loudly, where there
    /// is no Postfix or we are not root.
    pub async fn new(scene: &Scene, kind: Kind, connections: usize) -> Option<Postfix> {
        let (postfix, sendmail) = (find("postfix")?, find("sendmail")?);
        if !rustix::process::geteuid().is_root() {
            common::skip("Postfix needs root to start");
            return None;
        }
        // Postfix's own users must get at its queue.
        let open = std::fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        let root = directory.path();
        for name in ["etc", "queue", "data"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        chown(root.join("data"), Some(id_of("postfix")), None).unwrap();
        let ca = root.join("etc/postbridge-ca.pem");
        std::fs::copy(scene.ca(), &ca).unwrap();
        std::fs::set_permissions(&ca, std::fs::Permissions::from_mode(0o644)).unwrap();
        let port = scene.port(kind).to_string();
        let relayhost = format!("[localhost]:{port}");
        let password = format!("{relayhost} {USER}:{}\n", scene.password());
        private_file(&root.join("etc/postbridge-password"), &password);
        let master = MASTER.replace("{connections}", &connections.to_string());
        let mut main = PRIVATE.replace("{root}", root.to_str().unwrap());
        main += &AS_DOCUMENTED
            .replace("/etc/postfix/", &format!("{}/etc/", root.display()))
            .replace("1587", &port);
        if kind == Kind::ImplicitTls {
            main += "smtp_tls_wrappermode = yes\n";
        }
        std::fs::write(root.join("etc/main.cf"), main).unwrap();
        std::fs::write(root.join("etc/master.cf"), master).unwrap();
        let postfix = Postfix { directory, postfix, sendmail };
        postfix.command("check").await;
        Some(postfix)
    }

    /// `check` makes the directories of the queue.
    async fn command(&self, verb: &str) {
        let mut command = bare(&self.postfix, self.directory.path());
        command.arg("-c").arg(self.etc()).arg(verb);
        run(&mut command, b"").await.succeeded();
    }

    fn etc(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    pub async fn start(&self) {
        self.command("start").await;
    }

    /// Hands a mail to its `sendmail`; "" is the null sender. Works before it is started, too.
    pub async fn sendmail(&self, sender: &str, to: &[&str], mail: &str) {
        let mut command = bare(&self.sendmail, self.directory.path());
        let sender = if sender.is_empty() { "<>" } else { sender };
        command.arg("-C").arg(self.etc()).args(["-i", "-f", sender, "--"]).args(to);
        run(&mut command, mail.as_bytes()).await.succeeded();
    }

    pub fn log(&self) -> String {
        let octets = std::fs::read(self.directory.path().join("etc/maillog")).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Waits until its queue is empty: all is delivered, or was refused.
    pub async fn drained(&self) {
        let queue = self.directory.path().join("queue");
        let empty = async {
            while ["maildrop", "incoming", "active", "deferred"]
                .iter()
                .any(|q| holds(&queue.join(q)))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, empty).await.expect("Postfix gets rid of its mail");
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let mut stop = std::process::Command::new(&self.postfix);
        let stopped = stop.arg("-c").arg(self.etc()).arg("stop").output();
        if std::thread::panicking() {
            eprintln!("what Postfix logged:\n{}\n{stopped:?}", self.log());
        }
    }
}

/// Whether there is any file in it, however deep (a large queue is hashed into directories).
fn holds(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds(&entry.path()),
        _ => true,
    })
}

fn id_of(user: &str) -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{user}:")));
    line.and_then(|line| line.split(':').nth(2)).unwrap().parse().unwrap()
}
