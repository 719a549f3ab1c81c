//! The Debian package and its units: what systemd says of them, and the package itself in a booted container.
//!
//! `.ci/run` makes what the container needs: a Debian in `target/package/root` (debootstrap) and two packages
//! of different versions beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "package/container.rs"]
mod container;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use container::{Container, with_a_browser};
use postbridge::config::Config;

const EXPOSURE_MAX: f64 = 1.5;
const UNITS: [&str; 2] = ["postbridge.service", "postbridge.socket"];

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/package").join(name)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// systemd-analyze, if it is there.
fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(_) => {
            common::skip("systemd-analyze is not installed");
            None
        }
    }
}

#[test]
fn the_service_is_exposed_to_little() {
    let unit = config("systemd/postbridge.service");
    let Some(output) = analyze(&["security", "--offline=true", unit.to_str().unwrap()]) else {
        return;
    };
    let text = text(&output.stdout);
    let (_, level) = text.rsplit_once("postbridge.service: ").expect(&text);
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    assert!(level <= EXPOSURE_MAX, "{level}");
}

#[test]
fn the_sockets_are_those_of_the_configuration() {
    let config_of = Config::default();
    let configured: BTreeSet<String> = (config_of.smtp.starttls.iter())
        .chain(&config_of.smtp.implicit_tls)
        .chain(&config_of.caldav.clear())
        .chain(&config_of.caldav.tls)
        .chain(&config_of.page.addresses())
        .map(ToString::to_string)
        .collect();
    for unit in ["systemd/postbridge.socket", "systemd/user/postbridge.socket"] {
        let text = fs::read_to_string(config(unit)).unwrap();
        let held: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("ListenStream="))
            .map(str::to_owned)
            .collect();
        assert_eq!(held, configured, "{unit}");
    }
}

/// Installed, started, used, hung, reloaded, upgraded, removed and purged, as an administrator does it.
#[test]
fn the_package_lives_and_goes() {
    let (root, old, new) = (made("root"), made("old.deb"), made("new.deb"));
    for needed in [&root, &old, &new] {
        if !needed.exists() {
            return common::skip(&format!(
                "the package in a container: {} is not there; .ci/run makes it",
                needed.display()
            ));
        }
    }
    let container = match Container::boot(&root, &[&old, &new]) {
        Ok(container) => container,
        Err(why) => return common::skip(&format!("the package in a container: {why}")),
    };
    install(&container);
    let password = start(&container);
    let user = User { container: &container, password };
    user.sends("first");
    user.sends_while_the_service_is_stopped("waited");
    others_are_kept_out(&container);
    a_hang_is_a_restart(&user);
    reload(&container);
    upgrade(&user);
    backup_and_move(&user);
    for_one_user(&container);
    remove(&container);
}

fn install(c: &Container) {
    let said = c.ok("dpkg -i /old.deb");
    assert!(said.contains("/etc/postbridge/postbridge.toml"), "{said}");
    for unit in UNITS {
        assert_eq!(c.run(&format!("systemctl is-enabled {unit}")).1.trim(), "disabled");
    }
    assert_eq!(c.ok("stat -c %a /etc/credstore.encrypted/postbridge.kek").trim(), "600");
    let verified = c.ok("cd /usr/lib/systemd/system && systemd-analyze verify --man=no postbridge.service postbridge.socket 2>&1");
    assert_eq!(verified, "");
    let verified = c.ok("cd /usr/lib/systemd/user && XDG_RUNTIME_DIR=/run systemd-analyze --user verify --man=no postbridge.service postbridge.socket 2>&1");
    assert_eq!(verified, "");

    // It does not know its app registration yet: refused for good, with the remedy in the journal.
    let (status, _) = c.run("systemctl start postbridge.service");
    assert_ne!(status, 0);
    assert!(c.ok("systemctl show -p ExecMainStatus postbridge").contains("=78"));
    assert!(c.ok("journalctl -u postbridge -o cat").contains("no app registration"));
    c.ok("systemctl stop postbridge.socket; systemctl reset-failed");
}

/// The local password.
fn start(c: &Container) -> String {
    c.ok("systemd-run --unit=sandbox postbridge --state /root/sandbox sandbox --automatic");
    c.ok("printf '[entra]\\nclient_id = \"5ca1ab1e-0000-4000-8000-000000000001\"\\n\
          login_url = \"http://127.0.0.1:8480\"\\ngraph_url = \"http://127.0.0.1:8480\"\\n' \
          >> /etc/postbridge/postbridge.toml");
    c.ok("systemctl enable --now postbridge.socket postbridge.service");
    assert_eq!(c.ok("systemctl is-active postbridge.service").trim(), "active");
    // The key was the credential, not a file.
    let log = c.ok("journalctl -u postbridge -o cat");
    assert!(!log.contains("the key to the stored sign-ins is a file"), "{log}");
    assert_ne!(c.run("test -e /var/lib/private/postbridge/kek").0, 0);
    assert_eq!(c.ok("stat -L -c %a /var/lib/private/postbridge").trim(), "700");

    c.ok(&with_a_browser("postbridge account add adele.vance@contoso.example --no-browser"));
    let login = c.ok("cat /root/login");
    login.lines().nth(1).expect(&login).to_owned()
}

struct User<'c> {
    container: &'c Container,
    password: String,
}

impl User<'_> {
    /// Hands a mail in by TLS with the CA that was made, and sees it delivered, once.
    fn sends(&self, subject: &str) {
        self.hand_in(subject);
        self.once_delivered(subject);
    }

    fn hand_in(&self, subject: &str) {
        self.container.ok(&format!(
            "printf 'From: adele.vance@contoso.example\\r\\nTo: alex.wilber@contoso.example\\r\\n\
             Subject: {subject}\\r\\n\\r\\nHello\\r\\n' | curl -sS --max-time 60 \
             --cacert /var/lib/private/postbridge/tls/ca.pem --user 'adele.vance@contoso.example:{}' \
             --mail-from adele.vance@contoso.example --mail-rcpt alex.wilber@contoso.example \
             --upload-file - smtps://localhost:1465",
            self.password
        ));
    }

    fn once_delivered(&self, subject: &str) {
        self.container.until(&format!(
            "curl -sS http://127.0.0.1:8480/_sandbox/ledger | grep -c '\"{subject}\"'"
        ));
    }

    fn sends_while_the_service_is_stopped(&self, subject: &str) {
        self.container.ok("systemctl stop postbridge.service 2>&1");
        self.sends(subject);
    }
}

fn others_are_kept_out(c: &Container) {
    for path in [
        "/var/lib/private/postbridge",
        "/var/lib/postbridge/",
        "/etc/credstore.encrypted/postbridge.kek",
    ] {
        assert_ne!(
            c.run(&format!(
                "runuser -u nobody -- ls {path}/ 2>&1 || runuser -u nobody -- cat {path}"
            ))
            .0,
            0,
            "{path}"
        );
    }
    let pid = c.ok("systemctl show -p MainPID --value postbridge");
    for file in ["environ", "mem", "maps"] {
        assert_ne!(c.run(&format!("runuser -u nobody -- cat /proc/{}/{file}", pid.trim())).0, 0);
    }
    // The ports are systemd's, whether the service runs or not.
    c.ok("systemctl stop postbridge.service 2>&1");
    for address in ["127.0.0.1:1465", "[::1]:1465"] {
        let (status, said) = c.run(&format!(
            "runuser -u nobody -- timeout 5 systemd-socket-activate -l {address} /bin/true 2>&1"
        ));
        assert!(status != 0 && said.contains("Address already in use"), "{address}: {said}");
    }
    c.ok("systemctl start postbridge.service");
}

fn a_hang_is_a_restart(user: &User) {
    let c = user.container;
    c.ok("mkdir -p /run/systemd/system/postbridge.service.d && \
          printf '[Service]\\nWatchdogSec=2s\\n' > /run/systemd/system/postbridge.service.d/soon.conf && \
          systemctl daemon-reload && systemctl restart postbridge.service");
    user.sends("before-the-hang");
    c.ok("kill -STOP $(systemctl show -p MainPID --value postbridge)");
    c.until("test $(systemctl show -p NRestarts --value postbridge) -ge 1 && systemctl is-active postbridge");
    assert!(c.ok("journalctl -u postbridge -o cat").contains("Watchdog timeout"));
    user.sends("after-the-hang");
    c.ok("rm -r /run/systemd/system/postbridge.service.d && systemctl daemon-reload && \
          systemctl restart postbridge.service");
}

fn reload(c: &Container) {
    let pid = c.ok("systemctl show -p MainPID --value postbridge");
    c.ok("systemctl reload postbridge.service");
    c.until("journalctl -u postbridge -o cat | grep -x reloaded");
    c.ok("cp /etc/postbridge/postbridge.toml /root/good && echo '[nonsense]' >> /etc/postbridge/postbridge.toml");
    assert_ne!(c.run("systemctl reload postbridge.service").0, 0);
    assert!(c.ok("journalctl -u postbridge -o cat").contains("nonsense"));
    c.ok("cp /root/good /etc/postbridge/postbridge.toml && systemctl reload postbridge.service");
    assert_eq!(c.ok("systemctl show -p MainPID --value postbridge"), pid);
    // The journal has each line with its priority, and the mail's id in it.
    assert!(c.ok("journalctl -u postbridge -o cat -p info").contains("sent entry="));
    assert!(!c.ok("journalctl -u postbridge -o cat -p warning").contains("sent entry="));
}

fn upgrade(user: &User) {
    let c = user.container;
    // One waits while the package is replaced.
    c.ok("curl -sS -H 'content-type: application/json' http://127.0.0.1:8480/_sandbox/faults --data \
          '{\"faults\": [{\"route\": \"/v1.0/me/messages\", \"every\": true, \"do\": \
          {\"answer\": {\"status\": 429, \"code\": \"ApplicationThrottled\", \"retry_after\": \"1\"}}}]}'");
    user.hand_in("over-the-upgrade");
    let pid = c.ok("systemctl show -p MainPID --value postbridge");
    let said = c.ok("dpkg --force-confold -i /new.deb 2>&1");
    assert!(said.contains("over (0.1.0~test1)"), "{said}");
    assert_ne!(c.ok("systemctl show -p MainPID --value postbridge"), pid);
    assert!(c.ok("cat /etc/postbridge/postbridge.toml").contains("5ca1ab1e"));
    c.ok("curl -sS -H 'content-type: application/json' http://127.0.0.1:8480/_sandbox/faults --data '{\"faults\": []}'");
    user.once_delivered("over-the-upgrade");
    user.sends("after-the-upgrade");
}

/// As the service's own user and with its key, where the daemon need not run: docs/operations.md.
fn backup_and_move(user: &User) {
    const AS_THE_SERVICE: &str = "systemd-run --quiet --pipe --wait -p DynamicUser=yes -p User=postbridge \
         -p StateDirectory=postbridge -p StateDirectoryMode=0700 \
         -p LoadCredentialEncrypted=kek:postbridge.kek -p LoadCredential=passphrase:/root/passphrase";
    let c = user.container;
    c.ok("postbridge backup /root/backup && test -s /root/backup/postbridge.db");
    c.ok("echo a-long-passphrase > /root/passphrase");
    c.ok(&format!(
        "{AS_THE_SERVICE} -p StandardOutput=journal bash -c 'postbridge export \
         $STATE_DIRECTORY/moving.tar --with-signins --passphrase-file $CREDENTIALS_DIRECTORY/passphrase' \
         && mv /var/lib/private/postbridge/moving.tar /root/"
    ));
    // Another machine, as far as the state is concerned.
    c.ok(
        "systemctl stop postbridge.service postbridge.socket && rm -rf /var/lib/private/postbridge",
    );
    c.ok(&format!(
        "install -d -m 700 /var/lib/private && install -D -m 600 /root/moving.tar \
         /var/lib/private/postbridge/moving.tar && {AS_THE_SERVICE} bash -c 'postbridge import \
         $STATE_DIRECTORY/moving.tar --passphrase-file $CREDENTIALS_DIRECTORY/passphrase'"
    ));
    c.ok("systemctl start postbridge.socket postbridge.service");
    assert!(c.ok("postbridge account list").contains("  ready"));
    user.sends("after-the-move");
}

/// The same ports, as a laptop's only user would have them.
fn for_one_user(c: &Container) {
    c.ok("systemctl stop postbridge.socket postbridge.service");
    c.ok("useradd --create-home kim && loginctl enable-linger kim && \
          install -d -o kim /home/kim/.config /home/kim/.config/postbridge && \
          install -o kim -m 600 /etc/postbridge/postbridge.toml /home/kim/.config/postbridge/");
    let kim = "XDG_RUNTIME_DIR=/run/user/$(id -u kim) runuser -u kim --";
    c.until(&format!("{kim} systemctl --user is-system-running --wait"));
    c.ok(&format!("{kim} systemctl --user enable --now postbridge.socket postbridge.service"));
    c.until(&format!("{kim} postbridge health"));
    assert_eq!(c.ok("stat -c %U:%a /home/kim/.local/state/postbridge").trim(), "kim:700");
    c.ok(&format!("{kim} systemctl --user disable --now postbridge.socket postbridge.service"));
    c.ok("systemctl start postbridge.socket postbridge.service");
}

fn remove(c: &Container) {
    c.ok("dpkg --remove postbridge 2>&1");
    assert_ne!(c.run("systemctl is-active postbridge.service postbridge.socket").0, 0);
    c.ok("test -s /var/lib/private/postbridge/postbridge.db && test -s /etc/postbridge/postbridge.toml");
    c.ok("dpkg --purge postbridge 2>&1");
    for gone in [
        "/var/lib/private/postbridge",
        "/var/lib/postbridge",
        "/etc/postbridge",
        "/etc/credstore.encrypted/postbridge.kek",
        "/usr/bin/postbridge",
        "/etc/systemd/system/multi-user.target.wants/postbridge.service",
        "/etc/systemd/system/sockets.target.wants/postbridge.socket",
    ] {
        assert_ne!(c.run(&format!("test -e {gone}")).0, 0, "{gone} is left behind");
    }
}
