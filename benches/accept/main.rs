//! Durable accepts per second, beside an off-the-shelf server and Postfix: `cargo bench --bench accept`.
//!
//! The same client hands the same mails to each, in turn, on one machine in one run; a mail counts
//! when its 250 came, and every server has it on disk by then. What is printed is the table of the
//! README. Nothing here is a test: it fails only when a server does.
//!
//! `ACCEPT_ROUNDS` (3) is how often everything is done; what is printed are medians.

mod load;
mod process;
mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use servers::Server;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connections, octets of a mail's body, mails.
const CELLS: [(usize, usize, u64); 6] = [
    (1, 4_000, 500),
    (16, 4_000, 2_000),
    (100, 4_000, 2_000),
    (1, 100_000, 300),
    (16, 100_000, 600),
    (100, 100_000, 600),
];
/// Connections that only wait; Postfix has a process for each, so it gets fewer.
const IDLE: usize = 1_000;
const IDLE_POSTFIX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Postbridge,
    Mailin,
    Postfix,
}

impl Who {
    async fn start(self) -> anyhow::Result<Server> {
        match self {
            Who::Postbridge => servers::postbridge().await,
            Who::Mailin => servers::mailin(),
            Who::Postfix => servers::postfix(),
        }
    }
}

/// One server in one cell of one round; as medians of all rounds in the end.
#[derive(Debug, Clone, Copy)]
struct Measured {
    per_second: f64,
    p50: f64,
    p99: f64,
    /// CPU seconds of the server for 1,000 mails.
    cpu: f64,
}

type Results = BTreeMap<(usize, Who), Vec<Measured>>;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|one| one == servers::MAILIN_ARGUMENT) {
        let argument = |offset: usize| arguments.get(at + offset).context("an argument is missing");
        return servers::serve_mailin(argument(1)?, argument(2)?);
    }
    // Open files: a thousand connections and more, for us and for the servers, which inherit it.
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, files);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // One thread: the client must not take more of the machine than it needs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let rounds = std::env::var("ACCEPT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut whom = vec![Who::Postbridge, Who::Mailin, Who::Postfix];
    if let Err(why) = servers::postfix() {
        eprintln!("\n*** POSTFIX IS LEFT OUT OF THE TABLE: {why:#} ***\n");
        whom.pop();
    }
    let mut results = Results::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let mut running = Vec::new();
        for &who in &whom {
            running.push((who, who.start().await.with_context(|| format!("{who:?}"))?));
        }
        for (cell, &(connections, octets, mails)) in CELLS.iter().enumerate() {
            for (who, server) in &running {
                let measured = measure(server, connections, octets, mails);
                let measured = measured.await.with_context(|| format!("{who:?}"))?;
                eprintln!("  {connections:>3} x {octets:>6}: {who:?} {measured:.1?}");
                results.entry((cell, *who)).or_default().push(measured);
            }
        }
    }
    println!("{}", table(&results, &whom));
    println!("{}", memory(&whom).await?);
    Ok(())
}

async fn measure(
    server: &Server,
    connections: usize,
    octets: usize,
    mails: u64,
) -> anyhow::Result<Measured> {
    let before = process::cpu_seconds(server.pid());
    let seen =
        load::run(server.address, server.auth.as_deref(), connections, mails, octets).await?;
    let cpu = process::cpu_seconds(server.pid()) - before;
    Ok(Measured {
        per_second: seen.per_second(),
        p50: seen.percentile(0.5),
        p99: seen.percentile(0.99),
        cpu: cpu * 1000.0 / seen.mails as f64,
    })
}

fn table(results: &Results, whom: &[Who]) -> String {
    let mut text = String::from(
        "Mails accepted per second (p50 / p99 in ms; CPU seconds of the server per 1,000 mails):\n\n\
         | body | connections | postbridge | mailin-embedded + fsync | Postfix | × mailin | × Postfix |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (cell, &(connections, octets, _)) in CELLS.iter().enumerate() {
        let of = |who: Who| {
            let all = results.get(&(cell, who)).filter(|_| whom.contains(&who))?;
            let median = |pick: fn(&Measured) -> f64| median(all.iter().map(pick).collect());
            Some(Measured {
                per_second: median(|one| one.per_second),
                p50: median(|one| one.p50),
                p99: median(|one| one.p99),
                cpu: median(|one| one.cpu),
            })
        };
        let cell = |measured: Option<Measured>| match measured {
            Some(Measured { per_second, p50, p99, cpu }) => {
                format!("{per_second:.0} ({p50:.1} / {p99:.1}; {cpu:.2})")
            }
            None => "not installed".into(),
        };
        let ours = of(Who::Postbridge);
        let ratio = |other: Option<Measured>| match (ours, other) {
            (Some(ours), Some(other)) => format!("{:.1}", ours.per_second / other.per_second),
            _ => String::new(),
        };
        let (mailin, postfix) = (of(Who::Mailin), of(Who::Postfix));
        text += &format!(
            "| {} kB | {connections} | {} | {} | {} | {} | {} |\n",
            octets / 1000,
            cell(ours),
            cell(mailin),
            cell(postfix),
            ratio(mailin),
            ratio(postfix),
        );
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Memory of each server, fresh, and with connections that have said EHLO and wait.
async fn memory(whom: &[Who]) -> anyhow::Result<String> {
    let mut text = String::from(
        "Memory in MB (resident; of Postfix, the proportional shares of its processes):\n\n\
         | | nothing to do | idle connections | |\n|---|---:|---:|---:|\n",
    );
    let mut row = |name: &str, alone: f64, connections: usize, with: f64| {
        text += &format!("| {name} | {alone:.1} | {connections} | {with:.1} |\n");
    };
    for &who in whom {
        let connections = match who {
            Who::Postbridge => IDLE,
            // It gives each connection one of its threads, and the others no greeting.
            Who::Mailin | Who::Postfix => IDLE_POSTFIX,
        };
        let server = who.start().await?;
        let alone = process::megabytes(server.pid());
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(load::connect(server.address, None).await?);
        }
        row(&format!("{who:?}"), alone, connections, process::megabytes(server.pid()));
    }
    let server = Who::Postbridge.start().await?;
    let alone = process::megabytes(server.pid());
    let (address, ca) = server.tls.as_ref().context("postbridge has TLS")?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(tls));
    let mut open = Vec::new();
    for _ in 0..IDLE {
        let name = ServerName::try_from("localhost")?;
        let mut stream = connector.connect(name, TcpStream::connect(address).await?).await?;
        load::greet(&mut stream).await?;
        open.push(stream);
    }
    row("Postbridge, TLS", alone, IDLE, process::megabytes(server.pid()));
    Ok(text)
}
