//! What it takes to map a mail of 150 MB, on one core: `cargo bench --bench outline`. The mail is made
//! piece by piece as it would come from the spool, so that what is measured is the map alone; making
//! the pieces is not in the time. Memory is the peak of this process less what it had before.

use std::time::{Duration, Instant};

use postbridge::mime::outline::Reader;

const OCTETS: usize = 150_000_000;
const PIECE_OCTETS: usize = 64 * 1024;
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    println!("| mail of 150 MB | MB/s | memory, KiB |\n|---|---:|---:|");
    let base64 =
        b"TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsuIE1hbnkgaGFuZHMgbWFrZSBsaWdodCB3b3JrLg==\r\n";
    let text = b"Many hands make light work -- or so they say.\r\n\r\n";
    let dashes = b"----\r\n--- not a delimiter\r\n";
    for (name, line) in
        [("base64", &base64[..]), ("text", &text[..]), ("lines of dashes", &dashes[..])]
    {
        let piece: Vec<u8> = line.iter().copied().cycle().take(PIECE_OCTETS).collect();
        let before = peak_kib();
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(rate(&piece)?);
        }
        rates.sort_by(f64::total_cmp);
        let rate = rates.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
        println!("| {name} | {rate:.0} | {} |", peak_kib().saturating_sub(before));
    }
    Ok(())
}

/// MB in a second.
fn rate(piece: &[u8]) -> anyhow::Result<f64> {
    const HEAD: &[u8] = b"From: adele.vance@contoso.example\r\n\
        Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nhello\r\n--m\r\n\
        Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let mut reader = Reader::default();
    let mut took = Duration::ZERO;
    let mut octets = 0;
    let whole = OCTETS / piece.len();
    let pieces = std::iter::once(HEAD).chain(std::iter::repeat_n(piece, whole));
    for piece in pieces.chain([&b"\r\n--m--\r\n"[..]]) {
        let start = Instant::now();
        reader.push(piece)?;
        took += start.elapsed();
        octets += piece.len();
    }
    let outline = reader.finish()?;
    anyhow::ensure!(outline.parts.len() == 3, "{} parts", outline.parts.len());
    Ok(f64::from(u32::try_from(octets)?) / 1e6 / took.as_secs_f64())
}

/// The most memory that this process ever had (Linux: VmHWM); 0 where that is not told.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
