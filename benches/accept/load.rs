//! The load client: connections that are opened once and hand in mail after mail, each command
//! awaited. The same for every server, in the clear, so that it is the accepting that is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::servers::{COLLEAGUE, USER};

/// No cell takes longer, whatever it was to hand in.
const TIME_MAX: Duration = Duration::from_secs(20);
/// For one reply: beyond this the server is stuck, and the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(60);
const REPLY_OCTETS_MAX: usize = 64 * 1024;

/// What the client saw of one cell.
pub struct Seen {
    pub mails: u64,
    pub took: Duration,
    /// From MAIL to the 250 after the text, sorted.
    latencies: Vec<Duration>,
}

impl Seen {
    pub fn per_second(&self) -> f64 {
        self.mails as f64 / self.took.as_secs_f64()
    }

    /// In milliseconds; `part` of 0.99 is p99.
    pub fn percentile(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// Hands in `mails` mails of `octets` each over so many connections.
pub async fn run(
    server: SocketAddr,
    auth: Option<&str>,
    connections: usize,
    mails: u64,
    octets: usize,
) -> anyhow::Result<Seen> {
    // No two mails of a run of the benchmark are equal.
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(connect(server, auth).await?);
    }
    let body: Arc<[u8]> = filler(octets).into();
    let left = Arc::new(AtomicU64::new(mails));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for mut stream in open {
        let (body, left) = (Arc::clone(&body), Arc::clone(&left));
        clients.spawn(async move {
            let mut latencies = Vec::new();
            let take = |left: u64| left.checked_sub(1);
            while began.elapsed() < TIME_MAX
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
            {
                let text = message(NUMBERS.fetch_add(1, Ordering::Relaxed), &body);
                let sent = Instant::now();
                mail(&mut stream, &text).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok((latencies, stream))
        });
    }
    let mut latencies = Vec::new();
    let mut idle = Vec::new();
    while let Some(client) = clients.join_next().await {
        let (its, stream) = client??;
        latencies.extend(its);
        idle.push(stream);
    }
    let took = began.elapsed();
    for mut stream in idle {
        command(&mut stream, b"QUIT\r\n", "221").await?;
    }
    latencies.sort_unstable();
    Ok(Seen { mails: latencies.len() as u64, took, latencies })
}

/// Connects and says EHLO, and logs in where there is a login (`AUTH PLAIN`'s initial response).
pub async fn connect(server: SocketAddr, auth: Option<&str>) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    greet(&mut stream).await?;
    if let Some(initial) = auth {
        command(&mut stream, format!("AUTH PLAIN {initial}\r\n").as_bytes(), "235").await?;
    }
    Ok(stream)
}

pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> anyhow::Result<()> {
    command(stream, b"", "220").await?;
    command(stream, b"EHLO client.contoso.example\r\n", "250").await
}

async fn mail(stream: &mut TcpStream, text: &[u8]) -> anyhow::Result<()> {
    command(stream, format!("MAIL FROM:<{USER}>\r\n").as_bytes(), "250").await?;
    command(stream, format!("RCPT TO:<{COLLEAGUE}>\r\n").as_bytes(), "250").await?;
    command(stream, b"DATA\r\n", "354").await?;
    command(stream, text, "250").await
}

/// Sends, and waits for the reply, which must have this code.
async fn command<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    octets: &[u8],
    code: &str,
) -> anyhow::Result<()> {
    let exchange = async {
        stream.write_all(octets).await?;
        stream.flush().await?;
        let mut reply = Vec::with_capacity(512);
        while !is_whole(&reply) {
            if stream.read_buf(&mut reply).await? == 0 || reply.len() > REPLY_OCTETS_MAX {
                bail!("the server hung up after {:?}", String::from_utf8_lossy(&reply));
            }
        }
        if !reply.starts_with(code.as_bytes()) {
            bail!("{code} was expected, not {:?}", String::from_utf8_lossy(&reply));
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("no reply in time")?
}

/// RFC 5321 §4.2.1: the last line of a reply has a space after the code.
fn is_whole(reply: &[u8]) -> bool {
    let lines = reply.strip_suffix(b"\r\n").map(|lines| lines.rsplit(|&octet| octet == b'\n'));
    lines.is_some_and(|mut lines| {
        lines.next().is_some_and(|last| last.get(3).is_none_or(|&octet| octet == b' '))
    })
}

fn message(number: u64, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "From: Adele Vance <{USER}>\r\nTo: Alex Wilber <{COLLEAGUE}>\r\nSubject: Mail {number}\r\n\
         Date: Mon, 2 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{number}@contoso.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThis is {number}.\r\n"
    );
    [head.as_bytes(), body, b".\r\n"].concat()
}

fn filler(octets: usize) -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog, and over the mail beside it.\r\n";
    line.repeat(octets.div_ceil(line.len()))
}
