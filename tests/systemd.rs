//! What systemd hands in and is told: sockets, readiness, the watchdog, a reload.
//!
//! The process is a real one, and the test stands where systemd's own socket is; sockets are passed by
//! systemd's own tool. The package in a booted container is `tests/package.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::daemon::{Client, Daemon, Mail, Site};
use common::{COLLEAGUE, PATIENCE, USER};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sqlx::{Connection, SqliteConnection};

/// Where systemd is told things.
struct Told(UnixDatagram);

impl Told {
    fn new(site: &Site) -> Told {
        let socket = UnixDatagram::bind(site.directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Told(socket)
    }

    fn command(&self, site: &Site) -> Command {
        let mut command = site.command(&["serve"]);
        command.env("NOTIFY_SOCKET", site.directory.path().join("notify"));
        command
    }

    /// The next message.
    fn next(&self) -> String {
        let mut octets = [0; 4096];
        let read = self.0.recv(&mut octets).expect("systemd is told nothing");
        String::from_utf8(octets[..read].to_vec()).unwrap()
    }

    /// Whatever was said by now.
    fn forget(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 4096]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }
}

fn hang_up(daemon: &Daemon) {
    let pid = rustix::process::Pid::from_raw(daemon.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
}

#[test]
fn systemd_is_told_when_mail_is_taken_and_when_it_ends() {
    let site = Site::new();
    let told = Told::new(&site);
    let mut daemon = Daemon::start(&mut told.command(&site));
    assert_eq!(told.next(), "READY=1\n");
    Client::connect(daemon.address, &site.password).unwrap();
    daemon.terminate();
    assert_eq!(told.next(), "STOPPING=1\n");
    assert!(daemon.ended().success(), "{}", daemon.log());
}

#[test]
fn the_watchdog_hears_nothing_while_the_writer_is_stuck_and_hears_again_after_it() {
    let site = Site::new();
    let told = Told::new(&site);
    let daemon = Daemon::start(told.command(&site).env("WATCHDOG_USEC", "900000"));
    assert_eq!(told.next(), "READY=1\n");
    assert_eq!(told.next(), "WATCHDOG=1\n");
    assert_eq!(told.next(), "WATCHDOG=1\n");

    // The writer waits for its turn at the database, as it would for a disk that does not answer.
    let url = format!("sqlite://{}", site.state().join("postbridge.db").display());
    let mut other = site.runtime.block_on(SqliteConnection::connect(&url)).unwrap();
    site.runtime.block_on(sqlx::query("BEGIN IMMEDIATE").execute(&mut other)).unwrap();
    daemon.logged("the writer of the store does not answer");
    assert!(!site.command(&["health"]).output().unwrap().status.success());
    told.forget();
    site.runtime.block_on(sqlx::query("ROLLBACK").execute(&mut other)).unwrap();
    assert_eq!(told.next(), "WATCHDOG=1\n");
    let healthy = site.command(&["health"]).output().unwrap();
    assert_eq!(String::from_utf8(healthy.stdout).unwrap(), "ok\n");
}

#[test]
fn without_a_daemon_nothing_is_healthy() {
    let site = Site::new();
    let asked = site.command(&["health"]).output().unwrap();
    let text = String::from_utf8(asked.stderr).unwrap();
    assert!(asked.status.code() == Some(1) && text.contains("no daemon answers"), "{text}");
}

#[test]
fn a_reload_takes_up_the_configuration_and_keeps_the_sessions() {
    const ALIAS: &str = "front.desk@contoso.example";
    let site = Site::new();
    let told = Told::new(&site);
    let daemon = Daemon::start(&mut told.command(&site));
    assert_eq!(told.next(), "READY=1\n");
    let mail_from = |client: &mut Client, code: &str| {
        client.ask(&format!("MAIL FROM:<{ALIAS}>"), code).map(drop)
    };
    let mut open = Client::connect(daemon.address, &site.password).unwrap();
    mail_from(&mut open, "550").unwrap();

    // What cannot be used changes nothing, and who asks by a command is told.
    let text = site.configuration();
    site.write_configuration(&text.replace("[spool]", "[spol]"));
    hang_up(&daemon);
    assert!(told.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told.next(), "READY=1\n");
    daemon.logged("not reloaded");
    daemon.logged("spol");
    let asked = site.command(&["reload"]).output().unwrap();
    assert!(asked.status.code() == Some(78), "{asked:?}");
    mail_from(&mut open, "550").unwrap();

    // One key for accounts, one for sessions, one that needs a restart.
    let text = text
        .replace("send_as = [", &format!("send_as = [\"{ALIAS}\", "))
        .replace("[caldav]", "[smtp.limits]\nrecipients = 1\n[caldav]")
        .replace("keep_free_mib = 0", "keep_free_mib = 1");
    site.write_configuration(&text);
    let asked = site.command(&["reload"]).output().unwrap();
    assert_eq!(
        String::from_utf8(asked.stdout).unwrap(),
        "reloaded, but for spool: they need a restart\n"
    );
    assert!(told.next().starts_with("RELOADING=1\n"));
    assert_eq!(told.next(), "READY=1\n");
    daemon.logged("need a restart keys=\"spool\"");
    let two = |client: &mut Client, code: &str| {
        client.ask(&format!("RCPT TO:<{COLLEAGUE}>"), "250").unwrap();
        client.ask("RCPT TO:<kim.akers@fabrikam.example>", code).unwrap();
        client.ask("RSET", "250").unwrap();
    };
    open.ask(&format!("MAIL FROM:<{USER}>"), "250").unwrap();
    two(&mut open, "250");
    let mut new = Client::connect(daemon.address, &site.password).unwrap();
    mail_from(&mut new, "250").unwrap();
    two(&mut new, "452");

    // The worker goes on, as the new configuration says.
    let mail = Mail::new("after", &[COLLEAGUE], &[], 10);
    open.submit(&mail).unwrap();
    let mut daemon = daemon;
    site.finish(&mut daemon);
    assert_eq!(site.copies("after").values().sum::<usize>(), 1);
}

/// What the server says first, to a client that trusts this certificate alone.
fn tls_greeting(at: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(StreamOwned::new(connection, stream)).read_line(&mut line)?;
    Ok(line)
}

#[test]
fn a_reload_shows_clients_the_certificate_that_was_renewed() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let site = Site::new();
    let (certificate, key) =
        (site.directory.path().join("cert.pem"), site.directory.path().join("key.pem"));
    let make = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    };
    let first = make();
    let text = site.configuration().replace(
        "implicit_tls = []\nclear = [\"127.0.0.1:0\"]",
        &format!(
            "implicit_tls = [\"127.0.0.1:0\"]\nclear = []\ncertificate = {certificate:?}\nkey = {key:?}"
        ),
    );
    site.write_configuration(&text);
    let daemon = site.serve();
    assert!(tls_greeting(daemon.address, &first).unwrap().starts_with("220 "));
    let second = make();
    hang_up(&daemon);
    daemon.logged("reloaded");
    assert!(tls_greeting(daemon.address, &second).unwrap().starts_with("220 "));
    assert!(tls_greeting(daemon.address, &first).is_err());
    // A key that does not fit changes nothing.
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    hang_up(&daemon);
    daemon.logged("not reloaded");
    let asked = site.command(&["reload"]).output().unwrap();
    assert!(String::from_utf8(asked.stderr).unwrap().contains("do not make a TLS server"));
    assert!(tls_greeting(daemon.address, &second).unwrap().starts_with("220 "));
}

/// systemd's own tool, which starts its program when somebody connects, with the socket that it bound.
#[test]
fn a_socket_that_systemd_bound_is_used_and_the_first_client_waits_for_us() {
    const TOOL: &str = "systemd-socket-activate";
    if Command::new(TOOL).arg("--version").stdout(Stdio::null()).status().is_err() {
        return common::skip(&format!("{TOOL} is not installed"));
    }
    let site = Site::new();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (smtp, unasked) = (free(), free());
    let text = site.configuration().replace("127.0.0.1:0", &smtp.to_string());
    site.write_configuration(&text);
    let command = site.command(&["serve"]);
    let mut started = Command::new(TOOL);
    started.args(["-l", &smtp.to_string(), "-l", &unasked.to_string()]);
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let value = command.get_envs().find(|(key, _)| *key == name).unwrap().1.unwrap();
        started.arg(format!("--setenv={name}={}", value.display()));
    }
    started.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let mut tool = started.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(tool.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("Listening on") || !seen.contains(&unasked.port().to_string()) {
        assert!(log.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    let mut client = Client::connect(smtp, &site.password).unwrap();
    client.submit(&Mail::new("socket", &[COLLEAGUE], &[], 10)).unwrap();
    let pid = i32::try_from(tool.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(tool.wait().unwrap().success());
    log.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("the configuration does not") && seen.contains(&unasked.to_string()));
}
