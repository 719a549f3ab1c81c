//! `postbridge backup`, `export` and `import`: all that postbridge remembers, out of a state directory and
//! into another.
//!
//! A copy is made of one moment, while the daemon runs or not. While it runs it goes on with the mails that
//! wait, so the copy holds them: none is sent from two places. Sign-ins leave the machine only under a
//! passphrase. An import goes into a state directory that has no database yet; there is no merging, since
//! nobody could say which of two records of one mail is true.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::archive::{self, Manifest, SignIns, Unreadable};
use super::passphrase;
use super::progress::Progress;
use crate::config::Config;
use crate::entra::passphrase::Derivation;
use crate::entra::seal::{KeyError, Seal, Sealed};
use crate::store::snapshot::{self, Copy, DATABASE, SPOOL};
use crate::store::{self, OpenError};

#[derive(Debug, Args)]
#[command(after_help = "Example: postbridge backup /var/backups/postbridge/$(date +%F)")]
pub struct Backup {
    /// A directory that is not there yet.
    directory: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: postbridge export postbridge.tar --with-signins")]
pub struct Export {
    /// A tar archive that is not there yet.
    file: PathBuf,
    /// The sign-ins as well, sealed to a passphrase; without it each account signs in again.
    #[arg(long)]
    with_signins: bool,
    /// Its first line is the passphrase; otherwise the terminal is asked.
    #[arg(long, value_name = "FILE", requires = "with_signins")]
    passphrase_file: Option<PathBuf>,
    /// Without the mails that wait or are held: this bridge goes on sending them.
    #[arg(long)]
    without_queue: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: postbridge import postbridge.tar")]
pub struct Import {
    /// What export or backup made.
    from: PathBuf,
    /// Its first line is the passphrase; otherwise the terminal is asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Without the sign-ins, though they are in it.
    #[arg(long, conflicts_with = "passphrase_file")]
    without_signins: bool,
}

/// An import has nowhere to go.
#[derive(Debug, thiserror::Error)]
#[error("{0} has a database already; import into a state directory of its own (--state DIRECTORY)")]
pub struct NotEmpty(PathBuf);

/// A directory that goes away unless it is kept.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn new(path: PathBuf) -> anyhow::Result<Temporary> {
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Temporary(Some(path)))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A store as it is at this moment.
struct Taken {
    copy: Copy,
    /// A daemon goes on with what waits.
    while_running: bool,
    held: u64,
}

/// `to` is an empty directory.
async fn take(state: &Path, to: &Path) -> anyhow::Result<Taken> {
    let database = state.join(DATABASE);
    if !database.exists() {
        bail!("{} is not there: nothing is remembered yet", database.display());
    }
    // No daemon may start in the middle of it and go on with what the copy goes on with.
    // The daemon's directory may be another user's, as it is under systemd: root may read it.
    let hold = match store::is_held(state) {
        true => None,
        false => match store::hold(state).await {
            Ok(hold) => Some(hold),
            Err(OpenError::InUse { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    };
    let while_running = hold.is_none();
    snapshot::take(state, to).await?;
    let mut copy = Copy::open(to).await?;
    let contents = copy.contents().await?;
    if contents.shape > snapshot::newest_shape() {
        return Err(OpenError::Newer { path: database, copy: None }.into());
    }
    let held = if while_running {
        let note = format!(
            "it waited when this copy was made, {:.0}, and the bridge went on: look in Sent Items whether it went",
            Timestamp::now()
        );
        copy.hold_what_waits(&note).await?
    } else {
        0
    };
    drop(hold);
    Ok(Taken { copy, while_running, held })
}

pub async fn backup(args: Backup, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let state = config?.state_dir();
    let progress = Progress::begin("copying");
    let directory = Temporary::new(args.directory.clone())?;
    let Taken { mut copy, while_running, held } = take(&state, directory.path()).await?;
    let contents = copy.contents().await?;
    copy.close().await?;
    let manifest = Manifest::new(contents, while_running, true, SignIns::AsStored);
    manifest.write(directory.path())?;
    directory.keep();
    drop(progress);
    println!("{}: {}", args.directory.display(), in_words(&manifest));
    if held > 0 {
        eprintln!("The bridge goes on with {held} mails that wait; in the backup they are held.");
    }
    eprintln!(
        "The sign-ins in it open only with the key of this machine (\"kek\"), which is not in it. To restore: \
         postbridge import {}",
        args.directory.display()
    );
    Ok(())
}

pub async fn export(args: Export, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let state = config?.state_dir();
    if args.file.exists() {
        bail!("{} is there already", args.file.display());
    }
    let passphrase = match args.with_signins {
        true => Some(passphrase::read(args.passphrase_file.as_deref(), true)?),
        false => None,
    };
    let progress = Progress::begin("copying");
    // Beside the archive, where there is room for one.
    let parts = format!("{}.parts-{}", args.file.display(), Uuid::new_v4().simple());
    let parts = Temporary::new(parts.into())?;
    let Taken { mut copy, while_running, held } = take(&state, parts.path()).await?;
    if args.without_queue {
        for id in copy.in_files().await? {
            fs::remove_file(parts.path().join(SPOOL).join(id.to_string()))?;
        }
        copy.without_queue().await?;
    }
    let sign_ins = match &passphrase {
        None => {
            copy.without_sign_ins(IMPORTED).await?;
            SignIns::None
        }
        Some(passphrase) => {
            progress.now("sealing the sign-ins");
            let (own, how) = (own_seal(&state, true)?, Derivation::new()?);
            let theirs = how.seal(passphrase)?;
            let lost = reseal(&mut copy, &own, &theirs).await?;
            if lost > 0 {
                eprintln!(
                    "{lost} of the stored sign-ins cannot be opened with the key of this machine."
                );
            }
            SignIns::Passphrase(how)
        }
    };
    let contents = copy.contents().await?;
    copy.close().await?;
    let manifest = Manifest::new(contents, while_running, !args.without_queue, sign_ins);
    manifest.write(parts.path())?;
    progress.now("packing");
    archive::pack(parts.path(), &args.file)?;
    drop(progress);
    println!("{}: {}", args.file.display(), in_words(&manifest));
    let waiting = manifest.mails;
    if args.without_queue {
        eprintln!("What waits to be sent is not in it.");
    } else if while_running && held > 0 {
        eprintln!(
            "The bridge goes on with {held} mails that wait; in the export they are held. To leave them out: \
             --without-queue"
        );
    } else if waiting > 0 {
        eprintln!(
            "{waiting} mails wait or are held in it. Whoever imports it sends them: do not start this bridge \
             again, or they are sent twice. To leave them out: --without-queue"
        );
    }
    Ok(())
}

pub async fn import(args: Import, config: anyhow::Result<Config>) -> anyhow::Result<()> {
    let state = config?.state_dir();
    if state.join(DATABASE).exists() {
        return Err(NotEmpty(state).into());
    }
    let _hold = store::hold(&state).await?;
    if state.join(DATABASE).exists() {
        return Err(NotEmpty(state).into());
    }
    let progress = Progress::begin("unpacking");
    let new = state.join("import.new");
    match fs::remove_dir_all(&new) {
        // What another import left behind when it was stopped.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let parts = Temporary::new(new)?;
    let manifest = archive::unpack(&args.from, parts.path())?;
    let whole = |why: String| Unreadable::NotOurs(args.from.clone(), why);
    let mut copy = Copy::open(parts.path()).await?;
    let contents = copy.contents().await.map_err(|error| whole(error.to_string()))?;
    if contents.shape > snapshot::newest_shape() {
        return Err(Unreadable::Newer(args.from).into());
    }
    for id in copy.in_files().await? {
        if !parts.path().join(SPOOL).join(id.to_string()).exists() {
            return Err(whole(format!("mail {id} is missing")).into());
        }
    }
    let signed_in = match (&manifest.sign_ins, args.without_signins) {
        (SignIns::Passphrase(how), false) => {
            drop(progress);
            let passphrase = passphrase::read(args.passphrase_file.as_deref(), false)?;
            let progress = Progress::begin("opening the sign-ins");
            let theirs = how.seal(&passphrase)?;
            let own = own_seal(&state, false)?;
            let lost = reseal(&mut copy, &theirs, &own).await?;
            drop(progress);
            if lost > 0 {
                bail!("this passphrase does not open the sign-ins; nothing was imported");
            }
            true
        }
        // Where the key of the machine was put back first, they go on.
        (SignIns::AsStored, false) => match own_seal(&state, true) {
            Ok(own) => reseal(&mut copy, &own, &own).await? == 0,
            Err(KeyError::Missing(_)) => {
                copy.without_sign_ins(IMPORTED).await?;
                false
            }
            Err(error) => return Err(error.into()),
        },
        _ => {
            copy.without_sign_ins(IMPORTED).await?;
            false
        }
    };
    copy.close().await?;
    put_in_place(parts.path(), &state)?;
    println!("{}: {}", state.display(), in_words(&manifest));
    if !signed_in && manifest.accounts > 0 {
        eprintln!("Each account signs in again: postbridge account signin ADDRESS");
    }
    if manifest.while_running && manifest.mails > 0 {
        eprintln!("What waited when the copy was made is held: postbridge queue list --only held");
    }
    Ok(())
}

/// What an account says that was brought here without its sign-in.
const IMPORTED: &str = "It was brought here without its sign-in: sign in again.";

/// The key of this machine.
fn own_seal(state: &Path, sealed_tokens_exist: bool) -> Result<Seal, KeyError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    Seal::find(state, credentials.as_deref().map(Path::new), sealed_tokens_exist)
}

/// How many do not open.
async fn reseal(copy: &mut Copy, from: &Seal, to: &Seal) -> anyhow::Result<u64> {
    let anew = |account, generation, sealed| {
        let token = from.open(account, generation, &Sealed(sealed)).ok()?;
        to.seal(account, generation, &token).ok().map(|sealed| sealed.0)
    };
    Ok(copy.seal_anew(IMPORTED, anew).await?)
}

/// The database comes last: what has one is a state directory.
fn put_in_place(parts: &Path, state: &Path) -> anyhow::Result<()> {
    let spool = state.join(SPOOL);
    match fs::remove_dir(&spool) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| spool.display().to_string());
        }
        _ => {}
    }
    File::open(parts.join(DATABASE))?.sync_all()?;
    fs::rename(parts.join(SPOOL), &spool)?;
    File::open(&spool)?.sync_all()?;
    fs::rename(parts.join(DATABASE), state.join(DATABASE))?;
    Ok(File::open(state)?.sync_all()?)
}

fn in_words(manifest: &Manifest) -> String {
    let Manifest { accounts, mails, invites, calendar_objects, .. } = manifest;
    format!(
        "{accounts} accounts, {mails} mails that wait or are held, {invites} invites, \
         {calendar_objects} calendar objects"
    )
}
