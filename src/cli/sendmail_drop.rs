//! The drop directory of one user: mails that could not be handed in when they came.
//!
//! A mail is a file `….mail`: a line of JSON (the envelope), then the octets as they are handed in. It is
//! written under another name, synced, and renamed, so it is there whole or not at all. Before the end of
//! a mail is sent for the first time, `….begun` is made beside it: it may have been taken from then on. A
//! mail that is refused becomes `….refused`, with the reason in its first line.
//!
//! Each mail has a Message-ID and a Date, so the bridge knows a repeat for a day ([`crate::store`]); what
//! was begun longer ago than that is not handed in again by machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::Address;

/// Less than the day for which a repeat is known as one.
const REPEAT_KNOWN_FOR: Duration = Duration::from_secs(23 * 3600);
const MAIL: &str = "mail";
const BEGUN: &str = "begun";
const REFUSED: &str = "refused";

/// What is said of a mail beside its octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slip {
    /// `None`: the null reverse-path.
    pub from: Option<Address>,
    pub to: Vec<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// Of a refused one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A mail that waits, or was refused.
#[derive(Debug)]
pub struct Dropped {
    path: PathBuf,
    pub slip: Slip,
    pub octets: u64,
    pub refused: bool,
}

pub struct DropDirectory {
    directory: PathBuf,
}

/// Held by the one that hands in.
pub struct Turn(#[expect(dead_code, reason = "the lock goes with the file")] File);

impl DropDirectory {
    /// `$XDG_STATE_HOME/postbridge/drop`, else below the home directory.
    pub fn of_user() -> io::Result<DropDirectory> {
        let state = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty());
        let state =
            state.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".local/state")));
        let state = state.ok_or_else(|| io::Error::other("this user has no home directory"))?;
        Ok(DropDirectory { directory: state.join("postbridge/drop") })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts a mail on disk. `may_be_taken`: its end was sent, and nobody answered.
    pub fn put(&self, slip: &Slip, octets: &[u8], may_be_taken: bool) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let name = format!("{:015}-{}", since_1970.unwrap_or_default().as_millis(), Uuid::new_v4());
        let path = self.directory.join(name).with_extension(MAIL);
        if may_be_taken {
            self.begin(&path)?;
        }
        self.write(&path, slip, octets)
    }

    fn write(&self, path: &Path, slip: &Slip, octets: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            serde_json::to_writer(&mut file, slip)?;
            file.write_all(b"\n")?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            self.sync()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// What was renamed or made here is here after a power cut.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// The right to hand in; `None` while another has it.
    pub fn turn(&self) -> io::Result<Option<Turn>> {
        let path = self.directory.join("lock");
        let mut options = OpenOptions::new();
        let file = match options.create(true).truncate(false).write(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Turn(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Those that wait and those that were refused, oldest first. A file that cannot be read is left where
    /// it is.
    pub fn all(&self) -> io::Result<Vec<Dropped>> {
        let files = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut all = Vec::new();
        for file in files {
            let path = file?.path();
            let is = |extension| path.extension().is_some_and(|own| own == extension);
            let refused = is(REFUSED);
            if (refused || is(MAIL))
                && let Ok((slip, octets)) = read(&path)
            {
                let octets = octets.len() as u64;
                all.push(Dropped { path, slip, octets, refused });
            }
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }

    pub fn octets(&self, dropped: &Dropped) -> io::Result<Vec<u8>> {
        read(&dropped.path).map(|(_, octets)| octets)
    }

    /// The end of it is about to be sent; whether that is so for the first time, which is the one that counts.
    pub fn about_to_end(&self, dropped: &Dropped) -> io::Result<bool> {
        self.begin(&dropped.path)
    }

    fn begin(&self, path: &Path) -> io::Result<bool> {
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(path.with_extension(BEGUN)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            made => made?.sync_all()?,
        }
        self.sync()?;
        Ok(true)
    }

    /// The bridge said that it did not take it, the first time.
    pub fn not_taken(&self, dropped: &Dropped) -> io::Result<()> {
        remove(&dropped.path.with_extension(BEGUN))
    }

    /// Whether it may have been taken so long ago that the bridge would not know a repeat.
    pub fn is_in_doubt(&self, dropped: &Dropped) -> bool {
        let begun =
            fs::metadata(dropped.path.with_extension(BEGUN)).and_then(|found| found.modified());
        // A clock that went back says nothing about how long ago it was.
        begun.is_ok_and(|at| at.elapsed().map_or(true, |age| age > REPEAT_KNOWN_FOR))
    }

    /// It is the bridge's now.
    pub fn taken(&self, dropped: &Dropped) -> io::Result<()> {
        remove(&dropped.path)?;
        self.sync()?;
        remove(&dropped.path.with_extension(BEGUN))
    }

    /// Keeps it for its user, with the reason.
    pub fn refuse(&self, dropped: &Dropped, reason: &str) -> io::Result<()> {
        let octets = self.octets(dropped)?;
        let slip = Slip { reason: Some(reason.to_owned()), ..dropped.slip.clone() };
        self.write(&dropped.path.with_extension(REFUSED), &slip, &octets)?;
        self.taken(dropped)
    }
}

impl Dropped {
    /// As `-bp` shows it.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<(Slip, Vec<u8>)> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut line, mut octets) = (Vec::new(), Vec::new());
    file.read_until(b'\n', &mut line)?;
    file.read_to_end(&mut octets)?;
    Ok((serde_json::from_slice(&line)?, octets))
}
