//! A mail of 150 MB, and small ones handed in behind it: what it takes in memory, and whom it holds up.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postbridge::store::spool::State;
use serde_json::json;

use crate::common::daemon::Daemon;
use crate::common::id_in;
use crate::processes::{Account, Sandbox, Site, until};

const MIB: f64 = (1 << 20) as f64;
/// Of the large mail, as it is handed in: as near to 150 MiB as lines come.
const OCTETS: usize = 157_286_400 - 1_024;
const LATENCY: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What one large mail took.
pub struct Seen {
    /// From DATA to its 250, and from there until it was sent.
    pub handed_in: Duration,
    pub sent: Duration,
    /// Octets: resident before it, and the most above that.
    pub idle: f64,
    pub above_idle: f64,
    /// From DATA of each small mail until it was sent, while the large one was on its way.
    pub small: Vec<Duration>,
}

/// One large mail of the first account's; behind it its small ones, one after the other until it is sent.
pub async fn run(sandbox: &Sandbox, site: &Site) -> anyhow::Result<Seen> {
    let limits = json!({ "message_octets_max": OCTETS, "uploaded_octets_max": 1 << 30 });
    sandbox.post("/_sandbox/switches", &limits).await?;
    sandbox.reset(LATENCY).await?;
    let daemon = site.serve();
    let account = site.accounts.first().context("there is an account")?;
    let idle = memory(&daemon, "VmRSS:")?;

    let began = Instant::now();
    let id = id_in(&hand_in_large(account, &daemon)?);
    let handed_in = began.elapsed();
    let mut small = Vec::new();
    let mut client = account.connect(daemon.address)?;
    let is_sent = async |id| anyhow::Ok(site.entry(id).await?.state == State::Sent);
    let sent = loop {
        let since = Instant::now();
        let behind = account.hand_in(&mut client, &format!("behind-{}", small.len()))?;
        until(async || Ok(is_sent(behind).await? || is_sent(id).await?), LOOK_AGAIN).await?;
        if is_sent(id).await? {
            break began.elapsed() - handed_in;
        }
        small.push(since.elapsed());
    };
    until(async || site.is_done().await, LOOK_AGAIN).await?;
    let above_idle = memory(&daemon, "VmHWM:")? - idle;
    sandbox.check(small.len() + 2).await?;
    ensure!(!small.is_empty(), "no small mail was sent before the large one");
    Ok(Seen { handed_in, sent, idle, above_idle, small })
}

/// The reply.
fn hand_in_large(account: &Account, daemon: &Daemon) -> anyhow::Result<String> {
    let mut client = account.connect(daemon.address)?;
    account.begin(&mut client)?;
    let head = account.head("large");
    client.send(&format!(
        "{head}Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nHello\r\n--m\r\n\
         Content-Type: application/octet-stream; name=huge.bin\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n"
    ))?;
    let line = format!("{}\r\n", STANDARD.encode([0x5a; 57]));
    let lines = line.repeat(1_000);
    for _ in 0..(OCTETS - 2_048) / lines.len() {
        client.send(&lines)?;
    }
    client.send("--m--\r\n.\r\n")?;
    Ok(client.expect("250")?)
}

/// From `/proc/PID/status`, in octets.
fn memory(daemon: &Daemon, key: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let Some(line) = status.lines().find(|line| line.starts_with(key)) else {
        bail!("the kernel does not tell {key}");
    };
    let kib: f64 = line.split_whitespace().nth(1).context("it has a number")?.parse()?;
    Ok(kib * 1024.0)
}

pub fn table(rounds: &[Seen]) -> String {
    let median = |pick: fn(&Seen) -> f64| crate::median(rounds.iter().map(pick).collect());
    let mut small: Vec<f64> =
        rounds.iter().flat_map(|seen| &seen.small).map(Duration::as_secs_f64).collect();
    small.sort_by(f64::total_cmp);
    let most = small.last().copied().unwrap_or(f64::NAN);
    let each = rounds
        .last()
        .map(|seen| seen.small.iter().map(Duration::as_millis).map(|ms| ms.to_string()));
    format!(
        "A mail of {:.0} MiB at {} ms, and small ones of the same mailbox behind it, one after the other:\n\n\
         | handed in, s | sent after, s | memory when idle, MiB | at most above, MiB | small mails meanwhile | each sent after, ms: median | most |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n\
         | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} |\n\n\
         Each of the last round, in ms: {}\n",
        OCTETS as f64 / MIB,
        LATENCY.as_millis(),
        median(|seen| seen.handed_in.as_secs_f64()),
        median(|seen| seen.sent.as_secs_f64()),
        median(|seen| seen.idle / MIB),
        median(|seen| seen.above_idle / MIB),
        median(|seen| seen.small.len() as f64),
        crate::median(small) * 1e3,
        most * 1e3,
        each.map(|each| each.collect::<Vec<_>>().join(" ")).unwrap_or_default(),
    )
}
