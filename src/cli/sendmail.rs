//! `postbridge sendmail`, or the same program called as `sendmail` or `mailq`: hands in what programs give
//! to sendmail(8), over SMTP, as whoever the settings say.
//!
//! While the bridge is down the mail waits in the user's drop directory, on disk, and the program is told
//! that all is well, as by a sendmail that queues. The next `sendmail` of that user hands it in.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::exit;
use super::queue_words;
use super::sendmail_drop::{DropDirectory, Dropped, Slip};
use super::sendmail_mail::{self as mail, Own};
use super::sendmail_options::{self as options, Mode, Options};
use super::sendmail_session::{Server, Session, Trouble};
use crate::account::Address;
use crate::config::Config;
use crate::control::{self, Reply, Request, SOCKET};
use crate::secret::Secret;
use crate::store::spool::State;

/// More than a mailbox of Exchange Online can be allowed to send.
const OCTETS_MAX: u64 = 200 << 20;

/// `sendmail.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// A listener of `smtp.implicit_tls`.
    #[serde(default = "default_server")]
    server: String,
    user: Address,
    password: String,
    /// Absent: where a bridge of this user keeps it.
    ca: Option<PathBuf>,
}

fn default_server() -> String {
    "localhost:1465".to_owned()
}

/// Ended with a status of `sysexits.h` and words for a person.
struct Ended {
    status: u8,
    why: String,
}

fn ended<T>(status: u8, why: impl ToString) -> Result<T, Ended> {
    Err(Ended { status, why: why.to_string() })
}

/// The arguments for sendmail, if that is how this program was called: by its name, or as
/// `postbridge sendmail …`, whose arguments are not in the style of the other commands.
pub fn called(mut arguments: impl Iterator<Item = OsString>) -> Option<Vec<String>> {
    let text = |argument: OsString| argument.to_string_lossy().into_owned();
    let program = PathBuf::from(arguments.next()?);
    let first = match program.file_name()?.to_str()? {
        "sendmail" => None,
        "mailq" => Some("-bp".to_owned()),
        "newaliases" => Some("-bi".to_owned()),
        _ => {
            arguments.next().filter(|command| command == "sendmail")?;
            None
        }
    };
    let arguments: Vec<String> = first.into_iter().chain(arguments.map(text)).collect();
    // The one option of the other commands that is not sendmail's.
    (arguments != ["--help"]).then_some(arguments)
}

pub async fn run(arguments: Vec<String>) -> ExitCode {
    let done = match options::parse(arguments) {
        Ok(options) => carry_out(&options).await,
        Err(why) => ended(exit::USAGE, why),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended { status, why }) => {
            eprintln!("sendmail: {why}");
            ExitCode::from(status)
        }
    }
}

async fn carry_out(options: &Options) -> Result<(), Ended> {
    match options.mode {
        Mode::Aliases => Ok(()),
        Mode::Queue => show_queue().await,
        Mode::Flush => {
            let settings = Settings::load()?;
            let drop = drop_directory()?;
            settings.hand_in_dropped(&drop, options.verbose).await
        }
        Mode::Session => {
            let settings = Settings::load()?;
            match settings.session(options.verbose).await {
                Ok(session) => session.pass_on().await.or_else(|error| ended(exit::NOT_NOW, error)),
                Err(trouble) => {
                    // RFC 5321 §3.8: a server that cannot go on says so.
                    print!("421 4.3.2 the bridge cannot be reached\r\n");
                    ended(status_of(&trouble), trouble)
                }
            }
        }
        Mode::Mail => {
            let settings = Settings::load()?;
            let (slip, octets) = settings.read_mail(options)?;
            settings.deliver(&slip, &octets, options.verbose).await
        }
    }
}

fn status_of(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::Down(_) | Trouble::Unknown(_) => exit::NOT_NOW,
        Trouble::Refused { status, .. } | Trouble::Setup { status, .. } => *status,
    }
}

fn drop_directory() -> Result<DropDirectory, Ended> {
    DropDirectory::of_user().or_else(|error| ended(exit::STATE, error))
}

impl Settings {
    /// The user's, else the machine's.
    fn load() -> Result<Settings, Ended> {
        let user = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty());
        let user = user.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".config")));
        let places = [user, Some(PathBuf::from("/etc"))];
        let mut places =
            places.into_iter().flatten().map(|place| place.join("postbridge/sendmail.toml"));
        let Some(path) = places.find(|path| path.exists()) else {
            return ended(
                exit::CONFIG,
                "there is no ~/.config/postbridge/sendmail.toml and no /etc/postbridge/sendmail.toml; it \
                 holds user and password as `postbridge account add` printed them, and may hold server and ca",
            );
        };
        let unreadable = |error: io::Error| {
            let status = match error.kind() {
                io::ErrorKind::PermissionDenied => exit::EXPOSED,
                _ => exit::CONFIG,
            };
            Ended { status, why: format!("{}: {error}", path.display()) }
        };
        let mode = std::fs::metadata(&path).map_err(unreadable)?.mode();
        if mode & 0o007 != 0 {
            let path = path.display();
            return ended(
                exit::EXPOSED,
                format!("{path} holds a password and is open to others; run: chmod o= {path}"),
            );
        }
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        // The text of the error quotes the line, which may be the password's.
        toml::from_str(&text).or_else(|error: toml::de::Error| {
            ended(exit::CONFIG, format!("{}: {}", path.display(), error.message()))
        })
    }

    fn ca(&self) -> PathBuf {
        self.ca.clone().unwrap_or_else(|| Config::default().state_dir().join("tls/ca.pem"))
    }

    async fn session(&self, verbose: bool) -> Result<Session, Trouble> {
        let password = Secret::new(self.password.clone());
        let ca = self.ca();
        let (address, user) = (self.server.as_str(), &self.user);
        Session::open(&Server { address, ca: &ca, user, password: &password, verbose }).await
    }

    /// From standard input.
    fn read_mail(&self, options: &Options) -> Result<(Slip, Vec<u8>), Ended> {
        let usage = |why: String| Ended { status: exit::USAGE, why };
        let user = &self.user;
        let from = match options.from.as_deref() {
            None => Some(user.clone()),
            Some("") => None,
            Some(from) => Some(mail::recipient(from, user).map_err(usage)?),
        };
        let given = options.recipients.iter().flat_map(|argument| argument.split(','));
        let given = given.map(str::trim).filter(|text| !text.is_empty());
        let mut to = given
            .map(|text| mail::recipient(text, user))
            .collect::<Result<Vec<_>, _>>()
            .map_err(usage)?;
        if to.is_empty() && !options.from_header {
            return ended(exit::USAGE, "give recipients, or -t to take them from the header");
        }
        if io::stdin().is_terminal() {
            eprintln!("(the mail, with its header; end it with Ctrl-D)");
        }
        let mut input = Vec::new();
        let read = io::stdin().lock().take(OCTETS_MAX + 1).read_to_end(&mut input);
        if let Err(error) = read {
            return ended(exit::DISK, error);
        }
        if input.len() as u64 > OCTETS_MAX {
            return ended(exit::BAD_MAIL, "the mail is larger than any that Exchange Online takes");
        }
        let now = Timestamp::now().to_zoned_datetime(TimeZone::system());
        let date = DateTimePrinter::new()
            .zoned_datetime_to_string(&now)
            .or_else(|error| ended(exit::FAILED, error))?;
        let own = Own {
            user,
            author: from.as_ref().unwrap_or(user),
            name: options.name.as_deref(),
            date: &date,
            message_id: &format!("{}@{}", uuid::Uuid::new_v4(), user.domain()),
        };
        let ready = match mail::make_ready(&input, !options.ignores_dots, &own) {
            Ok(ready) => ready,
            Err(unclear) => {
                return ended(
                    exit::BAD_MAIL,
                    format!("the addresses in {}: cannot be read", unclear.0),
                );
            }
        };
        if options.from_header {
            to.extend(ready.recipients);
        }
        let mut seen = std::collections::HashSet::new();
        to.retain(|address| seen.insert(address.key()));
        if to.is_empty() {
            return ended(exit::USAGE, "the header names no recipient");
        }
        let (notify, ret) = (options.notify.clone(), options.ret.clone());
        Ok((Slip { from, to, notify, ret, reason: None }, ready.octets))
    }

    /// Hands a mail in, or puts it where the next one will.
    async fn deliver(&self, slip: &Slip, octets: &[u8], verbose: bool) -> Result<(), Ended> {
        let drop = drop_directory()?;
        let trouble = match self.session(verbose).await {
            Ok(mut session) => match session.hand_in(slip, octets, || Ok(())).await {
                Ok(_) => {
                    // What waits is not this program's business: whatever comes of it, its mail is in.
                    if let Ok(Some(_turn)) = drop.turn() {
                        let _ = self.hand_in_all(&drop, session, verbose).await;
                    } else {
                        session.quit().await;
                    }
                    return Ok(());
                }
                Err(trouble) => trouble,
            },
            Err(trouble) => trouble,
        };
        let may_be_taken = match &trouble {
            Trouble::Down(_) => false,
            Trouble::Unknown(_) => true,
            Trouble::Refused { .. } | Trouble::Setup { .. } => {
                return ended(status_of(&trouble), trouble);
            }
        };
        if verbose {
            eprintln!("{trouble}; it waits in {}", drop.directory().display());
        }
        drop.put(slip, octets, may_be_taken).or_else(|error| {
            let directory = drop.directory().display();
            ended(
                exit::NOT_NOW,
                format!("{trouble}, and it cannot be kept in {directory}: {error}"),
            )
        })
    }

    /// `-q`
    async fn hand_in_dropped(&self, drop: &DropDirectory, verbose: bool) -> Result<(), Ended> {
        let unreadable = |error: io::Error| Ended { status: exit::DISK, why: error.to_string() };
        if !drop.all().map_err(unreadable)?.iter().any(|dropped| !dropped.refused) {
            return Ok(());
        }
        let Some(_turn) = drop.turn().map_err(unreadable)? else {
            eprintln!("another sendmail hands them in at this moment");
            return Ok(());
        };
        let done = match self.session(verbose).await {
            Ok(session) => self.hand_in_all(drop, session, verbose).await,
            Err(trouble) => Err(trouble),
        };
        done.or_else(|trouble| {
            ended(status_of(&trouble), format!("{trouble}; the rest still waits"))
        })
    }

    /// What waits, oldest first, until the bridge wants no more. The caller has the turn.
    async fn hand_in_all(
        &self,
        drop: &DropDirectory,
        mut session: Session,
        verbose: bool,
    ) -> Result<(), Trouble> {
        for dropped in drop.all()?.iter().filter(|dropped| !dropped.refused) {
            if drop.is_in_doubt(dropped) {
                let why = "it may have been taken more than a day ago, and would be sent twice: look in Sent Items";
                drop.refuse(dropped, why)?;
                continue;
            }
            if session.is_over() {
                session = self.session(verbose).await?;
            }
            match hand_in_one(drop, &mut session, dropped).await {
                Err(Trouble::Refused { why, .. }) => drop.refuse(dropped, &why)?,
                handed => handed?,
            }
        }
        session.quit().await;
        Ok(())
    }
}

async fn hand_in_one(
    drop: &DropDirectory,
    session: &mut Session,
    dropped: &Dropped,
) -> Result<(), Trouble> {
    let octets = drop.octets(dropped)?;
    let mut first = false;
    let begun = || drop.about_to_end(dropped).map(|is_first| first = is_first);
    match session.hand_in(&dropped.slip, &octets, begun).await {
        Ok(_) => drop.taken(dropped)?,
        Err(trouble) => {
            if first && !matches!(trouble, Trouble::Unknown(_)) {
                drop.not_taken(dropped)?;
            }
            return Err(trouble);
        }
    }
    Ok(())
}

/// `-bp`: what waits here and, for the user of the bridge, what waits there.
async fn show_queue() -> Result<(), Ended> {
    let drop = drop_directory()?;
    let dropped = drop.all().or_else(|error| ended(exit::DISK, error))?;
    for one in &dropped {
        let from = one.slip.from.as_ref().map_or("<>", Address::as_str);
        let to: Vec<&str> = one.slip.to.iter().map(Address::as_str).collect();
        let state = if one.refused { "refused" } else { "waits" };
        println!("{}  {state:<10} {:>9} octets  {from}  {}", one.name(), one.octets, to.join(", "));
        if let Some(reason) = &one.slip.reason {
            println!("    {reason}");
        }
    }
    let waiting = waiting_in_the_bridge().await;
    for row in &waiting {
        println!("{row}");
    }
    if dropped.is_empty() && waiting.is_empty() {
        println!("Mail queue is empty");
    }
    Ok(())
}

/// Only its own user can ask the bridge.
async fn waiting_in_the_bridge() -> Vec<String> {
    let Ok(config) = Config::load(None) else { return Vec::new() };
    let socket: &Path = &config.state_dir().join(SOCKET);
    let request = Request::Entries { state: None, most: 1000 };
    match control::call(socket, &request).await {
        Ok(Reply::Entries { entries, .. }) => {
            let waits = |state| !matches!(state, State::Sent | State::Failed);
            entries.iter().filter(|entry| waits(entry.state)).map(queue_words::row).collect()
        }
        _ => Vec::new(),
    }
}
