//! What leaves a machine with `postbridge backup` and `postbridge export`: a manifest, the database, and the
//! large mails, in a directory or as the same files in a tar archive.
//!
//! ```text
//!  manifest.json   what this is, of which version, and what is in it
//!  postbridge.db   SQLite: accounts, calendars, invites, small mails
//!  spool/ID        large mails
//! ```
//!
//! Reading takes these names and no others: an archive comes from outside.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entra::passphrase::Derivation;
use crate::store::snapshot::{self, Contents, DATABASE, SPOOL};
use crate::store::spool::EntryId;

const FORMAT: &str = "postbridge";
/// Of the layout; the database has a version of its own.
const VERSION: u32 = 1;
const MANIFEST: &str = "manifest.json";
const MANIFEST_OCTETS_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    made_by: String,
    pub made_at: Timestamp,
    /// The number of the database's last migration.
    pub shape: i64,
    /// The bridge went on with what waited, so that it is held here.
    pub while_running: bool,
    pub with_queue: bool,
    pub sign_ins: SignIns,
    pub accounts: u64,
    pub mails: u64,
    pub invites: u64,
    pub calendar_objects: u64,
}

/// How the stored sign-ins are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignIns {
    None,
    /// As on the disk: only the key of the machine opens them.
    AsStored,
    Passphrase(Derivation),
}

/// Why something is not read. Each has an exit status.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{0} was made by a newer postbridge; install that version or a later one")]
    Newer(PathBuf),
    #[error("{0} is no export and no backup of postbridge, or not the whole of one: {1}")]
    NotOurs(PathBuf, String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

impl Manifest {
    pub fn new(
        contents: Contents,
        while_running: bool,
        with_queue: bool,
        sign_ins: SignIns,
    ) -> Manifest {
        let Contents { accounts, mails, invites, objects, shape } = contents;
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: Timestamp::now(),
            shape,
            while_running,
            with_queue,
            sign_ins,
            accounts,
            mails,
            invites,
            calendar_objects: objects,
        }
    }

    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let mut file = create(&directory.join(MANIFEST))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(File::open(directory)?.sync_all()?)
    }

    /// Of a directory; `from` is what a person calls it.
    pub fn read(directory: &Path, from: &Path) -> Result<Manifest, Unreadable> {
        let not_ours = |why: String| Unreadable::NotOurs(from.to_owned(), why);
        let mut text = String::new();
        let read = File::open(directory.join(MANIFEST))
            .and_then(|file| file.take(MANIFEST_OCTETS_MAX).read_to_string(&mut text));
        read.map_err(|error| not_ours(format!("{MANIFEST}: {error}")))?;
        // Of a newer version perhaps nothing else can be read.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head =
            serde_json::from_str(&text).map_err(|error| not_ours(error.to_string()))?;
        if head.format != FORMAT {
            return Err(not_ours(format!("it calls itself {:?}", head.format)));
        }
        if head.version > VERSION {
            return Err(Unreadable::Newer(from.to_owned()));
        }
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| not_ours(error.to_string()))?;
        if manifest.shape > snapshot::newest_shape() {
            return Err(Unreadable::Newer(from.to_owned()));
        }
        Ok(manifest)
    }
}

/// Packs a directory into an archive, which is there whole or not at all.
pub fn pack(directory: &Path, file: &Path) -> io::Result<()> {
    let unfinished = file.with_added_extension("new");
    let packed = (|| {
        let mut archive = tar::Builder::new(create(&unfinished)?);
        // The manifest comes first: it says whether the rest can be read.
        for name in [MANIFEST, DATABASE] {
            archive.append_path_with_name(directory.join(name), name)?;
        }
        for mail in fs::read_dir(directory.join(SPOOL))? {
            let mail = mail?;
            archive.append_path_with_name(mail.path(), Path::new(SPOOL).join(mail.file_name()))?;
        }
        archive.into_inner()?.sync_all()?;
        fs::rename(&unfinished, file)?;
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if packed.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    packed
}

/// Brings an archive, or a directory of that kind, into an empty directory; all of it is on disk then.
pub fn unpack(from: &Path, to: &Path) -> Result<Manifest, Unreadable> {
    let failed = |source| Unreadable::File { path: from.to_owned(), source };
    let not_ours = |why: &dyn ToString| Unreadable::NotOurs(from.to_owned(), why.to_string());
    DirBuilder::new().mode(0o700).create(to.join(SPOOL)).map_err(failed)?;
    if from.is_dir() {
        let manifest = Manifest::read(from, from)?;
        for name in [MANIFEST, DATABASE] {
            copy(&mut File::open(from.join(name)).map_err(failed)?, &to.join(name))
                .map_err(failed)?;
        }
        for mail in fs::read_dir(from.join(SPOOL)).map_err(failed)? {
            let mail = mail.map_err(failed)?;
            let id = entry_id(&mail.file_name().to_string_lossy());
            let id = id.ok_or_else(|| not_ours(&mail.path().display()))?;
            let mut file = File::open(mail.path()).map_err(failed)?;
            copy(&mut file, &to.join(SPOOL).join(id.to_string())).map_err(failed)?;
        }
        return Ok(manifest);
    }
    let mut archive = tar::Archive::new(File::open(from).map_err(failed)?);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(|error| not_ours(&error))?;
        let name = entry.path().map(|path| path.display().to_string());
        let name = name.map_err(|error| not_ours(&error))?;
        let path = match name.split_once('/') {
            None if [MANIFEST, DATABASE].contains(&name.as_str()) => to.join(&name),
            Some((SPOOL, id)) => match entry_id(id) {
                Some(id) => to.join(SPOOL).join(id.to_string()),
                None => return Err(not_ours(&format!("{name:?} is in it"))),
            },
            _ => return Err(not_ours(&format!("{name:?} is in it"))),
        };
        if !entry.header().entry_type().is_file() {
            return Err(not_ours(&format!("{name:?} is no file in it")));
        }
        copy(&mut entry, &path).map_err(|error| not_ours(&error))?;
        if name == MANIFEST {
            Manifest::read(to, from)?;
        }
    }
    Manifest::read(to, from)
}

fn entry_id(name: &str) -> Option<EntryId> {
    name.parse::<EntryId>().ok().filter(|id| id.to_string() == name)
}

fn copy(from: &mut impl Read, to: &Path) -> io::Result<()> {
    let mut file = create(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}

/// For its owner alone, and never over another.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
