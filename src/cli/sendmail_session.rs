//! A session with the bridge: TLS, a login, and one mail after the other.
//!
//! RFC 5321 as a client, RFC 3207's successor RFC 8314 (TLS from the first octet), RFC 4954. What comes of
//! a mail is one of three: taken, refused, or to be tried again; and for the last, whether it may have been
//! taken all the same.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exit;
use super::sendmail_drop::Slip;
use crate::account::Address;
use crate::secret::Secret;

const CONNECT_TIME: Duration = Duration::from_secs(10);
const REPLY_TIME: Duration = Duration::from_secs(60);
/// The reply to a mail may be held back for a minute (`smtp.wait`), after it was synced.
const LAST_REPLY_TIME: Duration = Duration::from_secs(180);
/// The longest line of a reply that is read.
const LINE_OCTETS_MAX: u64 = 4096;

/// Where to, and as whom.
pub struct Server<'s> {
    /// `localhost:1465`
    pub address: &'s str,
    pub ca: &'s Path,
    pub user: &'s Address,
    pub password: &'s Secret,
    /// Shows what is said on standard error.
    pub verbose: bool,
}

/// Why a mail was not taken.
#[derive(Debug)]
pub enum Trouble {
    /// The bridge is down, or wants it later: nothing was taken.
    Down(String),
    /// The mail went out whole and no reply came: it may have been taken.
    Unknown(String),
    /// This mail will never be taken.
    Refused { status: u8, why: String },
    /// No mail will be taken until somebody mends the settings.
    Setup { status: u8, why: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Down(why) | Trouble::Unknown(why) => f.write_str(why),
            Trouble::Refused { why, .. } | Trouble::Setup { why, .. } => f.write_str(why),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Down(error.to_string())
    }
}

struct Reply {
    code: u16,
    /// The text of all its lines.
    lines: Vec<String>,
}

impl Reply {
    fn text(&self) -> String {
        let text: String = self.lines.join(" ");
        format!("{} {}", self.code, text.replace(char::is_control, " "))
    }

    /// What a reply that is not the wanted one means; `status` is for a 5xx.
    fn trouble(&self, status: u8) -> Trouble {
        let why = format!("the bridge answered {}", self.text());
        match self.code {
            500..600 => Trouble::Refused { status, why },
            _ => Trouble::Down(why),
        }
    }
}

/// A session that has logged in.
pub struct Session {
    stream: BufReader<TlsStream<TcpStream>>,
    verbose: bool,
    greeting: String,
    /// Keywords of the EHLO reply.
    offers: Vec<String>,
    over: bool,
}

impl Session {
    pub async fn open(server: &Server<'_>) -> Result<Session, Trouble> {
        let setup = |status, why| Trouble::Setup { status, why };
        let host = server.address.rsplit_once(':').map_or(server.address, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| setup(exit::CONFIG, format!("{host:?} is no name of a server")))?;
        let ca = |error: &dyn fmt::Display| {
            let path = server.ca.display();
            setup(exit::CONFIG, format!("the CA file {path} cannot be used: {error}"))
        };
        // First, since nothing else matters while nobody is there.
        let socket = timeout(CONNECT_TIME, TcpStream::connect(server.address))
            .await
            .map_err(io::Error::from)??;
        let mut roots = rustls::RootCertStore::empty();
        let files = CertificateDer::pem_file_iter(server.ca).map_err(|error| ca(&error))?;
        for certificate in files {
            let certificate = certificate.map_err(|error| ca(&error))?;
            roots.add(certificate).map_err(|error| ca(&error))?;
        }
        let tls =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connected = TlsConnector::from(Arc::new(tls)).connect(name, socket);
        let stream = timeout(REPLY_TIME, connected).await.map_err(io::Error::from)?;
        let stream = stream.map_err(|error| match error.kind() {
            // Rustls' own verdict, such as a certificate of another CA.
            io::ErrorKind::InvalidData => setup(
                exit::CONFIG,
                format!(
                    "{} is not the bridge that {} vouches for: {error}",
                    server.address,
                    server.ca.display()
                ),
            ),
            _ => error.into(),
        })?;
        let mut session = Session {
            stream: BufReader::new(stream),
            verbose: server.verbose,
            greeting: String::new(),
            offers: Vec::new(),
            over: false,
        };
        let greeting = session.read(REPLY_TIME).await?;
        if greeting.code != 220 {
            return Err(greeting.trouble(exit::UNAVAILABLE));
        }
        session.greeting = greeting.text();
        let offer = session.ask("EHLO localhost", "EHLO localhost").await?;
        if offer.code != 250 {
            return Err(offer.trouble(exit::UNAVAILABLE));
        }
        session.offers = offer.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        let secret = format!("\0{}\0{}", server.user, server.password.expose());
        let login = format!("AUTH PLAIN {}", STANDARD.encode(secret));
        let login = session.ask(&login, "AUTH PLAIN …").await?;
        match login.code {
            235 => Ok(session),
            500..600 => Err(setup(
                exit::EXPOSED,
                format!("the bridge does not let {} in: {}", server.user, login.text()),
            )),
            _ => Err(login.trouble(exit::UNAVAILABLE)),
        }
    }

    /// Hands a mail in; what the bridge said of it. `before_end` is called when only the end of the mail is
    /// missing: from then on it may have been taken.
    pub async fn hand_in(
        &mut self,
        slip: &Slip,
        octets: &[u8],
        before_end: impl FnOnce() -> io::Result<()>,
    ) -> Result<String, Trouble> {
        let handed = self.transaction(slip, octets, before_end).await;
        if matches!(&handed, Err(Trouble::Refused { .. })) {
            self.over = self.ask("RSET", "RSET").await.is_err();
        }
        handed
    }

    async fn transaction(
        &mut self,
        slip: &Slip,
        octets: &[u8],
        before_end: impl FnOnce() -> io::Result<()>,
    ) -> Result<String, Trouble> {
        let from = slip.from.as_ref().map_or("", Address::as_str);
        let mut mail = format!("MAIL FROM:<{from}> SIZE={}", octets.len());
        if !octets.is_ascii() && self.offers("8BITMIME") {
            mail += " BODY=8BITMIME";
        }
        if !from.is_ascii() || slip.to.iter().any(|to| !to.as_str().is_ascii()) {
            mail += " SMTPUTF8";
        }
        let notified = self.offers("DSN");
        if let Some(ret) = slip.ret.as_ref().filter(|_| notified) {
            mail += &format!(" RET={ret}");
        }
        self.expect(&mail, 250, exit::UNAVAILABLE).await?;
        for to in &slip.to {
            let notify = slip.notify.as_ref().filter(|_| notified);
            let notify = notify.map_or_else(String::new, |notify| format!(" NOTIFY={notify}"));
            // All or nobody: a program that is told of a failure sends the whole of it again.
            self.expect(&format!("RCPT TO:<{to}>{notify}"), 250, exit::NO_USER).await?;
        }
        self.expect("DATA", 354, exit::UNAVAILABLE).await?;
        self.stream.write_all(&stuffed(octets)).await?;
        self.stream.flush().await?;
        before_end()?;
        let unknown = |error: io::Error| Trouble::Unknown(error.to_string());
        self.say("> .");
        self.stream.write_all(b".\r\n").await.map_err(unknown)?;
        self.stream.flush().await.map_err(unknown)?;
        match self.read(LAST_REPLY_TIME).await.map_err(unknown)? {
            reply if reply.code == 250 => Ok(reply.text()),
            // RFC 5321 §4.2: the mail was not taken.
            reply => Err(reply.trouble(exit::BAD_MAIL)),
        }
    }

    /// The bridge hung up after it refused a mail, as it does at a bare line end or a NUL.
    pub fn is_over(&self) -> bool {
        self.over
    }

    pub async fn quit(mut self) {
        let _ = self.ask("QUIT", "QUIT").await;
    }

    /// Gives the session to a program that speaks SMTP itself; ends with it.
    pub async fn pass_on(self) -> io::Result<()> {
        write_out(format!("{}\r\n", self.greeting).as_bytes())?;
        let (mut from_bridge, mut to_bridge) = tokio::io::split(self.stream);
        let mut input = input();
        let up = async {
            while let Some(octets) = input.recv().await {
                if to_bridge.write_all(&octets).await.is_err() || to_bridge.flush().await.is_err() {
                    break;
                }
            }
            let _ = to_bridge.shutdown().await;
            std::future::pending::<()>().await;
        };
        let down = async {
            let mut octets = [0; 4096];
            loop {
                let read = from_bridge.read(&mut octets).await?;
                match octets.get(..read).filter(|piece| !piece.is_empty()) {
                    Some(piece) => write_out(piece)?,
                    None => return Ok(()),
                }
            }
        };
        tokio::select! {
            () = up => Ok(()),
            done = down => done,
        }
    }

    fn offers(&self, keyword: &str) -> bool {
        self.offers.iter().any(|line| line.split(' ').next() == Some(keyword))
    }

    async fn expect(&mut self, line: &str, code: u16, status: u8) -> Result<Reply, Trouble> {
        let reply = self.ask(line, line).await?;
        if reply.code == code { Ok(reply) } else { Err(reply.trouble(status)) }
    }

    /// `shown` is the line as anybody may see it.
    async fn ask(&mut self, line: &str, shown: &str) -> io::Result<Reply> {
        self.say(&format!("> {shown}"));
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        self.read(REPLY_TIME).await
    }

    async fn read(&mut self, within: Duration) -> io::Result<Reply> {
        timeout(within, self.reply()).await?
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            (&mut self.stream).take(LINE_OCTETS_MAX).read_until(b'\n', &mut line).await?;
            if line.last() != Some(&b'\n') {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the bridge hung up"));
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.say(&format!("< {line}"));
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other("what answers does not speak SMTP"))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    fn say(&self, line: &str) {
        if self.verbose {
            eprintln!("{line}");
        }
    }
}

/// What comes on standard input, read by a thread that nobody waits for.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut octets = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = io::stdin().read(&mut octets) {
            let piece = octets.get(..read).unwrap_or_default().to_vec();
            if sender.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    receiver
}

fn write_out(octets: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(octets)?;
    output.flush()
}

/// RFC 5321 §4.5.2. The mail ends in CRLF.
fn stuffed(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 64);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}
