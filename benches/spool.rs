//! What a mail costs the spool by its size, in this process and without SMTP: `cargo bench --bench
//! spool`. The sizes on either side of `ROW_OCTETS_MAX` are nearly the same mail, once as a row and
//! once as a file: where the row is the faster one at all concurrencies, the limit may go up; where
//! it is the slower one, down.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postbridge::account::{Account, AccountId, Address, Profile, Standing};
use postbridge::store::spool::ROW_OCTETS_MAX;
use postbridge::store::{Room, Store};
use postbridge::submission::{Envelope, MailParameters};
use tokio::task::JoinSet;

const SIZES: [usize; 7] =
    [4_000, 32_000, 64_000, 100_000, ROW_OCTETS_MAX, ROW_OCTETS_MAX + 1, 512_000];
const CONCURRENCY: [usize; 3] = [1, 16, 100];
const ROUNDS: usize = 3;
/// Octets that one measurement puts into the spool, and the most mails that it takes for that.
const OCTETS: usize = 48 << 20;
const MAILS_MAX: u64 = 1_000;
const TIME_MAX: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    println!("| octets | as a | 1 at a time, mails/s | 16 | 100 |\n|---:|---|---:|---:|---:|");
    for octets in SIZES {
        let kind = if octets <= ROW_OCTETS_MAX { "row" } else { "file" };
        print!("| {octets} | {kind} |");
        for concurrency in CONCURRENCY {
            let mut rates = Vec::new();
            for _ in 0..ROUNDS {
                rates.push(rate(octets, concurrency).await?);
            }
            rates.sort_by(f64::total_cmp);
            print!(" {:.0} |", rates.get(ROUNDS / 2).copied().unwrap_or(f64::NAN));
        }
        println!();
    }
    Ok(())
}

/// Mails of this size that are committed in a second.
async fn rate(octets: usize, concurrency: usize) -> anyhow::Result<f64> {
    let private = std::fs::Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new()
        .prefix("spool-")
        .permissions(private)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store =
        Store::open(directory.path(), Room { keep_free_octets: 0, ..Room::default() }).await?;
    let address: Address = "adele.vance@contoso.example".parse()?;
    let account = Arc::new(Account {
        id: AccountId(uuid::Uuid::from_u128(1)),
        address: address.clone(),
        aliases: Vec::new(),
        send_as: Vec::new(),
        profile: Profile::Full,
        granted: Vec::new(),
        person: None,
        standing: Standing::New,
    });
    let envelope = Envelope::new(None, vec![address.into()], MailParameters::default())?;
    let envelope = Arc::new(envelope);
    let mails = u64::try_from(OCTETS / octets)?.min(MAILS_MAX);
    let number = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..concurrency {
        let (store, account, envelope, number) =
            (store.clone(), account.clone(), envelope.clone(), number.clone());
        clients.spawn(async move {
            let mut body = vec![b'x'; octets];
            let mut done = 0u64;
            loop {
                let this = number.fetch_add(1, Ordering::Relaxed);
                if this >= mails || began.elapsed() > TIME_MAX {
                    return anyhow::Ok(done);
                }
                if let Some(head) = body.first_chunk_mut() {
                    *head = this.to_be_bytes();
                }
                let mut incoming = store.begin(&account);
                // As they come from a socket.
                for piece in body.chunks(32 * 1024) {
                    incoming.write(piece).await?;
                }
                incoming.commit(&envelope, true, None).await?;
                done += 1;
            }
        });
    }
    let mut done = 0;
    while let Some(client) = clients.join_next().await {
        done += client??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}
