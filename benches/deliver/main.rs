//! Mails delivered per second, and what a large one takes: `cargo bench --bench deliver`.
//!
//! The release binary is both processes: the daemon, and the sandbox, which answers every call of Graph
//! so much later as a cell says. Mails are handed in by SMTP, all at once; the clock runs from the first
//! MAIL until the last one is sent and that is written down. Beside it stands what can be had at most:
//! the calls that a mailbox may have in flight, by the latency, by the calls that a mail takes. What is
//! printed are the tables of the README. Nothing here is a test: it fails only when a process does, or a
//! mail is lost or sent twice.
//!
//! `DELIVER_ROUNDS` (3) is how often everything is done; what is printed are medians. `DELIVER_ONLY` is one
//! line of the table, as `50x200` for 50 mailboxes and 200 ms, for whoever looks for what takes long.

#[path = "../../tests/common/mod.rs"]
mod common;
mod large;
#[allow(dead_code)]
#[path = "../accept/process.rs"]
mod process;
mod processes;
mod script;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use postbridge::graph::pace::IN_FLIGHT_MAX;
use processes::{Sandbox, Site, until};
use tokio::runtime::Runtime;

/// Mailboxes, latency in ms, mails of each mailbox.
const CELLS: [(usize, u64, usize); 6] =
    [(1, 0, 600), (1, 50, 150), (1, 200, 60), (50, 0, 60), (50, 50, 60), (50, 200, 60)];
const MAILBOXES: usize = 50;
/// Create, tag, send.
const CALLS_PER_MAIL: usize = 3;
const BODY_OCTETS: usize = 4_000;
/// Between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One cell of one round; of all rounds in the end.
#[derive(Debug, Clone, Copy)]
struct Measured {
    per_second: f64,
    /// CPU seconds of the daemon and of the sandbox for 1,000 mails.
    daemon: f64,
    sandbox: f64,
    script: f64,
}

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let rounds = std::env::var("DELIVER_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    // One thread: what looks on must not take more of the machine than it needs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let only = std::env::var("DELIVER_ONLY").ok();
    let asked = CELLS.iter().filter(|(mailboxes, latency, _)| {
        only.as_ref().is_none_or(|only| *only == format!("{mailboxes}x{latency}"))
    });
    let asked: Vec<_> = asked.copied().collect();
    let mut cells = vec![Vec::new(); asked.len()];
    let mut larges = Vec::new();
    let load = load();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let sandbox = Sandbox::start(MAILBOXES)?;
        let site = runtime.block_on(Site::new(&sandbox))?;
        if only.is_none() {
            larges.push(runtime.block_on(large::run(&sandbox, &site)).context("the large mail")?);
        }
        for (cell, measured) in asked.iter().zip(&mut cells).rev() {
            let one = measure(&runtime, &sandbox, &site, *cell);
            let one = one.with_context(|| format!("{cell:?}"))?;
            eprintln!("  {cell:>3?}: {one:.2?}");
            measured.push(one);
        }
    }
    println!("{}", table(&asked, &cells));
    if only.is_none() {
        println!("{}", large::table(&larges));
    }
    println!("Load of the machine over the last minute: {load} before, {} after.", self::load());
    Ok(())
}

/// As `uptime` says it.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn measure(
    runtime: &Runtime,
    sandbox: &Sandbox,
    site: &Site,
    (mailboxes, latency, mails): (usize, u64, usize),
) -> anyhow::Result<Measured> {
    let latency = Duration::from_millis(latency);
    let accounts = site.accounts.get(..mailboxes).context("there are so many accounts")?;
    let mut daemon = site.serve();
    let hand_in = |what: &str, mails: usize| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = accounts
                .iter()
                .map(|account| {
                    scope.spawn(|| {
                        let mut client = account.connect(daemon.address)?;
                        for number in 0..mails {
                            let name = account.address.split('@').next().unwrap_or_default();
                            let subject = format!(
                                "{what}-{name}-{mailboxes}-{}-{number}",
                                latency.as_millis()
                            );
                            account.hand_in(&mut client, &subject)?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            let sent = runtime.block_on(async {
                let all = (mailboxes * mails) as u64;
                until(async || Ok(sandbox.sends().await? >= all), LOOK_AGAIN).await?;
                until(async || site.is_done().await, LOOK_AGAIN / 4).await
            });
            for client in clients {
                client.join().map_err(|_| anyhow!("a client broke down"))??;
            }
            sent
        })
    };
    // Whatever is made once is there: tokens, connections, threads.
    runtime.block_on(sandbox.reset(Duration::ZERO))?;
    hand_in("first", 1)?;

    runtime.block_on(sandbox.reset(latency))?;
    let cpu = |daemon: u32| (process::cpu_seconds(daemon), process::cpu_seconds(sandbox.pid()));
    let pid = u32::try_from(daemon.pid())?;
    let (before, began) = (cpu(pid), Instant::now());
    hand_in("mail", mails)?;
    let (took, after) = (began.elapsed(), cpu(pid));
    let all = mailboxes * mails;
    runtime.block_on(sandbox.check(all))?;
    daemon.terminate();
    daemon.ended();
    let script = runtime.block_on(script::run(sandbox, accounts, mails, latency))?;
    let thousands = all as f64 / 1000.0;
    Ok(Measured {
        per_second: all as f64 / took.as_secs_f64(),
        daemon: (after.0 - before.0) / thousands,
        sandbox: (after.1 - before.1) / thousands,
        script,
    })
}

fn table(asked: &[(usize, u64, usize)], cells: &[Vec<Measured>]) -> String {
    let mut text = String::from(
        "Mails delivered per second (CPU seconds for 1,000 mails; cores: what both processes together kept \
         busy):\n\n\
         | mailboxes | latency | postbridge | at most | of that | CPU postbridge | CPU sandbox | cores | sendMail script | × script |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (&(mailboxes, latency, _), rounds) in asked.iter().zip(cells) {
        let median = |pick: fn(&Measured) -> f64| median(rounds.iter().map(pick).collect());
        let per_second = median(|one| one.per_second);
        let (most, part) = match latency {
            0 => ("".to_owned(), "".to_owned()),
            _ => {
                let most = bound(mailboxes, latency);
                (format!("{most:.0}"), format!("{:.0} %", per_second / most * 100.0))
            }
        };
        let (daemon, sandbox) = (median(|one| one.daemon), median(|one| one.sandbox));
        let script = median(|one| one.script);
        text += &format!(
            "| {mailboxes} | {latency} ms | {per_second:.1} | {most} | {part} | {daemon:.2} | {sandbox:.2} | {:.2} | {script:.1} | {:.2} |\n",
            (daemon + sandbox) * per_second / 1000.0,
            per_second / script,
        );
    }
    text
}

/// Mails per second that Graph's limit lets through at this latency, in ms.
fn bound(mailboxes: usize, latency: u64) -> f64 {
    (mailboxes * IN_FLIGHT_MAX) as f64 / (latency as f64 / 1000.0) / CALLS_PER_MAIL as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of a small mail.
fn body() -> String {
    let line = "The quick brown fox jumps over the lazy dog, and over the mail beside it.\r\n";
    line.repeat(BODY_OCTETS.div_ceil(line.len()))
}
