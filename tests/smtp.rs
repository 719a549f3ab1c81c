//! SMTP submission against the real server, on real sockets, with a real store.
//!
//! The dialogues are in `tests/data/smtp`: a line with the listener to use, then `C:` what the
//! client sends, `S:` what the server says (`*` at the end: whatever follows), `S*` lines up to and
//! with that one, `TLS` the handshake. At the end the server must close.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use postbridge::account::{Address, Profile};
use postbridge::listen;
use postbridge::login::Logins;
use postbridge::smtp::limits::Limits;
use postbridge::smtp::server::{Kind, Listener, Shared, serve};
use postbridge::store::spool::Entry;
use postbridge::store::{Room, Store};
use postbridge::tls;

const USER: &str = "adele.vance@contoso.example";
/// Longer than anything here takes: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// The SMTP front over a store in a directory of its own, with one account.
struct Bridge {
    runtime: Runtime,
    store: Store,
    shared: Arc<Shared>,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    starttls: SocketAddr,
    implicit: SocketAddr,
    clear: SocketAddr,
    password: String,
    files: tls::Files,
    _directory: tempfile::TempDir,
}

impl Bridge {
    fn start(limits: Limits) -> Bridge {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let _entered = runtime.enter();
        let room = Room { keep_free_octets: 0, ..Room::default() };
        let store = runtime.block_on(Store::open(&directory.path().join("state"), room)).unwrap();
        let user = Address::parse(USER).unwrap();
        let (_, password) = runtime.block_on(store.add_account(user, Profile::Full)).unwrap();
        let files = tls::provide(directory.path(), "localhost").unwrap();
        let server = tls::server(&files.certificate, &files.key).unwrap();
        let logins = Logins::new(store.clone(), limits.logins());
        let shared = Arc::new(Shared::new(store.clone(), logins, limits, server, "localhost"));
        let bind = |kind, clear| {
            let socket = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
            let listener = Listener { socket, kind, clear_auth: clear };
            (listener.socket.local_addr().unwrap(), listener)
        };
        let (starttls, first) = bind(Kind::Starttls, false);
        let (implicit, second) = bind(Kind::ImplicitTls, false);
        let (clear, third) = bind(Kind::Starttls, true);
        let stop = CancellationToken::new();
        let listeners = vec![first, second, third];
        let serving = runtime.spawn(serve(
            listeners,
            watch::Sender::new(Arc::clone(&shared)).subscribe(),
            stop.clone(),
        ));
        Bridge {
            store,
            shared,
            stop,
            serving: Some(serving),
            starttls,
            implicit,
            clear,
            password: password.expose().to_owned(),
            files,
            _directory: directory,
            runtime,
        }
    }

    fn entries(&self) -> Vec<Entry> {
        self.runtime.block_on(self.store.entries(None, 100)).unwrap()
    }

    fn body(&self, entry: &Entry) -> Vec<u8> {
        self.runtime.block_on(self.store.body(entry.id)).unwrap().unwrap()
    }

    fn plain(&self) -> String {
        BASE64.encode(format!("\0{USER}\0{}", self.password))
    }

    /// A client that has logged in over implicit TLS.
    fn client(&self) -> Client {
        let mut client = Client::connect(self.implicit).secure(&self.files.ca);
        assert!(client.reply().starts_with("220 "));
        client.send(b"EHLO client\r\n");
        while client.reply() != "250 AUTH PLAIN LOGIN" {}
        client.send(format!("AUTH PLAIN {}\r\n", self.plain()).as_bytes());
        assert!(client.reply().starts_with("235 "));
        client
    }

    /// A client that has been told to go on with DATA.
    fn client_in_data(&self) -> Client {
        let mut client = self.client();
        let envelope = format!("MAIL FROM:<{USER}>\r\nRCPT TO:<alex@contoso.example>\r\nDATA\r\n");
        client.send(envelope.as_bytes());
        assert!(client.reply().starts_with("250 "));
        assert!(client.reply().starts_with("250 "));
        assert!(client.reply().starts_with("354 "));
        client
    }

    /// Waits for the end of serving.
    fn drained(&mut self) {
        let serving = self.serving.take().unwrap();
        let ended = async { tokio::time::timeout(PATIENCE, serving).await };
        self.runtime.block_on(ended).unwrap().unwrap();
    }
}

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

struct Client {
    tcp: TcpStream,
    stream: Box<dyn ReadWrite>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Client { stream: Box::new(tcp.try_clone().unwrap()), tcp }
    }

    /// Makes the handshake, trusting `ca` for `localhost`.
    fn secure(self, ca: &Path) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = StreamOwned::new(connection, self.tcp.try_clone().unwrap());
        Client { stream: Box::new(stream), tcp: self.tcp }
    }

    fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
        self.stream.flush().unwrap();
    }

    /// One line of a reply, without its CRLF; empty if the server has closed.
    fn reply(&mut self) -> String {
        let mut line = Vec::new();
        let mut octet = [0];
        while !line.ends_with(b"\r\n") {
            match self.stream.read(&mut octet) {
                Ok(1) => line.push(octet[0]),
                Ok(_) => return String::new(),
                // A connection that is cut off says no farewell.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                    ) =>
                {
                    return String::new();
                }
                Err(error) => panic!("no reply: {error}"),
            }
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    fn closed(&mut self) -> bool {
        self.reply().is_empty()
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => line.starts_with(start),
        None => line == pattern,
    }
}

fn converse(bridge: &Bridge, path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let filled = text
        .replace("{user}", USER)
        .replace("{plain}", &bridge.plain())
        .replace("{login}", &BASE64.encode(USER))
        .replace("{password}", &BASE64.encode(&bridge.password));
    let mut lines = filled.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut client = match lines.next().unwrap() {
        "starttls" => Client::connect(bridge.starttls),
        "implicit" => Client::connect(bridge.implicit).secure(&bridge.files.ca),
        "clear" => Client::connect(bridge.clear),
        other => panic!("{name}: no listener {other}"),
    };
    let mut said = Vec::new();
    for line in lines {
        match line.split_at_checked(2) {
            Some(("C:", text)) => {
                let text = text.strip_prefix(' ').unwrap_or(text);
                said.extend_from_slice(format!("{text}\r\n").as_bytes());
                continue;
            }
            Some((mark @ ("S:" | "S*"), pattern)) => {
                // What the client says before it listens goes out in one piece: pipelined.
                if !said.is_empty() {
                    client.send(&std::mem::take(&mut said));
                }
                let pattern = pattern.strip_prefix(' ').unwrap_or(pattern);
                let mut reply = client.reply();
                while mark == "S*" && !fits(pattern, &reply) && !reply.is_empty() {
                    reply = client.reply();
                }
                assert!(fits(pattern.trim_end(), &reply), "{name}: {line:?} but {reply:?}");
            }
            _ if line == "TLS" => client = client.secure(&bridge.files.ca),
            _ => panic!("{name}: what is {line:?}?"),
        }
    }
    assert!(client.closed(), "{name}: the server has not closed");
}

#[test]
fn the_dialogues_of_real_clients_go_as_they_are_written_down() {
    let bridge = Bridge::start(Limits::default());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/smtp");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8);
    for path in &paths {
        converse(&bridge, path);
    }
}

#[test]
fn a_mail_that_was_answered_with_250_is_in_the_store_under_that_id() {
    let bridge = Bridge::start(Limits::default());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut client = bridge.client_in_data();
        client.send(b"Message-ID: <1@contoso.example>\r\nSubject: x\r\n\r\n..dot\r\n.\r\n");
        let reply = client.reply();
        ids.push(reply.strip_prefix("250 2.0.0 queued as ").expect("a 250").to_owned());
    }
    let entries = bridge.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(ids[0], entries[0].id.to_string());
    assert_eq!(ids[1], format!("{} (already here)", entries[0].id));
    let body = bridge.body(&entries[0]);
    assert_eq!(body, b"Message-ID: <1@contoso.example>\r\nSubject: x\r\n\r\n.dot\r\n");
    let recipients: Vec<_> = entries[0].envelope.recipients().map(Address::as_str).collect();
    assert_eq!(recipients, ["alex@contoso.example"]);
}

#[test]
fn a_large_mail_arrives_octet_for_octet() {
    let bridge = Bridge::start(Limits::default());
    let mut client = bridge.client_in_data();
    let mail: String = std::iter::once("Subject: large\r\n\r\n".to_owned())
        .chain((0..20_000).map(|line| format!("{line}: .{}\r\n", "x".repeat(line % 90))))
        .collect();
    client.send(mail.as_bytes());
    client.send(b".\r\n");
    assert!(client.reply().starts_with("250 "));
    assert_eq!(bridge.body(&bridge.entries()[0]), mail.as_bytes());
}

/// What servers have been known to take for an end of data, and is none.
const TERMINATORS: [&str; 18] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\0\n",
    "\r\n.\r\r\n",
    "\r\n\r.\r\n",
    "\n\n.\r\n",
    "\r\n.\n\r\n",
    "\r\0\n.\r\n",
    "\r\n..\r\n",
    "\r\n .\r\n",
];

#[test]
fn no_second_mail_is_smuggled_in_behind_a_false_end_of_data() {
    let bridge = Bridge::start(Limits::default());
    for (number, terminator) in TERMINATORS.iter().enumerate() {
        // The last two are text like any other.
        let harmless = number >= TERMINATORS.len() - 2;
        for whole in [true, false] {
            let before = bridge.entries().len();
            let mut client = bridge.client_in_data();
            let smuggled = format!(
                "Subject: {number} {whole}\r\n\r\nhello{terminator}MAIL FROM:<{USER}>\r\n\
                 RCPT TO:<eve@contoso.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
            );
            match whole {
                true => client.send(smuggled.as_bytes()),
                false => smuggled.as_bytes().chunks(1).for_each(|octet| client.send(octet)),
            }
            let reply = client.reply();
            if harmless {
                assert!(reply.starts_with("250 2.0.0 queued"), "{terminator:?}: {reply}");
            } else {
                assert!(reply.starts_with("550 5.6.11 "), "{terminator:?}: {reply}");
                assert!(client.closed(), "{terminator:?}");
            }
            assert_eq!(bridge.entries().len() - before, usize::from(harmless), "{terminator:?}");
        }
    }
    let to_eve = |entry: &Entry| entry.envelope.recipients().any(|r| r.local_part() == "eve");
    assert!(!bridge.entries().iter().any(to_eve));
}

#[test]
fn clients_that_stall_delay_no_other() {
    let bridge = Bridge::start(Limits::default());
    let mut stalled: Vec<Client> = (0..50).map(|_| bridge.client_in_data()).collect();
    for client in &mut stalled {
        client.send(b"Subject: never\r\n\r\nen");
    }
    for _ in 0..50 {
        // TLS that never begins.
        stalled.push(Client::connect(bridge.implicit));
    }
    let mut client = bridge.client_in_data();
    client.send(b"Subject: quick\r\n\r\n.\r\n");
    assert!(client.reply().starts_with("250 "));
    drop(stalled);
}

#[test]
fn a_connection_too_many_is_told_so_and_a_place_given_up_is_free_again() {
    let bridge = Bridge::start(Limits { connections: 2, ..Limits::default() });
    let mut first = Client::connect(bridge.starttls);
    let mut second = Client::connect(bridge.starttls);
    assert!(first.reply().starts_with("220 ") && second.reply().starts_with("220 "));
    assert_eq!(bridge.shared.connected(), 2);
    let mut third = Client::connect(bridge.starttls);
    assert!(third.reply().starts_with("421 4.7.0 "));
    assert!(third.closed());
    first.send(b"QUIT\r\n");
    assert!(first.reply().starts_with("221 "));
    drop(first);
    let greeted = || Client::connect(bridge.starttls).reply().starts_with("220 ");
    let start = std::time::Instant::now();
    while !greeted() {
        assert!(start.elapsed() < PATIENCE, "the place is not free again");
    }
}

#[test]
fn who_does_not_log_in_in_time_is_sent_away_however_busy() {
    let bridge = Bridge::start(Limits {
        pre_auth_seconds: 1,
        idle_commands: usize::MAX,
        ..Limits::default()
    });
    let mut silent = Client::connect(bridge.starttls);
    let mut busy = Client::connect(bridge.starttls);
    assert!(busy.reply().starts_with("220 "));
    let end = loop {
        if busy.stream.write_all(b"NOOP\r\n").is_err() {
            break String::new();
        }
        let reply = busy.reply();
        if !reply.starts_with("250 ") {
            break reply;
        }
    };
    assert!(end.starts_with("421 4.4.2 "), "{end}");
    assert!(silent.reply().starts_with("220 "));
    assert!(silent.reply().starts_with("421 4.4.2 "));
    assert!(silent.closed());
}

#[test]
fn a_mail_that_comes_too_slowly_is_given_up() {
    let bridge = Bridge::start(Limits { data_grace_seconds: 1, ..Limits::default() });
    let mut client = bridge.client_in_data();
    client.send(b"Subject: slow\r\n\r\n");
    assert!(client.reply().starts_with("421 4.4.2 the mail came too slowly"));
    assert!(client.closed());
    assert!(bridge.entries().is_empty());
}

#[test]
fn a_stop_lets_a_running_mail_end_and_sends_the_idle_away() {
    let mut bridge = Bridge::start(Limits::default());
    let mut running = bridge.client_in_data();
    let mut idle = bridge.client();
    let mut stranger = Client::connect(bridge.starttls);
    assert!(stranger.reply().starts_with("220 "));
    running.send(b"Subject: last\r\n\r\n");
    bridge.stop.cancel();
    assert!(idle.reply().starts_with("421 4.3.2 ") && idle.closed());
    assert!(stranger.reply().starts_with("421 4.3.2 ") && stranger.closed());
    running.send(b"words\r\n.\r\n");
    assert!(running.reply().starts_with("250 2.0.0 queued as "));
    assert!(running.reply().starts_with("421 4.3.2 "));
    drop((running, idle, stranger));
    bridge.drained();
    assert_eq!(bridge.entries().len(), 1);
    assert!(TcpStream::connect(bridge.starttls).is_err());
}

#[test]
fn a_mail_that_never_ends_is_cut_off_when_the_drain_is_over() {
    let mut bridge = Bridge::start(Limits { drain_seconds: 1, ..Limits::default() });
    let mut endless = bridge.client_in_data();
    bridge.stop.cancel();
    bridge.drained();
    assert!(endless.closed());
    assert_eq!(bridge.shared.connected(), 0);
    assert!(bridge.entries().is_empty());
}

#[test]
fn a_wrong_password_again_and_again_shuts_out_one_account_only() {
    let bridge = Bridge::start(Limits { login_failures_per_minute: 2, ..Limits::default() });
    let mut other = Client::connect(bridge.clear);
    let mut client = Client::connect(bridge.clear);
    for client in [&mut client, &mut other] {
        client.send(b"HELO client\r\n");
        assert!(client.reply().starts_with("220 ") && client.reply().starts_with("250 "));
    }
    let wrong = BASE64.encode("\0eve@contoso.example\0wrong");
    for expected in ["535 5.7.8 ", "535 5.7.8 ", "454 4.7.0 "] {
        client.send(format!("AUTH PLAIN {wrong}\r\n").as_bytes());
        assert!(client.reply().starts_with(expected));
    }
    other.send(format!("AUTH PLAIN {}\r\n", bridge.plain()).as_bytes());
    assert!(other.reply().starts_with("235 "));
}

#[test]
fn the_certificate_satisfies_openssl_and_holds_what_clients_match() {
    let directory = tempfile::tempdir().unwrap();
    let files = tls::provide(directory.path(), "mail.contoso.example").unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output();
        let Ok(output) = output else {
            return common::skip("there is no openssl to ask");
        };
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    };
    let (ca, certificate) = (files.ca.to_str().unwrap(), files.certificate.to_str().unwrap());
    for name in ["localhost", "mail.contoso.example"] {
        let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name];
        openssl(&[&verify[..], &["-CAfile", ca, certificate]].concat());
    }
    for address in ["127.0.0.1", "::1"] {
        openssl(&["verify", "-x509_strict", "-verify_ip", address, "-CAfile", ca, certificate]);
    }
}

#[test]
fn python_smtplib_sends_by_every_way_it_knows() {
    let bridge = Bridge::start(Limits::default());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/smtplib_client.py");
    let python = std::env::var("POSTBRIDGE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(python)
        .arg(script)
        .args([bridge.starttls.port(), bridge.implicit.port()].map(|port| port.to_string()))
        .args([USER, bridge.files.ca.to_str().unwrap()])
        .env("SMTP_PASSWORD", &bridge.password)
        .output();
    let Ok(output) = output else {
        return common::skip("there is no python to send with");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(bridge.entries().len(), 5);
}
